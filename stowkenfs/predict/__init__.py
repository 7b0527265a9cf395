"""What comes next: tries over token contexts, and models that are frozen from them. Pure."""
