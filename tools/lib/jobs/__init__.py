"""What training, compacting and collecting do to the bytes of a vault, and what they cost."""
