"""What saved state costs: grids as files, in a vault, and as changes."""
