"""Keeping the memory of long-running commands near what they use."""

import ctypes
from contextlib import suppress

_M_ARENA_MAX = -8
"""mallopt(3); glibc's number for it in <malloc.h>."""


def use_one_arena() -> None:
    """Let all threads share one heap; call it before there are any.

    With one heap for each thread, as is glibc's way, what one frees the others cannot use: an
    import of a large file then takes half as much memory again. Other C libraries have no such
    setting, and need none.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
