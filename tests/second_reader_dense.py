"""What the second reader knows of compacted segments and records, from docs/FORMAT.md only."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from tests.second_reader_bytes import Bytes, unzigzag


@dataclass
class References:
    """A value that consists of segments."""

    style: int
    separator: bytes
    segments: list[int]


@dataclass
class Body:
    """What a record consists of."""

    templates: list[int]
    values: list[bytes | References]


Orders = dict[int, list[int]]


def read_ranges(payload: Bytes, first: int) -> list[int]:
    """The number of each thing in a dense payload, which begins with them."""
    numbers: list[int] = []
    at = first
    for index in range(payload.varint()):
        at += payload.varint() if index else 0
        count = payload.varint()
        numbers += range(at, at + count)
        at += count
    return numbers


# Codebooks and segments


def read_codebook(content: bytes) -> tuple[int, int, Orders]:
    """Both bases plus one, and the order of ids of each vocabulary."""
    entry = Bytes(content)
    segments_base, records_base = entry.varint(), entry.varint()
    orders = read_orders(entry)
    assert entry.rest == 0
    return segments_base, records_base, orders


def read_orders(entry: Bytes) -> Orders:
    orders: Orders = {}
    for _ in range(entry.varint()):
        vocabulary, length = entry.varint(), entry.varint()
        order = [entry.varint() for _ in range(min(length, 160))]
        if length > 160:
            counts = [entry.varint() for _ in range(entry.varint())]
            for count in counts:
                order.append(entry.varint())
                for _ in range(count - 1):
                    order.append(order[-1] + entry.varint() + 1)
        assert len(set(order)) == len(order) == length
        orders[vocabulary] = order
    return orders


DenseSegment = tuple[int, int, bytes]
"""Vocabulary, mode and content."""


def read_dense_segments(payload: Bytes, count: int) -> tuple[int, list[DenseSegment]]:
    """The number of the codebook plus one, and the segments."""
    codebook = payload.varint()
    runs = Bytes(payload.text()).varints()
    classes = [
        class_ for class_, length in zip(runs[::2], runs[1::2], strict=True) for _ in range(length)
    ]
    assert len(classes) == count
    ranked = payload.text().split(b"\xff")
    assert ranked.pop() == b""
    plain = [payload.take(length) for length in Bytes(payload.text()).varints()]
    segments = [
        (class_ // 4, class_ % 4, (plain if class_ % 4 else ranked).pop(0)) for class_ in classes
    ]
    assert payload.rest == len(ranked) == len(plain) == 0
    return codebook, segments


def ids_of(segment: DenseSegment, orders: Orders) -> list[int]:
    vocabulary, mode, content = segment
    if mode == 1:
        return list(content)
    if mode == 2:
        return Bytes(content).varints()
    order = orders.get(vocabulary, [])
    ids, byte = [], iter(content)
    for first in byte:
        if first < 160:
            ids.append(order[first])
        elif first < 240:
            ids.append(order[160 + (first - 160) * 255 + next(byte)])
        else:
            ids.append((first - 240) * 65025 + next(byte) * 255 + next(byte))
    return ids


# Records


ALPHABETS = [
    "89ab",
    "0123456789",
    "0123456789abcdef",
    "0123456789ABCDEF",
    "abcdefghijklmnopqrstuvwxyz",
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "0123456789abcdefghijklmnopqrstuvwxyz",
    "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
]


@dataclass
class Family:
    """Identifiers of one form; ``new`` are its different ones."""

    alphabets: bytes
    new: list[bytes]
    last_repeat: int = -1

    def words(self) -> list[tuple[list[int], int]]:
        """Positions of each word, and how many numbers it has."""
        words: list[tuple[list[int], int]] = []
        for position, alphabet in enumerate(self.alphabets):
            if alphabet < 32:
                size = len(ALPHABETS[alphabet])
                if not words or words[-1][1] * size > 1 << 63:
                    words.append(([], 1))
                words[-1] = ([*words[-1][0], position], words[-1][1] * size)
        return words

    def read(self, packed: Bytes, count: int) -> None:
        """``count`` new ones from the identifiers' bits."""
        widths = [(size - 1).bit_length() for _, size in self.words()]
        total = count * sum(widths)
        content = packed.take(-(-total // 8))
        bits = "".join(f"{byte:08b}" for byte in content)
        for _ in range(count):
            text = bytearray(self.alphabets)
            for (positions, size), width in zip(self.words(), widths, strict=True):
                number, bits = int(bits[:width] or "0", 2), bits[width:]
                assert number < size
                for position in reversed(positions):
                    alphabet = ALPHABETS[self.alphabets[position]]
                    text[position] = ord(alphabet[number % len(alphabet)])
                    number //= len(alphabet)
            self.new.append(bytes(text))


def columns_of(template: bytes) -> list[bytes]:
    """The JSON key before each slot."""
    columns, key = [], b""
    for found in re.finditer(rb'"([^"\x00]*)"[ \t\n\r\v\f]*:|\x00', template):
        if found[0] == b"\0":
            columns.append(key)
        else:
            key = found[1]
    return columns


def time_of(milliseconds: int) -> bytes:
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return time.replace(tzinfo=None).isoformat(timespec="milliseconds").encode() + b"Z"


class DenseRecords:
    """The records of one dense payload."""

    def __init__(self, payload: Bytes, count: int, templates: Mapping[int, bytes]) -> None:
        sizes = [payload.varint() for _ in range(13)]
        streams = [Bytes(payload.take(size)) for size in sizes]
        assert payload.rest == 0
        self._text = streams[0].content.split(b"\n")
        assert self._text.pop() == b""
        self._templates, number = [0], -1
        for gap in streams[1].varints():
            number += gap + 1
            self._templates.append(number)
        self._records: list[list[int]] = [[]]
        for place in streams[2].varints():
            if place:
                self._records[-1].append(self._templates[place])
            else:
                self._records.append([])
        assert self._records.pop() == []
        assert len(self._records) == count
        self._slots(templates)
        self._lengths: dict[int, int] = {}  # by line, where it is not that of the line
        self._values: dict[int, bytes | References] = {}
        self._read_identifiers(streams[3], streams[4], streams[5])
        self._read_times(streams[6])
        self._read_references(streams[7], streams[8], streams[9])
        self._read_literals()
        lows, highs = streams[10].take(count), streams[11].varints()
        self._differences = [
            unzigzag(low + 256 * high) for low, high in zip(lows, highs, strict=True)
        ]
        checks = streams[12]
        self.checks = [int.from_bytes(checks.take(4), "little") for _ in range(count)]
        assert checks.rest == 0

    def _slots(self, templates: Mapping[int, bytes]) -> None:
        layouts = {number: columns_of(templates[number]) for number in self._templates[1:]}
        names = [name for number in self._templates[1:] for name in layouts[number]]
        order = {name: at for at, name in reversed(list(enumerate(names)))}
        columns = [
            order[name] for record in self._records for number in record for name in layouts[number]
        ]
        self._slot_of_line = sorted(range(len(columns)), key=columns.__getitem__)
        assert len(self._slot_of_line) == len(self._text)
        self._line_of_slot = {slot: line for line, slot in enumerate(self._slot_of_line)}
        self._n_slots = {number: len(layout) for number, layout in layouts.items()}
        self._fixed = {number: len(templates[number]) - n for number, n in self._n_slots.items()}

    def _lines(self, is_marked: Callable[[int], bool]) -> list[int]:
        return [at for at, line in enumerate(self._text) if line and is_marked(line[0])]

    def _read_identifiers(self, table: Bytes, packed: Bytes, repeats: Bytes) -> None:
        prefixes: list[tuple[Family, bytes]] = []
        families = []
        while table.rest:
            families.append(Family(table.text(), []))
            prefixes += [(families[-1], table.text()) for _ in range(table.varint())]
        lines = self._lines(lambda mark: 0x80 <= mark < 0xC0)
        mark = {line: self._text[line][0] - 0x80 for line in lines}
        new = sorted((n for n in lines if mark[n] % 2 == 0), key=self._slot_of_line.__getitem__)
        for family in families:
            mine = [line for line in new if prefixes[mark[line] // 2][0] is family]
            family.read(packed, len(mine))
            for line, identifier in zip(mine, family.new, strict=True):
                self._values[line] = prefixes[mark[line] // 2][1] + identifier
        for line in lines:
            family, prefix = prefixes[mark[line] // 2]
            if mark[line] % 2:
                family.last_repeat += repeats.signed() + 1
                self._values[line] = prefix + family.new[family.last_repeat]
            self._lengths[line] = len(prefix) + len(family.alphabets)
        assert packed.rest == repeats.rest == 0

    def _read_times(self, differences: Bytes) -> None:
        time = 0
        for line in self._lines(lambda mark: mark == 3):
            time += differences.signed()
            self._values[line] = time_of(time)
            self._lengths[line] = 24
        assert differences.rest == 0

    def _read_references(self, table: Bytes, form_of: Bytes, symbols: Bytes) -> None:
        forms = []
        while table.rest:
            (style,) = table.take(1)
            separator = table.text() if style == 15 else b""
            forms.append((style, separator, len(table.text())))
        parts: list[tuple[int, int]] = []  # slot and symbol, in the order of lines
        lines = self._lines(lambda mark: mark == 1)
        form = {line: forms[form_of.varint()] for line in lines}
        for line in lines:
            parts += [(self._slot_of_line[line], symbols.varint()) for _ in range(form[line][2])]
        assert form_of.rest == symbols.rest == 0
        # A stable sort: the parts of one slot keep their order.
        newest, new = -1, {}
        for at in sorted(range(len(parts)), key=lambda at: parts[at][0]):
            symbol = parts[at][1]
            if symbol % 2 or symbol == 0:
                newest += (symbol + 1) // 2 + 1
                new[at] = newest
        at, before = 0, -1
        for line in lines:
            style, separator, count = form[line]
            segments = []
            for _ in range(count):
                before = new[at] if at in new else before + unzigzag(parts[at][1] // 2 - 1) + 1
                segments.append(before)
                at += 1
            self._values[line] = References(style, separator, segments)
            self._lengths[line] = 0

    def _read_literals(self) -> None:
        for at, line in enumerate(self._text):
            if at in self._values:
                continue
            if line[:1] == b"\2":
                sign, p, q = re.fullmatch(rb"\x02(-?)(\d+)/(\d+)", line).groups()  # type: ignore[union-attr]
                self._values[at] = sign + repr(int(p) / int(q)).encode()
            elif line[:1] == b"\4":
                self._values[at] = line[1:].replace(b"\4\5", b"\n").replace(b"\4\6", b"\4")
            else:
                self._values[at] = line

    def all(self) -> list[tuple[int, int, Body]]:
        """Length, check and body of each record."""
        found, slot = [], 0
        for at, templates in enumerate(self._records):
            length = self._differences[at] + sum(self._fixed[number] for number in templates)
            count = sum(self._n_slots[number] for number in templates)
            lines = [self._line_of_slot[slot + n] for n in range(count)]
            slot += count
            length += sum(self._lengths.get(line, len(self._text[line])) for line in lines)
            body = Body(templates, [self._values[line] for line in lines])
            found.append((length, self.checks[at], body))
        return found
