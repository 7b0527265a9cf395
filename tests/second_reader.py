"""A reader of vaults written from docs/FORMAT.md, which shares no code with stowkenfs.

It reads packs only, so what it finds is also what the index could be rebuilt from. It keeps
everything in memory and trusts no length less than FORMAT.md allows; it is an oracle.
"""

import base64
import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard

TABLES = Path(__file__).parent.parent / "stowkenfs" / "frames" / "tables"
TABLE_OF = {1: "cl100k_base.bin", 2: "o200k_base.bin"}
RECORDS, SEGMENTS, TEMPLATES, NAMESPACE = 1, 2, 3, 4
HEADER = "<4sBBHQIII"


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


class Bytes:
    """A byte string that is read from its start to its end."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    @property
    def rest(self) -> int:
        return len(self.content) - self.at

    def take(self, length: int) -> bytes:
        assert length <= self.rest, "cut off"
        self.at += length
        return self.content[self.at - length : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    def signed(self) -> int:
        number = self.varint()
        return -(number + 1) // 2 if number % 2 else number // 2

    def text(self) -> bytes:
        return self.take(self.varint())

    def column(self, count: int) -> list[int]:
        packed = Bytes(self.text())
        numbers = [packed.varint() for _ in range(count)]
        assert packed.rest == 0
        return numbers

    def keys(self, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}q", self.take(8 * count)))


def read_superblock(content: bytes) -> tuple[bytes, int]:
    magic, version, vault_id, created_ns = struct.unpack("<8sI16sQ", content[:36])
    assert magic == b"STOWKEN\n"
    assert content[36:52] == sha256(content[:36])[:16]
    assert version == 1
    return vault_id, created_ns


def blocks_of(content: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """``(kind, first, count, payload)`` of each block of a pack."""
    pack = Bytes(content)
    while pack.rest:
        head = pack.take(28)
        magic, kind, codec, _, first, count, raw, stored = struct.unpack(HEADER, head)
        assert magic == b"SKb1"
        checksum = pack.take(16)
        payload = pack.take(stored)
        assert checksum == sha256(head + payload)[:16]
        if codec == 1:
            payload = unzstd(payload, raw)
        assert len(payload) == raw
        yield kind, first, count, payload


def unzstd(content: bytes, length: int) -> bytes:
    reader = zstandard.ZstdDecompressor(format=zstandard.FORMAT_ZSTD1_MAGICLESS)
    return reader.decompress(content, max_output_size=length)


def spellings(vocabulary: int) -> list[bytes]:
    table = Bytes(zstandard.decompress((TABLES / TABLE_OF[vocabulary]).read_bytes()))
    lengths = table.take(table.varint())
    return [table.take(length) for length in lengths]


def read_frame(content: bytes) -> tuple[int, list[int]]:
    """The vocabulary and the ids of a frame."""
    frame = Bytes(content)
    kind, vocabulary = frame.take(2)
    if kind == 2:
        length = frame.varint()
        frame = Bytes(unzstd(frame.take(frame.rest), length))
        assert frame.rest == length
    else:
        assert kind == 1
    if vocabulary == 0:
        return vocabulary, list(frame.take(frame.rest))
    ids = []
    while frame.rest:
        ids.append(frame.varint())
    return vocabulary, ids


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


def write_styled(style: int, content: bytes) -> bytes:
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


@dataclass
class Node:
    """An inode as the packs tell it."""

    mode: int
    uid: int
    gid: int
    nlink: int
    size: int
    mtime_ns: int
    target: bytes | None
    xattrs: dict[bytes, bytes]
    extents: dict[int, tuple[int, int, int]]  # {start: (length, record, count)}


class Packs:
    """All that a list of packs, in order, says."""

    def __init__(self, packs: Iterable[bytes]) -> None:
        self.records: dict[int, tuple[int, int, bytes]] = {}  # {number: (length, key, body)}
        self.frames: dict[int, bytes] = {}
        self.templates: dict[int, bytes] = {}
        self.nodes: dict[int, Node] = {}
        self.names: dict[tuple[int, bytes], int] = {}  # {(parent, name): ino}
        self._spellings: dict[int, list[bytes]] = {}
        for pack in packs:
            for kind, first, count, payload in blocks_of(pack):
                self._read(kind, first, count, Bytes(payload))

    def _read(self, kind: int, first: int, count: int, payload: Bytes) -> None:
        if kind == NAMESPACE:
            for _ in range(count):
                self._statement(payload)
        elif kind == RECORDS:
            lengths, sizes = payload.column(count), payload.column(count)
            rows = zip(lengths, payload.keys(count), map(payload.take, sizes), strict=True)
            self.records.update(enumerate(rows, first))
        elif kind == SEGMENTS:
            sizes, _keys = payload.column(count), payload.keys(count)
            self.frames.update(enumerate(map(payload.take, sizes), first))
        else:
            assert kind == TEMPLATES
            self.templates.update(enumerate(map(payload.take, payload.column(count)), first))
        assert payload.rest == 0

    def _statement(self, payload: Bytes) -> None:
        statement, number = payload.take(1)[0], payload.varint()
        if statement == 1:
            mode, uid, gid, nlink, size, _rdev = (payload.varint() for _ in range(6))
            _atime, mtime, _ctime = (payload.signed() for _ in range(3))
            _parent, target_length = payload.varint(), payload.varint()
            target = payload.take(target_length - 1) if target_length else None
            xattrs = {payload.text(): payload.text() for _ in range(payload.varint())}
            extents = self.nodes[number].extents if number in self.nodes else {}
            self.nodes[number] = Node(mode, uid, gid, nlink, size, mtime, target, xattrs, extents)
        elif statement == 2:
            self.nodes.pop(number, None)
        elif statement == 3:
            name = payload.text()
            self.names[number, name] = payload.varint()
        elif statement == 4:
            self.names.pop((number, payload.text()), None)
        else:
            assert statement == 5
            extents, at = self.nodes[number].extents, payload.varint()
            for start in [start for start in extents if start >= at]:
                del extents[start]
            for _ in range(payload.varint()):
                gap, length, record, count = (payload.varint() for _ in range(4))
                extents[at + gap] = (length, record, count)
                at += gap + length

    def segment(self, number: int) -> tuple[int, list[int]]:
        return read_frame(self.frames[number])

    def text(self, number: int) -> bytes:
        vocabulary, ids = self.segment(number)
        if vocabulary == 0:
            return bytes(ids)
        if vocabulary not in self._spellings:
            self._spellings[vocabulary] = spellings(vocabulary)
        return b"".join(self._spellings[vocabulary][one] for one in ids)

    def record(self, number: int) -> bytes:
        length, key, body = self.records[number]
        content = render_body(body, self.templates, self.text, lambda at: self.segment(at)[1])
        assert len(content) == length
        assert sha256(content)[:8] == struct.pack("<q", key)
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
        """``{path: inode number}`` of all names."""
        paths = {1: ""}
        found: dict[str, int] = {}
        waiting = [1]
        while waiting:
            at = waiting.pop()
            for (parent, name), ino in self.names.items():
                if parent == at:
                    path = f"{paths[at]}/{name.decode()}"
                    found[path] = ino
                    if self.nodes[ino].mode & 0o170000 == 0o040000:
                        paths[ino] = path
                        waiting.append(ino)
        return found


def render_body(
    content: bytes,
    templates: Mapping[int, bytes],
    text_of: Callable[[int], bytes],
    ids_of: Callable[[int], Iterable[int]],
) -> bytes:
    """The record of a body; ``text_of`` and ``ids_of`` give segments by number."""
    body = Bytes(content)
    skeleton = b"".join(templates[body.varint()] for _ in range(body.varint()))
    slots = skeleton.split(b"\0")
    out, previous = slots.pop(0), -1
    while body.rest:
        head = body.varint()
        if head % 2 == 0:
            out += body.take(head // 2) + slots.pop(0)
            continue
        style = head // 2 % 16
        separator = body.text() if style == 15 else b""
        numbers = []
        for _ in range(head // 32):
            body.varint()  # the type, which the bytes do not depend on
            previous += body.signed() + 1
            numbers.append(previous)
        if style == 15:
            ids = [b"%d" % one for number in numbers for one in ids_of(number)]
            out += separator.join(ids) + slots.pop(0)
        else:
            out += write_styled(style, b"".join(map(text_of, numbers))) + slots.pop(0)
    assert not slots
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
