"""What the second reader knows of frames, from docs/FORMAT.md only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import zstandard

from tests.second_reader_bytes import Bytes, unzigzag, unzstd
from tests.second_reader_dense import Orders, ids_of, read_orders

Ids = tuple[int, list[int]]
"""A vocabulary and ids of it."""


@dataclass
class Dictionary:
    """A registry entry: what frames of kind 3 refer to."""

    sample_count: int
    orders: Orders
    trained: bytes


@dataclass
class Registry:
    """What frames refer to, by number."""

    dictionaries: Mapping[int, Dictionary] = field(default_factory=dict)
    substrings: Mapping[int, Ids] = field(default_factory=dict)
    canonicals: Mapping[int, tuple[int, Ids]] = field(default_factory=dict)  # with their depths


def read_dictionary(content: bytes) -> Dictionary:
    entry = Bytes(content)
    sample_count, length = entry.varint(), entry.varint()
    parts = Bytes(unzstd(entry.take(entry.rest), length)) if length else entry
    codebook = Bytes(parts.text())
    orders = read_orders(codebook)
    assert codebook.rest == 0
    return Dictionary(sample_count, orders, parts.take(parts.rest))


def read_frame(content: bytes, registry: Registry | None = None) -> Ids:
    """The vocabulary and the ids of a frame."""
    frame = Bytes(content)
    kind, vocabulary = frame.take(2)
    if kind in (1, 2):
        return vocabulary, read_symbols(frame, vocabulary, packed=kind == 2)
    assert registry is not None
    if kind == 3:
        return vocabulary, _by_dictionary(frame, vocabulary, registry)
    assert kind in (4, 5, 7)
    if kind == 5:
        return vocabulary, _edited(frame, vocabulary, registry.substrings)
    depth = frame.take(1)[0] if kind == 7 else 1
    assert 1 <= depth <= 8
    return vocabulary, _edited(frame, vocabulary, Below(depth, registry.canonicals))


class Below(Mapping[int, Ids]):
    """Canonicals that are less deep."""

    def __init__(self, depth: int, canonicals: Mapping[int, tuple[int, Ids]]) -> None:
        self._depth = depth
        self._canonicals = canonicals

    def __getitem__(self, number: int) -> Ids:
        depth, ids = self._canonicals[number]
        assert depth < self._depth
        return ids

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def read_symbols(frame: Bytes, vocabulary: int, *, packed: bool) -> list[int]:
    if packed:
        length = frame.varint()
        frame = Bytes(unzstd(frame.take(frame.rest), length))
        assert frame.rest == length
    if vocabulary == 0:
        return list(frame.take(frame.rest))
    return frame.varints()


def _by_dictionary(frame: Bytes, vocabulary: int, registry: Registry) -> list[int]:
    number, form = divmod(frame.varint(), 4)
    dictionary = registry.dictionaries[number]
    length = frame.varint() if form == 2 else 1 << 17
    codes = frame.take(frame.rest)
    if form == 1:
        header = (1 | 2 << 1 | len(codes) << 3).to_bytes(3, "little")
        codes = b"\0\x38" + header + codes
    if form:
        zstd_dictionary = zstandard.ZstdCompressionDict(
            dictionary.trained, dict_type=zstandard.DICT_TYPE_FULLDICT
        )
        reader = zstandard.ZstdDecompressor(
            format=zstandard.FORMAT_ZSTD1_MAGICLESS,
            dict_data=zstd_dictionary,
            max_window_size=1 << 24,
        )
        codes = reader.decompress(codes, max_output_size=length, allow_extra_data=False)
        assert form == 1 or len(codes) == length
    return list(codes) if vocabulary == 0 else ids_of((vocabulary, 0, codes), dictionary.orders)


def read_substring(content: bytes) -> Ids:
    """A registry entry: what frames of kind 5 refer to."""
    entry = Bytes(content)
    (vocabulary,) = entry.take(1)
    return vocabulary, read_symbols(entry, vocabulary, packed=False)


def _edited(frame: Bytes, vocabulary: int, sources: Mapping[int, Ids]) -> list[int]:
    source = frame.varint()
    steps_bytes, packed = divmod(frame.varint(), 2)
    steps = Bytes(frame.take(steps_bytes))
    literals = []
    if frame.rest or packed:
        literals = read_symbols(frame, vocabulary, packed=bool(packed))
    literals.reverse()
    ids: list[int] = []
    place = 0
    while steps.rest:
        n, low = divmod(steps.varint(), 8)
        more, mode = divmod(low, 4)
        if mode == 0:
            assert not more
            assert n
            ids += [literals.pop() for _ in range(n)]
            place += n
            continue
        if mode == 2:
            place += unzigzag(steps.varint())
        elif mode == 3:
            source += unzigzag(steps.varint())
            place = steps.varint()
        of, copied = sources[source]
        assert of == vocabulary
        end = place + n if n else len(copied)
        assert 0 <= place < end <= len(copied)
        ids += copied[place:end]
        place = end
        if more:
            ids.append(literals.pop())
            place += 1
    return ids + literals[::-1]


def _by_edits(frame: Bytes, vocabulary: int, sources: Mapping[int, Ids]) -> list[int]:
    number = frame.varint()
    steps_length, packed = divmod(frame.varint(), 2)
    steps = Bytes(frame.take(steps_length))
    literals = read_symbols(frame, vocabulary, packed=bool(packed))
    ids: list[int] = []
    place = 0
    while steps.rest:
        step = steps.varint()
        length, more, mode = step >> 3, step >> 2 & 1, step & 3
        if mode == 0:
            assert length
            assert not more
            more = length
        else:
            if mode == 2:
                place += steps.signed()
            elif mode == 3:
                number += steps.signed()
                place = steps.varint()
            source_vocabulary, source = sources[number]
            assert source_vocabulary == vocabulary
            end = place + length if length else len(source)
            assert 0 <= place < end <= len(source)
            ids += source[place:end]
            place = end
        ids += literals[:more]
        place += more
        literals = literals[more:]
    return ids + literals
