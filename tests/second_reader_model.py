"""The second reader's page on models and coded ids, from FORMAT.md alone. Slow, and plain."""

import struct
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate

END = 2**18 - 1


@dataclass
class Context:
    escape: int
    entries: list[tuple[int, int]]
    """Ids and weights, by id."""


@dataclass
class Model:
    vocabulary: int
    orders: int
    hits: tuple[int, ...]
    contexts: dict[tuple[int, ...], Context]
    """By their ids, the youngest first."""


def plane_numbers(content: bytes, at: int, count: int) -> tuple[list[int], int]:
    numbers = [
        content[at + i] + 256 * content[at + count + i] + 65536 * content[at + 2 * count + i]
        for i in range(count)
    ]
    return numbers, at + 3 * count


def read_model(content: bytes) -> Model:
    version, vocabulary, orders, zero = content[:4]
    assert (version, zero) == (1, 0)
    hits = struct.unpack("<16H", content[4:36])
    *of_order, entry_count = struct.unpack("<5I", content[36:56])
    lengths = [length for length, count in enumerate(of_order) for _ in range(count)]
    at = 56
    digits = []
    for order in (1, 2, 3):
        column, at = plane_numbers(content, at, sum(length >= order for length in lengths))
        digits.append(column)
    sizes, at = plane_numbers(content, at, len(lengths))
    escapes, at = plane_numbers(content, at, len(lengths))
    differences, at = plane_numbers(content, at, entry_count)
    counts, at = plane_numbers(content, at, entry_count)
    assert at == len(content)

    contexts: dict[tuple[int, ...], Context] = {}
    before: tuple[int, ...] = ()
    start = 0
    for number, length in enumerate(lengths):
        ids: tuple[int, ...] = ()
        for order in range(length):
            written = digits[order].pop(0)
            is_same = len(before) == length and before[:order] == ids
            ids += (written + before[order] if is_same else written,)
        before = ids
        entries, token = [], 0
        for entry in range(start, start + sizes[number]):
            token = differences[entry] + (token if entry > start else 0)
            entries.append((token, 8 * counts[entry] - 5))
        start += sizes[number]
        contexts[ids] = Context(escapes[number], entries)
    assert start == entry_count
    return Model(vocabulary, orders, hits, contexts)


class Window:
    """All of the bytes as one number, and an interval that it lies in."""

    def __init__(self, content: bytes) -> None:
        self.number = int.from_bytes(content, "big")
        self.bytes = len(content)
        self.low, self.range, self.shifts = 0, 2**48, 0

    def take(self, sizes: list[int]) -> int:
        """Which of these parts the number lies in; the interval becomes that part."""
        unit = self.range // sum(sizes)
        ends = [self.low + unit * end for end in accumulate(sizes)]
        assert self.value() < ends[-1], "behind all parts"
        part = bisect_right(ends, self.value())
        self.low, self.range = ends[part] - sizes[part] * unit, sizes[part] * unit
        while self.range < 2**40:
            self.low, self.range, self.shifts = self.low * 256, self.range * 256, self.shifts + 1
        return part

    def value(self) -> int:
        """The bytes that the interval is about: the first six, and one for each shift."""
        wanted = 6 + self.shifts - self.bytes
        return self.number << 8 * wanted if wanted >= 0 else self.number >> -8 * wanted


def read_ids(content: bytes, model: Model) -> list[int]:
    window = Window(content)
    ids: list[int] = []
    seen: dict[int, int] = {}
    length = source = 0
    while True:
        token = None
        predicted = ids[source] if length else None
        if predicted is not None:
            hits = model.hits[min(length, 15)]
            if window.take([hits, 65536 - hits]) == 0:
                token = predicted
        if token is None:
            token = read_id(window, ids, model)
        if token == END:
            return ids
        ids.append(token)
        length, source = (length + 1, source + 1) if token == predicted else (0, source)
        if len(ids) < 2:
            continue
        pair = (ids[-2] * 2**18 + ids[-1]) * 0x9E3779B97F4A7C15 % 2**64 >> 50
        last = seen.get(pair)
        if length == 0 and last is not None and ids[last - 2 : last] == ids[-2:]:
            source, length = last, 2
            while length < 15 and length < last and ids[last - 1 - length] == ids[-1 - length]:
                length += 1
        seen[pair] = len(ids)


def read_id(window: Window, ids: list[int], model: Model) -> int:
    past = [END, *ids]
    for length in range(min(len(past), model.orders), -1, -1):
        context = model.contexts.get(tuple(reversed(past[len(past) - length :])))
        if context is None:
            continue
        part = window.take([context.escape, *(weight for _, weight in context.entries)])
        if part:
            return context.entries[part - 1][0]
    return raw(window)


def raw(window: Window) -> int:
    unit = window.range // 2**18
    token = (window.value() - window.low) // unit
    window.low, window.range = window.low + token * unit, unit
    while window.range < 2**40:
        window.low, window.range = window.low * 256, window.range * 256
        window.shifts += 1
    return token
