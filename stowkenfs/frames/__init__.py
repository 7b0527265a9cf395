"""Segments as bytes: token arrays to frames and back, by kind and by size."""
