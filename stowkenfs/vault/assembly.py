"""Numbering what is new of encoded batches and packing it into blocks. No I/O."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from stowkenfs.documents.renaming import names_in, rename
from stowkenfs.frames.codec import FrameKind, frame_kind
from stowkenfs.store.block import Block, BlockKind, encode_block
from stowkenfs.vault.encode import EncodedBatch, EncodedRecord
from stowkenfs.vault.near_chains import Match
from stowkenfs.vault.near_round import NearRound
from stowkenfs.vault.packs import PackedBlock
from stowkenfs.vault.payloads import (
    content_key,
    encode_records,
    encode_segments,
    encode_templates,
)

T = TypeVar("T")

BLOCK_BYTES = 64 << 10
"""A block is closed when its payload reaches this: reading one thing unpacks one block."""

RUN_BYTES_MAX = 256 << 10
RUN_RECORDS_MAX = 1024
"""Bounds of one extent, so that finding a byte in it takes few steps."""


@dataclass(frozen=True, slots=True)
class Run:
    """``length_bytes`` of content in ``count`` consecutive records from ``record``."""

    record: int
    count: int
    length_bytes: int


@dataclass(slots=True)
class Tally:
    """What storing something added: new segments, and bytes of frames, bodies and templates."""

    segments: int = 0
    stored_bytes: int = 0

    def add(self, other: "Tally") -> None:
        self.segments += other.segments
        self.stored_bytes += other.stored_bytes


@dataclass(frozen=True, slots=True)
class BatchResult:
    """The runs of records that each job of a batch became, and what was new of it."""

    runs: list[list[Run]]
    added: Tally


@dataclass(slots=True)
class KnownKeys:
    """Keys of a round that the index already has, each with its number."""

    records: dict[int, int] = field(default_factory=dict)
    segments: dict[int, int] = field(default_factory=dict)
    templates: dict[int, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Shelf:
    """Things of one kind that are new, in the order of their numbers."""

    next_number: int
    known: dict[int, int]  # {key: number}
    first: int = 0
    keys: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.first = self.next_number

    def add(self, key: int) -> int:
        number = self.next_number
        self.next_number += 1
        self.known[key] = number
        self.keys.append(key)
        return number

    def new_keys(self) -> list[tuple[int, int]]:
        """Sorted: those that are written one after the other share pages of the table."""
        return sorted(zip(self.keys, range(self.first, self.next_number), strict=True))


class Assembly:
    """One round: give batches their numbers, then yield their blocks."""

    def __init__(
        self,
        known: KnownKeys,
        next_numbers: dict[BlockKind, int],
        level: int,
        near: NearRound | None = None,
    ) -> None:
        self._level = level
        self.near = near
        self.records = _Shelf(next_numbers[BlockKind.RECORDS], known.records)
        self.segments = _Shelf(next_numbers[BlockKind.SEGMENTS], known.segments)
        self.templates = _Shelf(next_numbers[BlockKind.TEMPLATES], known.templates)
        self._record_rows: list[tuple[int, int, bytes]] = []
        self._segment_rows: list[tuple[int, bytes]] = []
        self._template_rows: list[bytes] = []
        self._added = Tally()  # by the batch at hand
        self.frames: dict[int, tuple[int, int]] = {}  # {kind: (frames, bytes)}

    def add(self, batch: EncodedBatch, *, fresh: bool = False) -> BatchResult:
        """Number what ``batch`` consists of. ``fresh``: it is stored without deltas."""
        self._added = Tally()
        new: list[EncodedRecord] = []
        runs = [
            join_runs(Run(self._record(record, new), 1, record[0]) for record in job)
            for job in batch.records
        ]
        self._add_bodies(new, batch, {} if fresh else self._alike(batch))
        return BatchResult(runs, self._added)

    def _record(self, record: EncodedRecord, new: list[EncodedRecord]) -> int:
        """The number of a record, which ``new`` gets if it is that."""
        found = self.records.known.get(record[1])
        if found is not None:
            return found
        new.append(record)
        return self.records.add(record[1])

    def _add_bodies(
        self, new: Sequence[EncodedRecord], batch: EncodedBatch, alike: dict[int, list[Match]]
    ) -> None:
        """Number what new records refer to; their bodies get these numbers."""
        bodies = [body for _, _, body in new]
        templates = np.full(len(batch.templates), -1, np.int64)
        segments = np.full(len(batch.segments), -1, np.int64)
        of_templates, of_segments = names_in(bodies)
        for at in of_templates:
            templates[at] = self.add_template(batch.templates[at])
        for at in of_segments:
            key, frame = batch.segments[at]
            segments[at] = self.add_segment(key, frame, batch.bands.get(at), alike.get(at))
        renamed = rename(bodies, templates, segments)
        self._record_rows += [
            (length, key, body) for (length, key, _), body in zip(new, renamed, strict=True)
        ]
        self._added.add(Tally(0, sum(map(len, renamed))))

    def _alike(self, batch: EncodedBatch) -> dict[int, list[Match]]:
        """Stored segments that may be like those of ``batch`` that are new, by position."""
        if self.near is None:
            return {}
        known = self.segments.known
        return self.near.look_up(
            [item for item in batch.bands.items() if batch.segments[item[0]][0] not in known]
        )

    def add_segment(
        self, key: int, frame: bytes, bands: bytes | None, alike: Sequence[Match] | None
    ) -> int:
        """The number of a segment. ``alike``: what it may be like, None if that is no matter."""
        found = self.segments.known.get(key)
        if found is not None:
            return found
        delta = None
        if self.near is not None and bands is not None and alike is not None:
            delta = self.near.delta(frame, bands, alike)
        number = self._add_segment(key, delta or frame)
        if self.near is not None and bands is not None and may_be_canonical(delta):
            self.near.add(number, bands, delta or frame)
        return number

    def _add_segment(self, key: int, frame: bytes) -> int:
        kind = frame_kind(frame)
        count, size = self.frames.get(kind, (0, 0))
        self.frames[kind] = (count + 1, size + len(frame))
        self._segment_rows.append((key, frame))
        self._added.add(Tally(1, len(frame)))
        return self.segments.add(key)

    def add_template(self, template: bytes) -> int:
        key = content_key(template)
        found = self.templates.known.get(key)
        if found is not None:
            return found
        self._template_rows.append(template)
        self._added.add(Tally(0, len(template)))
        return self.templates.add(key)

    def blocks(self) -> Iterator[PackedBlock]:
        """What has to be written, referred-to things first."""
        referred = 0
        for first, templates in _grouped(self._template_rows, self.templates.first, len):
            block = self._pack(BlockKind.TEMPLATES, first, templates, encode_templates(templates))
            referred += len(block.encoded)
            yield block
        for first, segments in _grouped(
            self._segment_rows, self.segments.first, lambda row: len(row[1])
        ):
            block = self._pack(BlockKind.SEGMENTS, first, segments, encode_segments(segments))
            referred += len(block.encoded)
            yield block
        total = sum(length for length, _, _ in self._record_rows)
        for first, records in _grouped(
            self._record_rows, self.records.first, lambda row: len(row[2])
        ):
            content = sum(length for length, _, _ in records)
            yield self._pack(
                BlockKind.RECORDS,
                first,
                records,
                encode_records(records),
                content,
                referred * content // total if total else 0,
            )

    def _pack(
        self,
        kind: BlockKind,
        first: int,
        rows: Sequence[object],
        payload: bytes,
        content: int = 0,
        brings: int = 0,
    ) -> PackedBlock:
        encoded = encode_block(Block(kind, first, len(rows), payload), level=self._level)
        return PackedBlock(
            kind, first, len(rows), len(payload), content, encoded, brings_bytes=brings
        )


def may_be_canonical(delta: bytes | None) -> bool:
    """Whether others may be told as differences from what has this frame, or one that is whole."""
    return delta is None or frame_kind(delta) is FrameKind.NESTED


def join_runs(runs: Iterable[Run]) -> list[Run]:
    """Runs of neighbouring content, made one where their numbers follow each other.

    A joined run stays within RUN_BYTES_MAX and RUN_RECORDS_MAX.
    """
    joined: list[Run] = []
    for run in runs:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.record + last.count == run.record
            and last.length_bytes + run.length_bytes <= RUN_BYTES_MAX
            and last.count + run.count <= RUN_RECORDS_MAX
        ):
            length = last.length_bytes + run.length_bytes
            joined[-1] = Run(last.record, last.count + run.count, length)
        else:
            joined.append(run)
    return joined


def _grouped(
    rows: Sequence[T], first: int, size: Callable[[T], int]
) -> Iterator[tuple[int, Sequence[T]]]:
    """``rows`` cut where their sizes reach BLOCK_BYTES, each group with its first number."""
    start = total = 0
    for at, row in enumerate(rows):
        total += size(row)
        if total >= BLOCK_BYTES:
            yield first + start, rows[start : at + 1]
            start, total = at + 1, 0
    if start < len(rows):
        yield first + start, rows[start:]
