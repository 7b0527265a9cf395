"""The mount: the only part that speaks to the kernel."""

# Before pyfuse3 and libfuse are loaded, which find what they call when they are.
from stowkenfs.fs import agreement as _agreement  # noqa: F401
