"""What the second reader knows of grids: cells as text, and deflate streams from recipes."""

import struct
from decimal import Decimal

from tests.second_reader_bytes import Bytes

PYTHON, RUST, JAVASCRIPT = 0, 1, 2


def cells_as_text(layout: bytes, cells: bytes) -> bytes:
    how = Bytes(layout)
    (spelling,) = how.take(1)
    row, separator, row_separator = how.varint(), how.text(), how.text()
    assert how.rest == 0
    out = b""
    for at, (number,) in enumerate(struct.iter_unpack("<d", cells)):
        if at:
            out += row_separator if row and at % row == 0 else separator
        out += spelled(spelling, number).encode()
    return out


def spelled(spelling: int, number: float) -> str:
    """The shortest digits that read back the same, by the table of FORMAT.md."""
    sign, digits_tuple, exponent = Decimal(repr(number)).as_tuple()
    assert isinstance(exponent, int)
    whole = "".join(map(str, digits_tuple))
    digits = whole.strip("0") or "0"
    first = 0 if not number else exponent + len(whole.lstrip("0")) - 1
    low, high = {PYTHON: (-4, 15), RUST: (-5, 15), JAVASCRIPT: (-6, 20)}[spelling]
    minus = "-" if sign and (number or spelling != JAVASCRIPT) else ""
    if not low <= first <= high:
        mantissa = digits[0] + ("." + digits[1:] if digits[1:] else "")
        if spelling == PYTHON:
            return f"{minus}{mantissa}e{first:+03d}"
        return f"{minus}{mantissa}e{first:+d}" if spelling == JAVASCRIPT else (
            f"{minus}{mantissa}e{first}"
        )  # fmt: skip
    if first < 0:
        return minus + "0." + "0" * (-first - 1) + digits
    before, after = digits[: first + 1].ljust(first + 1, "0"), digits[first + 1 :]
    if not after and spelling == JAVASCRIPT:
        return minus + before
    return f"{minus}{before}.{after or '0'}"


class Bits:
    """Bits as deflate packs them: the lowest of each byte first."""

    def __init__(self) -> None:
        self.value = 0
        self.count = 0

    def put(self, value: int, bits: int) -> None:
        assert 0 <= value < 1 << bits
        self.value |= value << self.count
        self.count += bits

    def code(self, code: str) -> None:
        for bit in code:
            self.put(int(bit), 1)

    def align(self) -> None:
        self.count += -self.count % 8

    def content(self) -> bytes:
        self.align()
        return self.value.to_bytes(self.count // 8, "little")


def codes_of(lengths: list[int]) -> dict[int, str]:
    """RFC 1951, 3.2.2."""
    codes = {}
    code = before = 0
    for length, symbol in sorted((length, at) for at, length in enumerate(lengths) if length):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes


def ranges(first: int, counts: list[int]) -> list[tuple[int, int]]:
    """Base and extra bits of each code of lengths or distances (RFC 1951, 3.2.5)."""
    found = []
    for extra, count in enumerate(counts):
        for _ in range(count):
            found.append((first, extra))
            first += 1 << extra
    return found


LENGTHS = [*ranges(3, [8, 4, 4, 4, 4, 4])[:28], (258, 0)]
DISTANCES = ranges(1, [4, *[2] * 13])
ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15]


def deflated(recipe: bytes, data: bytes) -> bytes:
    how, bits = Bytes(recipe), Bits()
    rest = Bytes(how.text() + data)
    last = 0
    while not last:
        (head,) = how.take(1)
        last, kind = head & 1, head >> 1
        bits.put(last, 1)
        bits.put(kind, 2)
        if kind == 0:
            length = how.varint()
            bits.align()
            bits.put(length, 16)
            bits.put(length ^ 0xFFFF, 16)
            for byte in rest.take(length):
                bits.put(byte, 8)
            continue
        if kind == 1:
            lengths = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
            distances = [5] * 30
        else:
            assert kind == 2
            lengths, distances = read_lengths(how, bits)
        write_tokens(how, bits, rest, codes_of(lengths), codes_of(distances))
    assert how.rest == 0
    assert rest.rest == 0
    return bits.content()


def read_lengths(how: Bytes, bits: Bits) -> tuple[list[int], list[int]]:
    literals, distances, n_lengths = how.take(3)
    bits.put(literals, 5)
    bits.put(distances, 5)
    bits.put(n_lengths, 4)
    of_codes = [0] * 19
    for symbol in ORDER[: n_lengths + 4]:
        (of_codes[symbol],) = how.take(1)
        bits.put(of_codes[symbol], 3)
    codes = codes_of(of_codes)
    lengths: list[int] = []
    while len(lengths) < literals + 257 + distances + 1:
        (symbol,) = how.take(1)
        bits.code(codes[symbol])
        if symbol < 16:
            lengths.append(symbol)
            continue
        (extra,) = how.take(1)
        bits.put(extra, {16: 2, 17: 3, 18: 7}[symbol])
        times = extra + (11 if symbol == 18 else 3)
        lengths += [lengths[-1] if symbol == 16 else 0] * times
    assert len(lengths) == literals + 257 + distances + 1
    return lengths[: literals + 257], lengths[literals + 257 :]


def write_tokens(
    how: Bytes, bits: Bits, rest: Bytes, literals: dict[int, str], distances: dict[int, str]
) -> None:
    while True:
        for byte in rest.take(how.varint()):
            bits.code(literals[byte])
        distance = int.from_bytes(how.take(2), "little")
        if not distance:
            bits.code(literals[256])
            return
        length = how.take(1)[0] + 3
        rest.take(length)
        at = max(at for at, (base, _) in enumerate(LENGTHS) if base <= length)
        bits.code(literals[257 + at])
        bits.put(length - LENGTHS[at][0], LENGTHS[at][1])
        at = max(at for at, (base, _) in enumerate(DISTANCES) if base <= distance)
        bits.code(distances[at])
        bits.put(distance - DISTANCES[at][0], DISTANCES[at][1])
