"""How much of extended attributes one file may have."""

from collections.abc import Iterable

from stowkenfs.errors import AttributesTooLarge

OWN_PREFIX = b"trusted.stowken."
"""Of attributes that the vault itself keeps: nobody else sees, sets or copies them."""

XATTRS_BYTES_MAX = 1 << 20
"""Of all attributes of a file, names and values; the kernel bounds each value to 64 KiB.

All are told again whenever something of the file changes, in one statement of a block.
"""


def check_room(xattrs: Iterable[tuple[bytes, bytes]], name: bytes, value: bytes) -> None:
    """Raise AttributesTooLarge if ``xattrs``, one of them set to ``value``, were too much."""
    others = sum(len(known) + len(held) for known, held in xattrs if known != name)
    if others + len(name) + len(value) > XATTRS_BYTES_MAX:
        raise AttributesTooLarge(f"all attributes of a file have at most {XATTRS_BYTES_MAX} bytes")
