"""How long it takes to fit a conversation into a budget."""
