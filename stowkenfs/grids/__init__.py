"""Grids of numbers and the files they come in: pure, no I/O, no clock, no async."""
