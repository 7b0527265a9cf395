"""Unpacked blocks of each kind and layout, as the reader uses them (FORMAT.md, "Payloads").

A dense or sparse payload begins with the ranges of numbers that its things have, since blocks are
merged without renumbering what is in them:

``ranged := varint n_ranges, varint count, (varint gap, varint count){n_ranges - 1}, payload``

The first range begins at the header's ``first``, each other ``gap`` behind the one before.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stowkenfs.documents.body import Body, decode_body
from stowkenfs.documents.dense import DenseRecords, decode_dense_records
from stowkenfs.documents.dense_layout import LayoutOf
from stowkenfs.documents.pieces import Numbers, Pieces, pieces_of_bodies
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import decode_frame, frame_kind
from stowkenfs.frames.dense import DenseSegments, decode_dense, prepare
from stowkenfs.frames.resources import FrameResources
from stowkenfs.frames.segment import Segment
from stowkenfs.store.block import Block, BlockKind, Layout
from stowkenfs.varint import append_varint, read_varint
from stowkenfs.vault.payloads import (
    RecordItems,
    SegmentItems,
    TemplateItems,
    decode_records,
    decode_segments,
    decode_templates,
)
from stowkenfs.vault.registry_blocks import REGISTRY_KINDS, RegistryItems, decode_registry

Range = tuple[int, int]
"""First number and count."""

CHECK_MASK = (1 << 32) - 1


def record_check(key: int) -> int:
    """What a dense record keeps of its key: the low 32 bits, of which no lookup knows."""
    return key & CHECK_MASK


class Records(Protocol):
    """A block of records; ``at`` is a position in it."""

    @property
    def cost_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def length(self, at: int) -> int:
        """Bytes of content."""
        ...

    def lengths(self, start: int, end: int) -> Sequence[int]:
        """``length`` of those from position ``start`` to ``end``."""
        ...

    def body(self, at: int) -> Body:
        """Raises RecordCorrupt."""
        ...

    def pieces(self, places: Sequence[int]) -> Pieces:
        """Many of them as columns. Raises RecordCorrupt."""
        ...

    def body_bytes(self, at: int) -> int:
        """What the body takes up in the payload, roughly where it is dense."""
        ...

    def digests(self, places: Sequence[int]) -> list[bytes]:
        """What is kept of the SHA-256 of contents: as many of its first bytes as there are."""
        ...

    def find(self, key: int) -> int | None:
        """Position of a record that fits ``key``."""
        ...


@dataclass(frozen=True, slots=True)
class PlainRecords:
    """Records as they were written first."""

    items: RecordItems

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes

    def __len__(self) -> int:
        return len(self.items.keys)

    def length(self, at: int) -> int:
        return int(self.items.lengths[at])

    def lengths(self, start: int, end: int) -> Sequence[int]:
        return self.items.lengths[start:end]

    def body(self, at: int) -> Body:
        return decode_body(self.items.bodies[at])

    def pieces(self, places: Sequence[int]) -> Pieces:
        bodies, at = self.items.bodies, np.array(places, np.int64)
        return pieces_of_bodies(bodies.body, bodies.bounds[at], bodies.bounds[at + 1])

    def body_bytes(self, at: int) -> int:
        return len(self.items.bodies[at])

    def digests(self, places: Sequence[int]) -> list[bytes]:
        return _rows(self.items.keys[places], "<i8")

    def find(self, key: int) -> int | None:
        found = (self.items.keys == key).nonzero()[0]
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, slots=True)
class PackedRecords:
    """Records that were compacted."""

    items: DenseRecords
    payload_bytes: int

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes

    def __len__(self) -> int:
        return len(self.items)

    def length(self, at: int) -> int:
        return int(self.items.lengths[at])

    def lengths(self, start: int, end: int) -> Sequence[int]:
        lengths: list[int] = self.items.lengths[start:end].tolist()
        return lengths

    def body(self, at: int) -> Body:
        return self.items.body(at)

    def pieces(self, places: Sequence[int]) -> Pieces:
        return self.items.pieces(places)

    def body_bytes(self, at: int) -> int:
        del at
        return -(-self.payload_bytes // max(len(self), 1))

    def digests(self, places: Sequence[int]) -> list[bytes]:
        return _rows(self.items.checks[places], "<u4")

    def find(self, key: int) -> int | None:
        found = (self.items.checks == record_check(key)).nonzero()[0]
        return int(found[0]) if len(found) else None


def _rows(numbers: npt.NDArray[np.integer], dtype: str) -> list[bytes]:
    """The bytes of each number."""
    joined = numbers.astype(dtype, copy=False).tobytes()
    size = np.dtype(dtype).itemsize
    return [joined[at : at + size] for at in range(0, len(joined), size)]


class Segments(Protocol):
    """A block of segments; ``at`` is a position in it."""

    @property
    def cost_bytes(self) -> int: ...
    def __len__(self) -> int: ...
    def segment(self, at: int) -> Segment:
        """Vocabulary and ids. Raises FrameCorrupt."""
        ...

    def verified(self, at: int) -> Segment:
        """As ``segment``, checked against the key where it has one of its own."""
        ...

    def spell(self, speller: Speller, numbers: Numbers, places: Numbers) -> None:
        """Give ``speller`` the segments of these numbers, at these places. Raises FrameCorrupt."""
        ...

    def kind(self, at: int) -> str:
        """How it is encoded, for people."""
        ...

    def stored_bytes(self, at: int) -> int:
        """What it takes up in the payload."""
        ...

    def find(self, key: int, segment: Segment) -> int | None:
        """Position of a segment with this key and content."""
        ...


@dataclass(frozen=True, slots=True)
class PlainSegments:
    """Segments as they were written first."""

    items: SegmentItems
    resources: FrameResources

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes

    def __len__(self) -> int:
        return len(self.items.keys)

    def segment(self, at: int) -> Segment:
        return decode_frame(self.items.frames[at], self.resources)

    def verified(self, at: int) -> Segment:
        segment = self.segment(at)
        key = segment_key(segment_hash(segment.tokens), segment.vocabulary)
        if key != self.items.keys[at]:
            raise FrameCorrupt("a segment's ids do not match their hash")
        return segment

    def spell(self, speller: Speller, numbers: Numbers, places: Numbers) -> None:
        frames = self.items.frames
        speller.add_frames(numbers, frames.body, frames.bounds[places], frames.bounds[places + 1])

    def kind(self, at: int) -> str:
        return f"0x{frame_kind(self.items.frames[at]):02x}"

    def stored_bytes(self, at: int) -> int:
        return len(self.items.frames[at])

    def find(self, key: int, segment: Segment) -> int | None:
        del segment
        found = (self.items.keys == key).nonzero()[0]
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, slots=True)
class PackedSegments:
    """Segments that were compacted, under the codebook of their block."""

    items: DenseSegments
    codebook: Codebook

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes

    def __len__(self) -> int:
        return len(self.items)

    def segment(self, at: int) -> Segment:
        return self.items.segment(at, self.codebook)

    def verified(self, at: int) -> Segment:
        return self.segment(at)  # the records that refer to it check it

    def spell(self, speller: Speller, numbers: Numbers, places: Numbers) -> None:
        speller.add_dense(self.items, self.codebook, numbers, places)

    def kind(self, at: int) -> str:
        del at
        return "dense"

    def stored_bytes(self, at: int) -> int:
        return len(self.items.content(at))

    def find(self, key: int, segment: Segment) -> int | None:
        del key
        wanted = prepare(segment.vocabulary, segment.tokens, self.codebook)
        return self.items.find(wanted.vocabulary, wanted.mode, wanted.content)


@dataclass(frozen=True, slots=True)
class Templates:
    """A block of templates, or of other byte strings, in any layout."""

    items: TemplateItems

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes

    def __len__(self) -> int:
        return len(self.items.templates)

    def find(self, content: bytes) -> int | None:
        for at in range(len(self)):
            if self.items.templates[at] == content:
                return at
        return None


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A block and the numbers of what is in it."""

    kind: BlockKind
    ranges: Sequence[Range]
    items: Records | Segments | Templates | RegistryItems

    @property
    def cost_bytes(self) -> int:
        return self.items.cost_bytes + 100 * len(self.ranges)

    def number(self, at: int) -> int:
        """Number of the thing at position ``at``."""
        for first, count in self.ranges:
            if at < count:
                return first + at
            at -= count
        raise IndexError(at)

    def holds(self, first: int, count: int, skip: int) -> bool:
        """Whether ``count`` things from number ``first`` lie from position ``skip`` on."""
        starts = []
        at = 0
        for _, length in self.ranges:
            starts.append(at)
            at += length
        which = bisect_right(starts, skip) - 1
        begin, length = self.ranges[which]
        within = skip - starts[which]
        return begin + within == first and within + count <= length


def encode_ranges(ranges: Sequence[Range]) -> bytes:
    """What a dense or sparse payload begins with; ``ranges`` are sorted and do not overlap."""
    out = bytearray()
    append_varint(out, len(ranges))
    end = ranges[0][0]
    for at, (first, count) in enumerate(ranges):
        if at:
            append_varint(out, first - end)
        append_varint(out, count)
        end = first + count
    return bytes(out)


def decode_ranges(block: Block) -> tuple[list[Range], int]:
    """Ranges of a dense or sparse block, and where its payload goes on. Raises Corrupt."""
    n, at = read_varint(block.payload, 0)
    if not 0 < n <= min(max(block.count, 1), len(block.payload)):
        raise Corrupt(f"{n} ranges of {block.count} things in {len(block.payload)} bytes")
    ranges: list[Range] = []
    end = block.first
    for index in range(n):
        gap = 0
        if index:
            gap, at = read_varint(block.payload, at)
        count, at = read_varint(block.payload, at)
        ranges.append((end + gap, count))
        end += gap + count
    if sum(count for _, count in ranges) != block.count:
        raise Corrupt("ranges and count differ")
    return ranges, at


CodebookOf = Callable[[int], Codebook]


def unpack(
    block: Block, layout_of: LayoutOf, codebook_of: CodebookOf, resources: FrameResources
) -> Unpacked:
    """What a block of numbered things holds, all kinds but namespace. Raises Corrupt."""
    ranges: list[Range] = [(block.first, block.count)]
    payload, begin = block.payload, 0
    if block.layout is not Layout.PLAIN:
        ranges, begin = decode_ranges(block)
    items: Records | Segments | Templates | RegistryItems
    if block.kind is BlockKind.RECORDS:
        items = (
            PackedRecords(
                decode_dense_records(payload, block.count, layout_of, begin), len(payload) - begin
            )
            if block.layout is Layout.DENSE
            else PlainRecords(decode_records(payload[begin:], block.count))
        )
    elif block.kind is BlockKind.SEGMENTS:
        if block.layout is Layout.DENSE:
            dense = decode_dense(payload, block.count, begin)
            book = Codebook({}) if dense.codebook_no is None else codebook_of(dense.codebook_no)
            items = PackedSegments(dense, book)
        else:
            items = PlainSegments(decode_segments(payload[begin:], block.count), resources)
    elif block.kind in REGISTRY_KINDS:
        items = decode_registry(payload[begin:], block.count)
    else:
        items = Templates(decode_templates(payload[begin:], block.count))
    return Unpacked(block.kind, ranges, items)
