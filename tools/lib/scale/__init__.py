"""How what a vault does grows with the vault: up to a million files, up to ten gigabytes."""
