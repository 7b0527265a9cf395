"""Packs as bytes on a medium: append, read, sync."""
