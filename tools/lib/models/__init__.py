"""What prediction models make of the segments of vaults."""
