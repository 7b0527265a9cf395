"""Real files through a mount, beside the filesystem that the vault lies on."""
