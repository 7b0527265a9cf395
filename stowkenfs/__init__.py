"""A FUSE filesystem over a vault of deduplicated LLM conversations."""
