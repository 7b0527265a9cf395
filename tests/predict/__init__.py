"""Frames: pure bytes to arrays and back."""
