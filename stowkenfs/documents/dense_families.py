"""Identifiers in a dense block: each new one as a number of few bits, others as repeats.

A *family* is a set of identifiers of one length whose characters at each position come from
one alphabet: UUIDs, hashes, random names. They stand behind *prefixes* (``toolu_``,
``msg_``, often none), which share the family where they share identifiers.

::

    families   := family*
    family     := varint n_bytes, alphabet{n_bytes}, varint n_prefixes, prefix{n_prefixes}
    alphabet   := byte       20 and above: the position always has this character;
                             below: number of an alphabet in ALPHABETS
    prefix     := varint length_bytes, bytes

``n_bytes`` is 1-64, a prefix has at most 24 bytes, and all families have at most 32 prefixes,
numbered through. A line 80 + 2 * prefix is a new identifier of the prefix's family, a line
81 + 2 * prefix a repeated one. The new ones of a family are numbered from 0 in the order of
slots.

*Identifiers as bits:* in the order of positions, those that vary are collected into words
while the product of the sizes of their alphabets is at most 2**63. A word is a number with
one digit (an index into its alphabet) for each of its positions, the first most significant,
written in as many bits as the product less one has. The new identifiers of a family, each as its
words, make a string of bits, most significant first, filled with zeros to a byte.

*Repeats:* one number for each, in the order of lines: zigzag(identifier - previous - 1), where
``previous`` is the identifier of the repeat before it in the same family, first -1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.varint import append_varint, read_varint

_LOWER = b"abcdefghijklmnopqrstuvwxyz"
_UPPER = _LOWER.upper()
_DIGITS = b"0123456789"

ALPHABETS: Final = (
    b"89ab",  # the variant of an RFC 9562 UUID
    _DIGITS,
    b"0123456789abcdef",
    b"0123456789ABCDEF",
    _LOWER,
    _UPPER,
    _DIGITS + _LOWER,
    # base58 without 0, I, O, l
    b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    _DIGITS + _UPPER + _LOWER,
)
"""On disk by their numbers, which never change; by size."""

BYTES_MAX: Final = 64
PREFIX_BYTES_MAX: Final = 24
PREFIXES_MAX: Final = 32

_WORD_MAX = 1 << 63
_CONSTANT = 0x20

_KNOWN = bytes([*range(len(ALPHABETS)), *range(_CONSTANT, 256)])
_INDEX = np.zeros((len(ALPHABETS), 256), np.int64)
for _number, _alphabet in enumerate(ALPHABETS):
    _INDEX[_number, np.frombuffer(_alphabet, np.uint8)] = np.arange(len(_alphabet))
_CHARACTERS = [np.frombuffer(alphabet, np.uint8) for alphabet in ALPHABETS]

_COMPILED_ALPHABETS: Final = (
    b"".join([alphabet.ljust(64) for alphabet in ALPHABETS]),
    bytes(map(len, ALPHABETS)),
)


@dataclass(frozen=True, slots=True)
class _Word:
    positions: tuple[int, ...]
    product: int

    @property
    def bits(self) -> int:
        return (self.product - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Family:
    """``alphabets`` has one byte for each position; ``prefixes`` are what comes before."""

    alphabets: bytes
    prefixes: tuple[bytes, ...]

    def words(self) -> Sequence[_Word]:
        """The words of an identifier, in order."""
        return _words(self.alphabets)

    @property
    def bits(self) -> int:
        """Bits of one identifier."""
        return sum(word.bits for word in self.words())

    def bytes_of(self, count: int) -> int:
        """Bytes of ``count`` identifiers."""
        return (count * self.bits + 7) // 8


@lru_cache(maxsize=1000)  # blocks of one log have much the same families
def _words(alphabets: bytes) -> Sequence[_Word]:
    words = []
    positions: list[int] = []
    product = 1
    for position, alphabet in enumerate(alphabets):
        if alphabet >= _CONSTANT:
            continue
        size = len(ALPHABETS[alphabet])
        if product * size > _WORD_MAX:
            words.append(_Word(tuple(positions), product))
            positions, product = [], 1
        positions.append(position)
        product *= size
    if positions:
        words.append(_Word(tuple(positions), product))
    return words


def alphabets_of(identifiers: list[bytes]) -> bytes | None:
    """The smallest alphabets that ``identifiers``, all of one length, need; None if none has it."""
    alphabets = bytearray()
    matrix = np.frombuffer(b"".join(identifiers), np.uint8).reshape(len(identifiers), -1)
    for position in matrix.T:
        used = np.unique(position).tobytes()
        if len(used) == 1 and used[0] >= _CONSTANT:
            alphabets += used
            continue
        for number, alphabet in enumerate(ALPHABETS):
            if not used.strip(alphabet):
                alphabets.append(number)
                break
        else:
            return None
    return bytes(alphabets)


def encode_identifiers(family: Family, identifiers: list[bytes]) -> bytes:
    """``identifiers``, which fit the family's alphabets, as bits."""
    joined = np.frombuffer(b"".join(identifiers), np.uint8)
    text = joined.reshape(len(identifiers), len(family.alphabets))
    pieces = []
    for word in family.words():
        number = np.zeros(len(identifiers), np.int64)
        for position in word.positions:
            alphabet = family.alphabets[position]
            number = number * len(ALPHABETS[alphabet]) + _INDEX[alphabet, text[:, position]]
        shifts = np.arange(word.bits - 1, -1, -1, dtype=np.int64)
        pieces.append(((number[:, None] >> shifts) & 1).astype(np.uint8))
    return np.packbits(np.hstack(pieces)).tobytes() if pieces else b""


def decode_identifiers(family: Family, packed: bytes, count: int) -> list[bytes]:
    """Inverse of ``encode_identifiers``; ``packed`` has ``family.bytes_of(count)`` bytes.

    Raises RecordCorrupt (a word that is no number of its alphabets).
    """
    if kernels.compiled is not None:
        found = kernels.compiled.identifiers(packed, count, family.alphabets, *_COMPILED_ALPHABETS)
        if found is not None:
            return found
    width = len(family.alphabets)
    text: npt.NDArray[np.uint8] = np.empty((count, width), np.uint8)
    for position, alphabet in enumerate(family.alphabets):
        if alphabet >= _CONSTANT:
            text[:, position] = alphabet
    per_item = family.bits
    flat = np.unpackbits(np.frombuffer(packed, np.uint8), count=count * per_item)
    bits = flat.reshape(count, per_item)
    at = 0
    for word in family.words():
        number = _numbers_of(bits[:, at : at + word.bits])
        at += word.bits
        # A product of 2**63 is out of the range of int64, and of every number of 63 bits.
        if count and int(number.max()) >= word.product:
            raise RecordCorrupt("dense block: an identifier is outside of its alphabets")
        for position in reversed(word.positions):
            characters = _CHARACTERS[family.alphabets[position]]
            number, digit = np.divmod(number, len(characters))
            text[:, position] = characters[digit]
    joined = text.tobytes()
    return [joined[start : start + width] for start in range(0, count * width, width)]


def encode_families(families: list[Family]) -> bytes:
    """The table of families."""
    out = bytearray()
    for family in families:
        append_varint(out, len(family.alphabets))
        out += family.alphabets
        append_varint(out, len(family.prefixes))
        for prefix in family.prefixes:
            append_varint(out, len(prefix))
            out += prefix
    return bytes(out)


def decode_families(stream: bytes) -> list[Family]:
    """Inverse of ``encode_families``. Raises RecordCorrupt."""
    families = []
    at = 0
    left = PREFIXES_MAX
    try:
        while at < len(stream):
            alphabets, at = _read_text(stream, at, BYTES_MAX)
            count, at = read_varint(stream, at)
            left -= count
            _check(alphabets, count, left)
            prefixes = []
            for _ in range(count):
                prefix, at = _read_text(stream, at, PREFIX_BYTES_MAX)
                prefixes.append(prefix)
            families.append(Family(alphabets, tuple(prefixes)))
    except RecordCorrupt:
        raise
    except Corrupt as error:
        raise RecordCorrupt(f"dense block: {error}") from error
    return families


def _check(alphabets: bytes, prefixes: int, prefixes_left: int) -> None:
    if not alphabets or alphabets.translate(None, _KNOWN) != b"":
        raise RecordCorrupt("dense block: a family has an alphabet that is none")
    if not prefixes or prefixes_left < 0:
        raise RecordCorrupt(f"dense block: a family of {prefixes} prefixes")


def _read_text(stream: bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
    length, at = read_varint(stream, at)
    if length > min(bytes_max, len(stream) - at):
        raise RecordCorrupt(f"dense block: {length} bytes in a table of families")
    return stream[at : at + length], at + length


def _numbers_of(bits: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Rows of up to 63 bits, most significant first, as numbers: int64, shape (n,)."""
    count, width = bits.shape
    padded = np.zeros((count, 64), np.uint8)
    padded[:, 64 - width :] = bits
    numbers: npt.NDArray[np.int64] = np.packbits(padded, axis=1).view(">i8")[:, 0].astype(np.int64)
    return numbers
