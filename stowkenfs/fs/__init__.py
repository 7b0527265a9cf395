"""The mount: the only part that speaks to the kernel."""
