"""Keys in packs: sorted, cut short and bit-packed. Pure bytes, no I/O.

A *run* is a set of entries ``(key, value)``, sorted and written at once, in blocks of up to
KEYS_MAX. Keys are the first 64 bits of hashes, so they lie evenly, and a run needs to keep no
more of each than tells it from its neighbours: its top ``bits``, its *prefix*. A key that the
run does not hold has the prefix of one that it holds about once in 2**spare_bits times, which
costs whoever asked a look at what the entry leads to.

**Order.** A key is an i64 wherever it is a number of Python or of SQLite's key tables. Here it
is ordered as the u64 of the same 64 bits (0, 1, ..., 2**63 - 1, -2**63, ..., -1). Columns
``low`` and ``high`` of ``key_block`` hold that u64 less 2**63, which is the key with its sign
bit turned over, so that SQLite orders them alike; ``as_column`` and ``from_column`` convert.

**Payload** of a block of n entries (n from its header, 1 to 16,384), little-endian::

    keys         := u8 grain, u8 bits, u64 low, u64 high, sorted(n, span), values
    values       := varint first, varint spread, packed(n, width(spread))       grain 0, EXACT
                  | varint m, varint first, varint spread, sorted(m, spread),
                    packed(n, width(m - 1))                                     grain 1, BLOCK
    sorted(n, s) := packed(n, l), bitmap
    packed(n, w) := n numbers of w bits, one after another, low bits first; zeros up to a byte

``bits`` is 1 to 64. ``low`` and ``high`` are the first and the last prefix, as u64s whose other
64 - bits bits are 0 in low and 1 in high: a key outside of them is not in the block. ``span`` is
the last prefix less the first. ``width(x)`` is the length of x in binary, 0 for 0.

``sorted(n, s)`` is n numbers that do not fall, the first 0 and the last s (Elias-Fano). l is
floor(log2((s + 1) / n)), or 0 where that is negative. The l low bits of each number are packed;
of number i what is above them, h, is the bit h + i of the bitmap that is set. The bitmap has
(s >> l) + n bits, the lowest of a byte first, zeros up to a byte, n of them set. So a key takes
l + 2 to l + 3 bits. In a block of keys number i is the prefix of entry i less the first prefix.

Values are 0 to 2**63 - 1, below ``first + spread`` or equal to it. With grain 0 a packed number
and ``first`` make the number of the thing itself. With grain 1 it is a position in a table of m
numbers, strictly rising, each ``first`` and a number of ``sorted``: the first numbers of the
blocks that hold the things. Entries of equal prefixes are sorted by value; a block holds all
entries of its run that have a prefix. Bytes that do not follow this are damage.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt
from stowkenfs.varint import append_varint, read_varint

Keys = npt.NDArray[np.int64]
Values = npt.NDArray[np.int64]
Unsigned = npt.NDArray[np.uint64]

KEYS_MAX = 16384
"""Entries of a block: 37 KB at 10 spare bits, unpacked in half a millisecond."""

_VALUE_BITS = 63
_HEAD = struct.Struct("<BBQQ")
_WINDOW_BITS = 57
"""What an unaligned u64 shows for certain of a number that starts at any bit of its first byte."""


class Grain(IntEnum):
    """How closely a value says where the key's thing is. On disk: values never change."""

    EXACT = 0
    """The thing's own number."""
    BLOCK = 1
    """The first number of the block that holds the thing."""


@dataclass(frozen=True, slots=True)
class KeyItems:
    """The entries of one block, in order; n of them. Arrays are of the narrowest type.

    ``offsets``: unsigned, shape (n,), prefixes less that of ``low``. ``codes``: unsigned, shape
    (n,): what to add to ``first``, or positions in ``table`` (int64) where the grain is BLOCK.
    ``low``, ``high``: bounds as u64, which all keys with a prefix of the block lie within.
    """

    grain: Grain
    bits: int
    low: int
    high: int
    offsets: npt.NDArray[np.unsignedinteger]
    codes: npt.NDArray[np.unsignedinteger]
    first: int
    table: Values | None

    def __len__(self) -> int:
        return len(self.offsets)

    @property
    def cost_bytes(self) -> int:
        table_bytes = self.table.nbytes if self.table is not None else 0
        return self.offsets.nbytes + self.codes.nbytes + table_bytes + 600

    @property
    def prefixes(self) -> Unsigned:
        """Top ``bits`` of each key as a number: uint64, shape (n,), not falling."""
        return self.offsets.astype(np.uint64) + np.uint64(self.low >> (64 - self.bits))

    @property
    def values(self) -> Values:
        """int64, shape (n,)."""
        return self._values_of(self.codes)

    def _values_of(self, codes: npt.NDArray[np.unsignedinteger]) -> Values:
        values: Values = codes.astype(np.int64)
        return values + self.first if self.table is None else self.table[values]

    def find(self, keys: Keys) -> tuple[npt.NDArray[np.intp], Values]:
        """All entries that have the prefix of one of ``keys`` (int64, shape (k,), any order).

        Positions in ``keys``, rising, and the value of an entry for each; shapes (matches,).
        """
        unsigned = keys.view(np.uint64)
        low, high, shift = np.array([self.low, self.high, 64 - self.bits], np.uint64)
        inside = np.flatnonzero((unsigned >= low) & (unsigned <= high))
        # Of the type of what is searched, or numpy would convert all of that.
        wanted = ((unsigned[inside] - low) >> shift).astype(self.offsets.dtype)
        starts = np.searchsorted(self.offsets, wanted)  # below n: no offset is above the last
        known = np.flatnonzero(self.offsets[starts] == wanted)
        starts = starts[known]
        counts = np.searchsorted(self.offsets, wanted[known], "right") - starts
        before = np.cumsum(counts) - counts
        at = np.arange(counts.sum()) + np.repeat(starts - before, counts)
        return np.repeat(inside[known], counts), self._values_of(self.codes[at])


def as_column(unsigned: int) -> int:
    """A key as u64 to what ``key_block`` has for it."""
    return unsigned - (1 << 63)


def from_column(column: int) -> int:
    """Inverse of ``as_column``."""
    return column + (1 << 63)


def prefix_bits(total: int, spare_bits: int) -> int:
    """Bits to keep of each key in a run of ``total`` entries; at most 64."""
    return max(1, min(64, max(total - 1, 0).bit_length() + spare_bits))


def encode_keys(keys: Keys, values: Values, bits: int, grain: Grain) -> bytes:
    """The payload of one block: int64, shape (n,) both, in any order.

    ``bits``: those kept of each key, the same in all blocks of a run; see ``prefix_bits``.
    Raises ValueError for no entries, more than KEYS_MAX, negative values or other ``bits``.
    """
    if not 1 <= bits <= 64:
        raise ValueError(f"{bits} bits of a key of 64")
    prefixes = keys.view(np.uint64) >> np.uint64(64 - bits)
    order = np.lexsort((values, prefixes))
    return encode_sorted(prefixes[order], values[order], bits, grain)


def encode_sorted(prefixes: Unsigned, values: Values, bits: int, grain: Grain) -> bytes:
    """As ``encode_keys``, of prefixes that are sorted, those that are equal by value."""
    if not 1 <= len(prefixes) == len(values) <= KEYS_MAX:
        raise ValueError(f"{len(prefixes)} keys and {len(values)} values for one block")
    first, last = int(values.min()), int(values.max())
    if first < 0:
        raise ValueError(f"{first} is no number of a thing")
    low, high = bounds(prefixes, bits)
    out = bytearray(_HEAD.pack(grain, bits, low, high))
    offsets = prefixes - prefixes[0]
    out += _pack_sorted(offsets, int(offsets[-1]))
    if grain is Grain.EXACT:
        append_varint(out, first)
        append_varint(out, last - first)
        out += _pack((values - first).astype(np.uint64), (last - first).bit_length())
        return bytes(out)
    table, codes = np.unique(values, return_inverse=True)
    for number in (len(table), first, last - first):
        append_varint(out, number)
    out += _pack_sorted((table - first).astype(np.uint64), last - first)
    out += _pack(codes.astype(np.uint64), (len(table) - 1).bit_length())
    return bytes(out)


def bounds(prefixes: Unsigned, bits: int) -> tuple[int, int]:
    """Lowest and highest key, as u64s, that has one of ``prefixes`` (sorted, not empty)."""
    shift = 64 - bits
    low, high = int(prefixes[0]), int(prefixes[-1])
    return low << shift, (high + 1 << shift) - 1


def decode_keys(payload: bytes, count: int) -> KeyItems:
    """Inverse of ``encode_keys``; ``count`` from the block's header.

    Raises Corrupt for what the grammar does not allow; allocates in proportion to ``payload``.
    """
    if not 1 <= count <= KEYS_MAX or len(payload) < _HEAD.size:
        raise Corrupt(f"{count} keys in {len(payload)} bytes")
    grain, bits, low, high = _HEAD.unpack_from(payload)
    if grain > Grain.BLOCK or not 1 <= bits <= 64:
        raise Corrupt(f"keys of grain {grain} and {bits} bits")
    below = (1 << 64 - bits) - 1
    if low > high or low & below or high & below != below:
        raise Corrupt(f"{low:016x} to {high:016x} are no bounds of keys of {bits} bits")
    span = high - low >> 64 - bits
    offsets, at = _unpack_sorted(payload, _HEAD.size, count, span)
    table = None
    codes_max = 0
    if grain == Grain.BLOCK:
        entries, at = read_varint(payload, at)
        codes_max = entries - 1
        if not 1 <= entries <= count:
            raise Corrupt(f"a table of {entries} values for {count} keys")
    first, at = read_varint(payload, at)
    spread, at = read_varint(payload, at)
    if first + spread >> _VALUE_BITS:
        raise Corrupt(f"values up to {first + spread}")
    if grain == Grain.BLOCK:
        rises, at = _unpack_sorted(payload, at, codes_max + 1, spread)
        table = rises.astype(np.int64) + first
        if (table[1:] == table[:-1]).any():
            raise Corrupt("a table has a value twice")
    else:
        codes_max = spread
    codes, at = _unpack(payload, at, count, codes_max.bit_length())
    if int(codes.max()) > codes_max:
        raise Corrupt(f"a value of {int(codes.max())}, above {codes_max}")
    if at != len(payload):
        raise Corrupt(f"{len(payload) - at} bytes after the values")
    return KeyItems(
        Grain(grain),
        bits,
        low,
        high,
        offsets.astype(np.min_scalar_type(span)),
        codes.astype(np.min_scalar_type(codes_max)),
        first,
        table,
    )


def _low_bits(count: int, span: int) -> int:
    """What Elias and Fano split numbers at: no other width takes fewer bits in all."""
    return max(((span + 1) // count).bit_length() - 1, 0)


def _pack_sorted(numbers: Unsigned, span: int) -> bytes:
    count = len(numbers)
    width = _low_bits(count, span)
    bitmap = np.zeros((span >> width) + count, np.uint8)
    bitmap[(numbers >> np.uint64(width)).astype(np.int64) + np.arange(count)] = 1
    return _pack(numbers, width) + np.packbits(bitmap, bitorder="little").tobytes()


def _unpack_sorted(payload: bytes, at: int, count: int, span: int) -> tuple[Unsigned, int]:
    if count == 1 and span:
        raise Corrupt(f"one number cannot be 0 and {span}")
    width = _low_bits(count, span)
    low, at = _unpack(payload, at, count, width)
    bits = (span >> width) + count  # below 3 * count, by the choice of width
    end = at + (bits + 7 >> 3)
    if end > len(payload):
        raise Corrupt("a bitmap is cut off")
    bitmap = np.unpackbits(np.frombuffer(payload, np.uint8, end - at, at), bitorder="little")
    high = np.flatnonzero(bitmap)
    if len(high) != count:
        raise Corrupt(f"a bitmap of {len(high)} numbers, not {count}")
    high -= np.arange(count)
    numbers = (high.astype(np.uint64) << np.uint64(width)) | low
    if numbers[0] or int(numbers[-1]) != span or (numbers[1:] < numbers[:-1]).any():
        raise Corrupt(f"sorted numbers do not rise from 0 to {span}")
    return numbers, end


def _pack(numbers: Unsigned, width: int) -> bytes:
    """Numbers below 2**width, low bits first."""
    octets = np.ascontiguousarray(numbers, "<u8").view(np.uint8).reshape(-1, 8)
    bits = np.unpackbits(octets, axis=1, count=width, bitorder="little") if width else octets[:, :0]
    return np.packbits(bits, bitorder="little").tobytes()


def _unpack(payload: bytes, at: int, count: int, width: int) -> tuple[Unsigned, int]:
    """``count`` numbers of ``width`` bits (0-63) from byte ``at``, and where they end."""
    end = at + (count * width + 7 >> 3)
    if end > len(payload):
        raise Corrupt("packed numbers are cut off")
    if width == 0:
        return np.zeros(count, np.uint64), end
    if count * width % 8 and payload[end - 1] >> count * width % 8:
        raise Corrupt("packed numbers are not followed by zeros")
    packed = payload[at:end] + bytes(8)
    starts = np.arange(count) * width
    if width <= _WINDOW_BITS:
        return _windows(packed, starts, width), end
    low = _windows(packed, starts, 32)
    return low | _windows(packed, starts + 32, width - 32) << np.uint64(32), end


def _windows(packed: bytes, starts: npt.NDArray[np.int64], width: int) -> Unsigned:
    """``width`` bits of ``packed`` from each bit of ``starts``, through u64s at every byte."""
    at_byte: Unsigned = np.ndarray((len(packed) - 7,), "<u8", packed, strides=(1,))
    numbers: Unsigned = at_byte[starts >> 3] >> (starts & 7).astype(np.uint64)
    numbers &= np.uint64((1 << width) - 1)
    return numbers
