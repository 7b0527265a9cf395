"""The stowken wheel beside the vault: the same conversations in both."""
