"""Bytes that are nearly what an encoder writes.

All is decided by *entropy*, a short byte string, so that hypothesis can shrink it, a seeded
generator can make millions, and a coverage-guided fuzzer can use it as a mutator.
"""

from collections.abc import Sequence

INTERESTING = (
    b"\x00",
    b"\x01",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff\xff\xff\x0f",  # varints: 2^32 - 1, and then more bits than fit
    b"\xff\xff\xff\xff\x1f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\x80\x80\x80\x10",  # 2^25
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"\x00\x00\x00\x00\x00\x00\x00\x80",
    b"\xed\xa0\x80",  # a surrogate in UTF-8
    b"\n",
    b"/../",
)
STEPS_MAX = 6
LENGTH_MAX = 1 << 17


class Choices:
    """Numbers taken from entropy, one after another; zeros when it is used up."""

    def __init__(self, entropy: bytes) -> None:
        self._entropy = entropy
        self._at = 0

    def below(self, end: int) -> int:
        """A number from 0 up to, not including, ``end``."""
        size = max(1, (end.bit_length() + 7) // 8)
        taken = self._entropy[self._at : self._at + size]
        self._at += size
        return int.from_bytes(taken, "little") % end if end else 0


def mutated(content: bytes, others: Sequence[bytes], entropy: bytes) -> bytes:
    """``content`` after some changes; ``others`` are what pieces are taken from."""
    choose = Choices(entropy)
    for _ in range(choose.below(STEPS_MAX)):
        content = _CHANGES[choose.below(len(_CHANGES))](content, others, choose)
    return content[:LENGTH_MAX]


def _flip(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    if not content:
        return b"\0"
    out = bytearray(content)
    out[choose.below(len(out))] ^= 1 << choose.below(8)
    return bytes(out)


def _set(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    """Other bytes in the place of some."""
    at = choose.below(len(content) + 1)
    piece = INTERESTING[choose.below(len(INTERESTING))]
    return content[:at] + piece + content[at + len(piece) :]


def _insert(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    at = choose.below(len(content) + 1)
    piece = INTERESTING[choose.below(len(INTERESTING))]
    return content[:at] + piece * (1 + choose.below(4)) + content[at:]


def _remove(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    at = choose.below(len(content) + 1)
    return content[:at] + content[at + 1 + choose.below(16) :]


def _truncate(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    return content[: choose.below(len(content) + 1)]


def _splice(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    """The start of this and the end of another."""
    other = others[choose.below(len(others))] if others else b""
    return content[: choose.below(len(content) + 1)] + other[choose.below(len(other) + 1) :]


def _move(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    """A piece of this, or of another, at another place."""
    other = others[choose.below(len(others))] if others and choose.below(2) else content
    start = choose.below(len(other) + 1)
    piece = other[start : start + choose.below(64)]
    at = choose.below(len(content) + 1)
    end = at + (len(piece) if choose.below(2) else 0)
    return content[:at] + piece + content[end:]


def _count(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    """A byte that is one more or one less, as counts and sizes are."""
    if not content:
        return b""
    out = bytearray(content)
    at = choose.below(min(len(out), 64) if choose.below(2) else len(out))
    out[at] = (out[at] + (1, -1)[choose.below(2)]) & 0xFF
    return bytes(out)


def _repeat(content: bytes, others: Sequence[bytes], choose: Choices) -> bytes:
    """A piece many times."""
    at = choose.below(len(content) + 1)
    piece = content[at : at + 1 + choose.below(8)]
    return content[:at] + piece * choose.below(1 << 10) + content[at:]


_CHANGES = (_flip, _set, _insert, _remove, _truncate, _splice, _move, _count, _repeat)
