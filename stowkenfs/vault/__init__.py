"""The library: what is stored, how it is found again, and what was promised."""
