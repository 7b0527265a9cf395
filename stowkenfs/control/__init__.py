"""The files under .stowken/: parse, act, format."""
