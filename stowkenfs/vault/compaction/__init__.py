"""Rewriting what is stored so that it takes less room: blocks of neighbours, ranked, ordered."""
