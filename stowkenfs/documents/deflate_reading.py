"""The choices that a deflate stream was made by."""

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
    extend,
    table_of,
)
from stowkenfs.errors import Corrupt
from stowkenfs.varint import append_varint


class StreamReader:
    """Goes through a stream and appends its choices to a recipe, as ``deflate`` has them."""

    def __init__(self, stream: bytes, recipe: bytearray) -> None:
        self._stream = stream
        self._recipe = recipe
        self._at = 0  # bytes that are in _bits or behind
        self._bits = 0
        self._count = 0  # of _bits

    def blocks(self) -> None:
        """All of it. Raises Corrupt, or IndexError where it is cut off."""
        last = 0
        while not last:
            last, kind = self._take(1), self._take(2)
            self._recipe.append(last | kind << 1)
            if kind == 0:
                self._stored()
            elif kind == 1:
                self._tokens(FIXED_LITERALS, FIXED_DISTANCES)
            elif kind == 2:
                self._tokens(*self._lengths())
            else:
                raise Corrupt("a block of no type")

    def _take(self, bits: int) -> int:
        while self._count < bits:
            self._bits |= self._stream[self._at] << self._count
            self._at += 1
            self._count += 8
        found = self._bits & ((1 << bits) - 1)
        self._bits >>= bits
        self._count -= bits
        return found

    def _stored(self) -> None:
        self._at -= self._count // 8
        self._bits = self._count = 0
        length = self._take(16)
        self._take(16)
        append_varint(self._recipe, length)
        self._at += length

    def _lengths(self) -> tuple[list[int], list[int]]:
        literals, distances, count = self._take(5), self._take(5), self._take(4)
        self._recipe += bytes((literals, distances, count))
        of_codes = [0] * 19
        for symbol in CODE_ORDER[: count + 4]:
            of_codes[symbol] = self._take(3)
            self._recipe.append(of_codes[symbol])
        table = table_of(of_codes)
        lengths: list[int] = []
        while len(lengths) < literals + 257 + distances + 1:
            symbol = self._symbol(table)
            self._recipe.append(symbol)
            extra = 0
            if symbol > BITS_MAX:
                extra = self._take(REPEATS[symbol][1])
                self._recipe.append(extra)
            extend(lengths, symbol, extra)
        return lengths[: literals + 257], lengths[literals + 257 :]

    def _symbol(self, table: list[int]) -> int:
        while self._count < BITS_MAX and self._at < len(self._stream):
            self._bits |= self._stream[self._at] << self._count
            self._at += 1
            self._count += 8
        entry = table[self._bits & ((1 << BITS_MAX) - 1)]
        bits = entry & 15
        if not bits or bits > self._count:
            raise Corrupt("a code that there is not")
        self._bits >>= bits
        self._count -= bits
        return entry >> 4

    def _tokens(self, of_literals: list[int], of_distances: list[int]) -> None:
        literal_table, distance_table = table_of(of_literals), table_of(of_distances)
        symbol_of, take, recipe = self._symbol, self._take, self._recipe
        length_base, length_extra = LENGTH_BASE.tolist(), LENGTH_EXTRA.tolist()
        distance_base, distance_extra = DISTANCE_BASE.tolist(), DISTANCE_EXTRA.tolist()
        while True:
            literals = 0
            while (symbol := symbol_of(literal_table)) < END:
                literals += 1
            append_varint(recipe, literals)
            if symbol == END:
                recipe += b"\0\0"
                return
            at = symbol - END - 1
            length = length_base[at] + take(length_extra[at])
            at = symbol_of(distance_table)
            distance = distance_base[at] + take(distance_extra[at])
            recipe += (distance & 0xFFFF).to_bytes(2, "little")
            recipe.append(length - 3)
