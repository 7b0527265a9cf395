"""What is learned from what is stored, so that frames become smaller."""
