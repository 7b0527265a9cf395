"""The natural order of names: numbers in them count as numbers."""

import re

_DIGITS = re.compile(rb"(\d+)")


def natural(name: bytes) -> list[tuple[int, bytes]]:
    """Sort key by which ``a2`` comes before ``a10``."""
    return [
        (int(piece[:18]), piece) if piece.isdigit() else (-1, piece)
        for piece in _DIGITS.split(name)
    ]
