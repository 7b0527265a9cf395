"""What folders keep of their files, and what goes by itself."""
