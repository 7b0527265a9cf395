"""Memory that is not used any more, back to the system."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Let the system have what is free inside of the heap, some milliseconds' work; any thread.

    glibc keeps it for later, half a batch and more. Other C libraries have no such call.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
