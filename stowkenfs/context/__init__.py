"""Conversations fitted into a window of tokens: what leaves it, and how. Pure; no I/O, no clock."""
