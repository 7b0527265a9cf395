"""The natural order of names: numbers in them count as numbers."""

import re

_DIGITS = re.compile(rb"(\d+)")


class NaturalName(bytes):
    """A name that is ordered by its numbers; names that differ are never equal."""

    __slots__ = ()

    def __lt__(self, other: bytes) -> bool:
        return (natural(self), bytes(self)) < (natural(other), bytes(other))


def natural(name: bytes) -> list[tuple[int, bytes]]:
    """Sort key by which ``a2`` comes before ``a10``."""
    return [
        (int(piece[:18]), piece) if piece.isdigit() else (-1, piece)
        for piece in _DIGITS.split(name)
    ]
