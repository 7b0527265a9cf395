"""A reader of vaults written from docs/FORMAT.md, which shares no code with stowkenfs.

It reads packs only, so what it finds is also what the index could be rebuilt from. It keeps
everything in memory and trusts no length less than FORMAT.md allows; it is an oracle.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

from tests.second_reader_bytes import Bytes, sha256, unzstd
from tests.second_reader_cells import cells_as_text, deflated
from tests.second_reader_dense import (
    Body,
    DenseRecords,
    DenseSegment,
    Orders,
    References,
    ids_of,
    read_codebook,
    read_dense_segments,
    read_ranges,
)
from tests.second_reader_frames import (
    Ids,
    Registry,
    read_dictionary,
    read_frame,
    read_substring,
)
from tests.second_reader_tree import INODES, NAMES, NAMESPACE, Told, Tree

TABLES = Path(__file__).parent.parent / "stowkenfs" / "frames" / "tables"
TABLE_OF = {1: "cl100k_base.bin", 2: "o200k_base.bin"}
RECORDS, SEGMENTS, TEMPLATES, CODEBOOKS, KEYS = 1, 2, 3, 5, 6
SUBSTRINGS, DICTIONARIES = 9, 10
HEADER = "<4sBBBBQIII"


def read_superblock(content: bytes) -> tuple[bytes, int]:
    magic, version, vault_id, created_ns = struct.unpack("<8sI16sQ", content[:36])
    assert magic == b"STOWKEN\n"
    assert content[36:52] == sha256(content[:36])[:16]
    assert version in (1, 2, 3, 4)
    return vault_id, created_ns


@dataclass
class Stored:
    """A block as it lies in a pack."""

    kind: int
    codec: int
    layout: int
    first: int
    count: int
    raw: int
    stored: bytes

    @property
    def base_number(self) -> int:
        return int.from_bytes(self.stored[:8], "little")

    def payload(self, base: bytes | None = None) -> bytes:
        """Unpacked; ``base`` is the payload of the block that holds ``base_number``."""
        payload = self.stored
        if self.codec == 1:
            payload = unzstd(payload, self.raw)
        elif self.codec == 2:
            assert base is not None
            payload = unzstd(payload[8:], self.raw, base)
        else:
            assert self.codec == 0
        assert len(payload) == self.raw
        return payload


def stored_blocks(content: bytes) -> Iterator[Stored]:
    pack = Bytes(content)
    while pack.rest:
        head = pack.take(28)
        magic, kind, codec, layout, _, first, count, raw, length = struct.unpack(HEADER, head)
        assert magic == b"SKb1"
        checksum = pack.take(16)
        stored = pack.take(length)
        assert checksum == sha256(head + stored)[:16]
        yield Stored(kind, codec, layout, first, count, raw, stored)


def blocks_of(content: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """``(kind, first, count, payload)`` of each block of a pack without bases."""
    for block in stored_blocks(content):
        yield block.kind, block.first, block.count, block.payload()


def spellings(vocabulary: int) -> list[bytes]:
    table = Bytes(zstandard.decompress((TABLES / TABLE_OF[vocabulary]).read_bytes()))
    lengths = table.take(table.varint())
    return [table.take(length) for length in lengths]


SHORT = {8: "b", 9: "t", 10: "n", 12: "f", 13: "r", 34: '"', 92: "\\"}


def escaped(text: str, *, escape: Callable[[str], bool], upper: bool = False) -> str:
    """JSON with short escapes where there are any, and ``\\u`` for ``escape(character)``."""
    out = ""
    for character in text:
        number = ord(character)
        if number in SHORT:
            out += "\\" + SHORT[number]
        elif number < 32 or escape(character):
            units = character.encode("utf-16-be").hex()
            units = units.upper() if upper else units
            out += "".join("\\u" + units[at : at + 4] for at in range(0, len(units), 4))
        else:
            out += character
    return out


def write_styled(style: int, *parts: bytes) -> bytes:
    if style in (8, 9):
        how, content = parts[0], b"".join(parts[1:])
        return (cells_as_text if style == 8 else deflated)(how, content)
    content = b"".join(parts)
    if style == 0:
        return content
    if style == 7:
        return base64.b64encode(content)
    text = content.decode()
    if style in (1, 5):
        out = escaped(text, escape=lambda _: False)
    elif style in (2, 3, 6):
        out = escaped(text, escape=lambda c: not " " <= c <= "~", upper=style == 3)
    else:
        assert style == 4
        out = escaped(text, escape=lambda c: c in "<>&\u2028\u2029")
    return (out.replace("/", "\\/") if style in (5, 6) else out).encode()


Segment = bytes | tuple[int, DenseSegment]
"""A frame, or a codebook's number plus one and what is written with it."""


class Packs:
    """All that a list of packs, in the order of their numbers, says.

    Where blocks claim the same number, the one that lies last counts. A block whose base or
    templates no pack has any more is out of use, and left out.
    """

    def __init__(self, packs: Iterable[bytes]) -> None:
        self.records: dict[int, tuple[int, bytes, Body]] = {}  # {number: (length, check, body)}
        self.segments: dict[int, Segment] = {}
        self.templates: dict[int, bytes] = {}
        self._codebooks: dict[int, bytes] = {}
        self._substrings: dict[int, bytes] = {}
        self._dictionaries: dict[int, bytes] = {}
        self._registry = Registry(
            Lazy(lambda number: read_dictionary(self._dictionaries[number])),
            Lazy(lambda number: read_substring(self._substrings[number])),
            Lazy(self._canonical),
        )
        self._orders: dict[int, Orders] = {}
        self._spellings: dict[int, list[bytes]] = {}
        found = [block for pack in packs for block in stored_blocks(pack)]
        told: dict[int, Told] = {}
        unpacked = self._unpacked(found)
        # What records refer to, in dense blocks of which templates decide, comes first.
        for kind in (TEMPLATES, CODEBOOKS, SUBSTRINGS, DICTIONARIES, SEGMENTS, RECORDS):
            for block, payload in zip(found, unpacked, strict=True):
                if block.kind == kind and payload is not None:
                    self._read(block, Bytes(payload))
        for block, payload in zip(found, unpacked, strict=True):
            if block.kind in (NAMESPACE, INODES, NAMES):
                assert payload is not None
                told[block.first] = Told(block.kind, block.count, payload)
        self._tree = Tree(told)
        self.nodes = self._tree.nodes

    def _unpacked(self, blocks: list[Stored]) -> list[bytes | None]:
        bases: dict[tuple[int, int], bytes] = {}  # {(kind, number): payload}
        for block in blocks:
            if block.codec != 2 and block.layout == 1:
                payload = block.payload()
                for number in read_ranges(Bytes(payload), block.first):
                    bases[block.kind, number] = payload
        return [
            None
            if block.codec == 2 and (block.kind, block.base_number) not in bases
            else block.payload(bases[block.kind, block.base_number] if block.codec == 2 else None)
            for block in blocks
        ]

    def _read(self, block: Stored, payload: Bytes) -> None:
        numbers: Iterable[int] = range(block.first, block.first + block.count)
        if block.layout:
            numbers = read_ranges(payload, block.first)
        rows: Any
        if block.kind == RECORDS:
            try:
                rows = (self._dense_records if block.layout == 1 else read_records)(
                    payload, block.count
                )
            except KeyError:  # a template
                return
            self.records.update(zip(numbers, rows, strict=True))
        elif block.kind == SEGMENTS and block.layout == 1:
            codebook, dense = read_dense_segments(payload, block.count)
            self.segments.update((n, (codebook, s)) for n, s in zip(numbers, dense, strict=True))
        elif block.kind == SEGMENTS:
            sizes, _keys = payload.column(block.count), payload.keys(block.count)
            self.segments.update(zip(numbers, map(payload.take, sizes), strict=True))
        elif block.kind in (SUBSTRINGS, DICTIONARIES):
            shelf = self._substrings if block.kind == SUBSTRINGS else self._dictionaries
            shelf.update(zip(numbers, read_registry(payload, block), strict=True))
        else:
            shelf = self.templates if block.kind == TEMPLATES else self._codebooks
            sizes = payload.column(block.count)
            shelf.update(zip(numbers, map(payload.take, sizes), strict=True))
        assert payload.rest == 0

    def _dense_records(self, payload: Bytes, count: int) -> list[tuple[int, bytes, Body]]:
        return [
            (length, check.to_bytes(4, "little"), body)
            for length, check, body in DenseRecords(payload, count, self.templates).all()
        ]

    def segment(self, number: int) -> tuple[int, list[int]]:
        """Vocabulary and ids."""
        segment = self.segments[number]
        if isinstance(segment, bytes):
            return read_frame(segment, self._registry)
        codebook, dense = segment
        if codebook and codebook not in self._orders:
            self._orders[codebook] = read_codebook(self._codebooks[codebook - 1])[2]
        return dense[0], ids_of(dense, self._orders.get(codebook, {}))

    def _canonical(self, number: int) -> tuple[int, Ids]:
        """Its depth and what it is: 0 for one that is whole."""
        segment = self.segments[number]
        depth = 0
        if isinstance(segment, bytes):
            assert segment[0] != 4
            depth = segment[2] if segment[0] == 7 else 0
        return depth, self.segment(number)

    def text(self, number: int) -> bytes:
        vocabulary, ids = self.segment(number)
        if vocabulary == 0:
            return bytes(ids)
        if vocabulary not in self._spellings:
            self._spellings[vocabulary] = spellings(vocabulary)
        return b"".join(self._spellings[vocabulary][one] for one in ids)

    def record(self, number: int) -> bytes:
        length, check, body = self.records[number]
        content = render(body, self.templates, self.text, lambda at: self.segment(at)[1])
        assert len(content) == length
        assert sha256(content).startswith(check)
        return content

    def content(self, ino: int) -> bytes:
        """The bytes of a file as far as they are records; zeros elsewhere."""
        node = self.nodes[ino]
        out = bytearray(node.size)
        for start, (length, record, count) in node.extents.items():
            records = b"".join(self.record(at) for at in range(record, record + count))
            out[start : start + length] = records[:length]
        return bytes(out)

    def tree(self) -> dict[str, int]:
        """``{path: inode number}`` of all names; surrogates stand for what is no UTF-8."""
        return self._tree.paths()


def read_registry(payload: Bytes, block: Stored) -> Iterator[bytes]:
    """The substrings or dictionaries of a block, without what their training found."""
    payload.varint()  # when they were made
    for size in payload.column(block.count):
        entry = Bytes(payload.take(size))
        for _ in range(1 if block.kind == SUBSTRINGS else 2):
            entry.varint()
        yield entry.take(entry.rest)


class Lazy(Mapping[int, Any]):
    """Things by number, made when they are asked for."""

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> Any:
        return self._make(number)

    def __iter__(self) -> Iterator[int]:
        raise NotImplementedError

    def __len__(self) -> int:
        raise NotImplementedError


def read_records(payload: Bytes, count: int) -> list[tuple[int, bytes, Body]]:
    lengths, sizes = payload.column(count), payload.column(count)
    checks = [payload.take(8) for _ in range(count)]
    bodies = [read_body(payload.take(size)) for size in sizes]
    return list(zip(lengths, checks, bodies, strict=True))


def read_body(content: bytes) -> Body:
    body = Bytes(content)
    templates = [body.varint() for _ in range(body.varint())]
    values: list[bytes | References] = []
    previous = -1
    while body.rest:
        head = body.varint()
        if head % 2 == 0:
            values.append(body.take(head // 2))
            continue
        style = head // 2 % 16
        separator = body.text() if style == 15 else b""
        numbers = []
        for _ in range(head // 32):
            body.varint()  # the type, which the bytes do not depend on
            previous += body.signed() + 1
            numbers.append(previous)
        values.append(References(style, separator, numbers))
    return Body(templates, values)


def render(
    body: Body,
    templates: Mapping[int, bytes],
    text_of: Callable[[int], bytes],
    ids_of_segment: Callable[[int], Iterable[int]],
) -> bytes:
    """The record of a body; ``text_of`` and ``ids_of_segment`` give segments by number."""
    first, *rest = b"".join(templates[number] for number in body.templates).split(b"\0")
    out = first
    for value, piece in zip(body.values, rest, strict=True):
        if isinstance(value, bytes):
            out += value
        elif value.style == 15:
            ids = [b"%d" % one for number in value.segments for one in ids_of_segment(number)]
            out += value.separator.join(ids)
        else:
            out += write_styled(value.style, *map(text_of, value.segments))
        out += piece
    return out


def render_conversation(fields: Mapping[str, Any]) -> bytes:
    """The canonical file of a conversation, from a JSON object in the right order."""
    for ascii_only in (False, True):
        lines = []
        for name, value in fields.items():
            if name == "messages" and value:
                rows = ["    " + json.dumps(one, ensure_ascii=ascii_only) for one in value]
                shown = "[\n" + ",\n".join(rows) + "\n  ]"
            else:
                shown = json.dumps(value, ensure_ascii=ascii_only)
            lines.append(f"  {json.dumps(name, ensure_ascii=ascii_only)}: {shown}")
        try:
            return ("{\n" + ",\n".join(lines) + "\n}\n").encode()
        except UnicodeEncodeError:
            continue
    raise AssertionError("ASCII can be encoded")
