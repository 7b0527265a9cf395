"""``tools/bench --density``: how small, how quick and at what cost."""
