"""A deflate stream (RFC 1951) as what is in it and how that was compressed.

What a compressor makes of data differs with its program, version and level. So what is kept is
no name of those but each choice that was made: a *recipe*, of which the same stream follows
wherever it is read.

    recipe   := text head, block*
    block    := u8 (last | type << 1), what the type says
    stored   := varint length                                             type 0
    fixed    := token*                                                    type 1
    dynamic  := u8 n_literal_codes - 257, u8 n_distance_codes - 1,
                u8 n_lengths - 4, u8 length{n_lengths}, symbol*, token*   type 2
    symbol   := u8 0 .. 15 | u8 16 .. 18, u8 extra
    token    := varint literals, u16 distance, (u8 length - 3)            no length where it is 0

``head`` is what the data begin with that is not kept elsewhere. Of a token, the literals come
first; a distance of 0 ends the block. Lengths of codes, and the symbols for them, are those of
RFC 1951, 3.2.7.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs.documents.deflate_codes import (
    BITS_MAX,
    CODE_ORDER,
    DISTANCE_BASE,
    DISTANCE_EXTRA,
    END,
    FIXED_DISTANCES,
    FIXED_LITERALS,
    LENGTH_BASE,
    LENGTH_EXTRA,
    REPEATS,
    Codes,
    codes_of,
    extend,
)
from stowkenfs.documents.deflate_reading import StreamReader
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.varint import append_varint, read_varint

DATA_BYTES_MAX: Final = 1 << 20
"""More is not taken apart: it is done symbol by symbol, about a million a second."""

_SYMBOLS_AT_ONCE: Final = 1 << 15
_WINDOW: Final = 1 << 15


def take_apart(stream: bytes, data: bytes, head_bytes: int) -> bytes | None:
    """The recipe by which ``put_together`` makes ``stream`` of ``data[head_bytes:]``.

    ``data`` is what ``stream`` unpacks to. None if the recipe does not give it back.
    """
    if len(data) > DATA_BYTES_MAX:
        return None
    recipe = bytearray()
    append_varint(recipe, head_bytes)
    recipe += data[:head_bytes]
    try:
        StreamReader(stream, recipe).blocks()
        same = put_together(bytes(recipe), data[head_bytes:]) == stream
    except (IndexError, Corrupt):
        return None
    return bytes(recipe) if same else None


def put_together(recipe: bytes, data: bytes) -> bytes:
    """The stream. Raises RecordCorrupt for what is no recipe of ``data``."""
    if len(data) > DATA_BYTES_MAX:
        raise RecordCorrupt(f"{len(data)} bytes to compress; {DATA_BYTES_MAX} are the most")
    try:
        length, at = read_varint(recipe, 0, bits_max=32)
        return _Writer(recipe, at + length, recipe[at : at + length] + data).stream()
    except RecordCorrupt:
        raise
    except (IndexError, ValueError, Corrupt) as error:
        raise RecordCorrupt(f"how data were compressed: {error}") from None


class _Writer:
    """Follows a recipe."""

    def __init__(self, recipe: bytes, at: int, data: bytes) -> None:
        self._recipe = recipe
        self._at = at
        self._data = np.frombuffer(data, np.uint8)
        self._done = 0  # of the data
        self._bits: list[npt.NDArray[np.uint8]] = []  # a byte each
        self._count = 0

    def stream(self) -> bytes:
        last = False
        while not last:
            head = self._byte()
            last, kind = bool(head & 1), head >> 1
            self._add(np.array([head & 1, kind]), np.array([1, 2]))
            if kind == 0:
                self._stored()
            elif kind == 1:
                self._tokens(codes_of(FIXED_LITERALS), codes_of(FIXED_DISTANCES))
            elif kind == 2:
                self._tokens(*self._lengths())
            else:
                raise Corrupt(f"a block of type {kind}")
        if self._at != len(self._recipe) or self._done != len(self._data):
            raise Corrupt("a recipe of other data")
        return np.packbits(np.concatenate(self._bits), bitorder="little").tobytes()

    def _byte(self) -> int:
        found = self._recipe[self._at]
        self._at += 1
        return found

    def _take(self, length: int) -> npt.NDArray[np.uint8]:
        found = self._data[self._done : self._done + length]
        if len(found) != length:
            raise Corrupt("a recipe of more data")
        self._done += length
        return found

    def _add(self, values: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
        """Append ``values`` in so many bits each, their lowest bits first."""
        for start in range(0, len(values), _SYMBOLS_AT_ONCE):
            value, size = (some[start : start + _SYMBOLS_AT_ONCE] for some in (values, sizes))
            ends = np.cumsum(size)
            place = np.arange(int(ends[-1])) - np.repeat(ends - size, size)
            self._bits.append((np.repeat(value, size) >> place & 1).astype(np.uint8))
            self._count += int(ends[-1])

    def _stored(self) -> None:
        length, self._at = read_varint(self._recipe, self._at, bits_max=16)
        self._add(np.zeros(1, np.int64), np.array([-self._count % 8]))
        self._add(np.array([length, length ^ 0xFFFF]), np.array([16, 16]))
        bits = np.unpackbits(self._take(length), bitorder="little")
        self._bits.append(bits)
        self._count += len(bits)

    def _lengths(self) -> tuple[Codes, Codes]:
        literals, distances, count = self._byte(), self._byte(), self._byte()
        if literals > 29 or distances > 31 or count > 15:
            raise Corrupt("more lengths of codes than there can be")
        self._add(np.array([literals, distances, count]), np.array([5, 5, 4]))
        of_codes = [0] * 19
        for symbol in CODE_ORDER[: count + 4]:
            of_codes[symbol] = self._byte() & 7
        order = list(CODE_ORDER[: count + 4])
        self._add(np.array(of_codes)[order], np.full(len(order), 3))
        codes, sizes = codes_of(of_codes)
        values: list[int] = []
        bits: list[int] = []
        lengths: list[int] = []
        total = literals + 257 + distances + 1
        while len(lengths) < total:
            symbol, extra = self._byte(), 0
            if symbol > BITS_MAX:
                extra = self._byte()
            extend(lengths, symbol, extra)
            values += [int(codes[symbol]), extra]
            bits += [int(sizes[symbol]), REPEATS[symbol][1] if symbol > BITS_MAX else 0]
        self._add(np.array(values), np.array(bits))
        if len(lengths) != total:
            raise Corrupt("more lengths of codes than were announced")
        return codes_of(lengths[: literals + 257]), codes_of(lengths[literals + 257 :])

    def _tokens(self, literal: Codes, distance: Codes) -> None:
        runs, distances, lengths = map(np.array, zip(*self._read_tokens(), strict=True))
        data = self._take(int(runs.sum() + lengths.sum()))
        # For each token its literals, then four numbers: length and distance, with their extra.
        ends = np.cumsum(runs + 4)
        is_literal = np.ones(int(ends[-1]), np.bool_)
        for back in range(1, 5):
            is_literal[ends - back] = False
        pairs = np.column_stack((runs, lengths)).reshape(-1)
        own = np.repeat(np.tile([True, False], len(runs)), pairs)
        symbols = np.zeros(len(is_literal), np.int64)
        symbols[is_literal] = data[own]
        values, sizes = literal[0][symbols], literal[1][symbols]
        if not sizes[is_literal].all():
            raise Corrupt("a literal without a code")
        of_length = np.searchsorted(LENGTH_BASE, lengths, "right") - 1
        of_distance = np.searchsorted(DISTANCE_BASE, distances, "right") - 1
        end = distances == 0
        coded = np.where(end, END, of_length + END + 1)
        if coded.max() >= len(literal[1]) or of_distance.max() >= len(distance[1]):
            raise Corrupt("a length or a distance without a code")
        _put(values, sizes, ends - 4, literal[0][coded], literal[1][coded])
        some = ends[~end]
        at, lengths = of_length[~end], lengths[~end]
        _put(values, sizes, some - 3, lengths - LENGTH_BASE[at], LENGTH_EXTRA[at])
        at, distances = of_distance[~end], distances[~end]
        _put(values, sizes, some - 2, distance[0][at], distance[1][at])
        _put(values, sizes, some - 1, distances - DISTANCE_BASE[at], DISTANCE_EXTRA[at])
        sizes[ends[-1] - 3 :] = 0
        self._add(values, sizes)

    def _read_tokens(self) -> Iterator[tuple[int, int, int]]:
        """Literals, distance and length of each; those of the last are 0."""
        recipe = self._recipe
        while True:
            literals, at = read_varint(recipe, self._at, bits_max=32)
            distance = recipe[at] | recipe[at + 1] << 8
            if literals > len(self._data) or distance > _WINDOW:
                raise Corrupt(f"{literals} literals, distance {distance}")
            self._at = at + 2
            if not distance:
                yield literals, 0, 0
                return
            yield literals, distance, self._byte() + 3


def _put(
    values: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    some_values: npt.NDArray[np.int64],
    some_sizes: npt.NDArray[np.int64],
) -> None:
    values[places] = some_values
    sizes[places] = some_sizes
