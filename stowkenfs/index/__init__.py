"""The rebuildable catalogue: one SQLite database."""
