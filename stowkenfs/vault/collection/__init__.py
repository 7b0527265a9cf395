"""Collecting: what nothing refers to any more goes, and its room is given back."""
