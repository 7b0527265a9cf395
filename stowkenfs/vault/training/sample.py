"""Segments to learn from: some of those that files refer to, spread evenly over the vault."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio.to_thread
import numpy as np
import numpy.typing as npt

from stowkenfs.documents.body import References
from stowkenfs.errors import Corrupt
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import InodeNo, RecordNo, SegmentNo, Vocabulary
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_scan import all_extents
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.training.references import SKIPPED

SAMPLE_IDS_MAX = 1 << 20
"""Ids of all samples; learning from them takes some 100 bytes each."""

VISITS_EACH = 32
"""Records looked at for each sample that is wanted, at most."""

VISITED_AT_ONCE = 64
SEGMENTS_EACH = 8
"""Of one record, before others had their turn."""

_FRAMES = frozenset(f"0x{kind:02x}" for kind in FrameKind if kind not in SKIPPED)
_CHUNK = 1 << 16
_GOLDEN = (math.sqrt(5) - 1) / 2

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Segments as few objects, for another process: ids of all, length and vocabulary of each.

    ``are_frames``: 1 for those that are stored as frames which may be encoded anew.
    """

    ids: bytes
    lengths: tuple[int, ...]
    vocabularies: bytes
    are_frames: bytes

    def __len__(self) -> int:
        return len(self.lengths)

    def segments(self) -> list[Segment]:
        """In the order in which they were taken. The ids are read-only."""
        ids = np.frombuffer(self.ids, np.uint32)
        ends = np.cumsum(self.lengths)
        return [
            Segment(Vocabulary(vocabulary), ids[end - length : end])
            for vocabulary, length, end in zip(self.vocabularies, self.lengths, ends, strict=True)
        ]


class Sampler:
    """Takes samples. Nothing must be moved or dropped meanwhile.

    ``wanted`` segments of at least ``ids_min`` ids. The same vault gives the same ones.
    """

    def __init__(self, catalogue: Catalogue, reader: Reader, wanted: int, ids_min: int) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._wanted = wanted
        self._ids_min = ids_min
        self._seen: set[SegmentNo] = set()
        self._taken: list[Segment] = []
        self._are_frames = bytearray()
        self._ids = 0

    async def take(
        self, connection: Connection, frozen: FrozenTree, progress: Callable[[float], None]
    ) -> Samples:
        """``progress`` is told the share that is done."""
        live = np.zeros(self._catalogue.next_number(BlockKind.RECORDS), np.bool_)
        async with connection.scanner() as scan:
            async for extents in all_extents(scan, frozen, lambda _: None):
                await anyio.to_thread.run_sync(_mark, live, extents)
        visits = await anyio.to_thread.run_sync(self._visits, live)
        del live
        for each in (SEGMENTS_EACH, None):
            for start in range(0, len(visits), VISITED_AT_ONCE):
                if self._is_enough:
                    break
                some = np.sort(visits[start : start + VISITED_AT_ONCE])
                await anyio.to_thread.run_sync(self._visit, some, each)
                progress(min(len(self._taken) / self._wanted, 1.0))
        return await anyio.to_thread.run_sync(self._packed)

    @property
    def _is_enough(self) -> bool:
        return len(self._taken) >= self._wanted or self._ids >= SAMPLE_IDS_MAX

    def _visits(self, live: Flags) -> Numbers:
        """Numbers of records to look at, wherever one stops well spread over all. A thread's."""
        total = int(np.count_nonzero(live))
        count = min(total, VISITS_EACH * self._wanted)
        if not count:
            return np.empty(0, np.int64)
        ranks = np.arange(count, dtype=np.int64) * total // count
        numbers = _nth(live, ranks)
        step = max(round(count * _GOLDEN), 1)
        while math.gcd(step, count) > 1:
            step += 1
        return numbers[np.arange(count, dtype=np.int64) * step % count]

    def _visit(self, records: Numbers, each: int | None) -> None:
        """Take up to ``each`` new segments of each record. A thread's."""
        for number in records.tolist():
            try:
                body = self._reader.body(RecordNo(number))
            except Corrupt:
                continue
            found = [
                segment
                for value in body.values
                if isinstance(value, References)
                for segment in value.segments
                if segment not in self._seen
            ]
            for segment in _spread(list(dict.fromkeys(found)), each):
                self._look_at(segment)
                if self._is_enough:
                    return

    def _look_at(self, number: SegmentNo) -> None:
        self._seen.add(number)
        try:
            segment = self._reader.segment(number)
            kind, _ = self._reader.segment_storage(number)
        except Corrupt:
            return
        if self._ids_min <= len(segment.tokens) <= SAMPLE_IDS_MAX - self._ids:
            self._taken.append(segment)
            self._are_frames.append(kind in _FRAMES)
            self._ids += len(segment.tokens)

    def _packed(self) -> Samples:
        return Samples(
            b"".join(segment.tokens.tobytes() for segment in self._taken),
            tuple(len(segment.tokens) for segment in self._taken),
            bytes(segment.vocabulary for segment in self._taken),
            bytes(self._are_frames),
        )


def _mark(live: Flags, extents: Sequence[tuple[InodeNo, Extent]]) -> None:
    """Note the records of ``extents``."""
    for _, extent in extents:
        live[extent.record : extent.record + extent.count] = True


def _nth(flags: Flags, ranks: Numbers) -> Numbers:
    """Places of those set flags that have ``ranks``, which ascend, among all that are set."""
    out: list[Numbers] = []
    before = at = 0
    for start in range(0, len(flags), _CHUNK):
        chunk = np.flatnonzero(flags[start : start + _CHUNK])
        end = int(np.searchsorted(ranks, before + len(chunk)))
        out.append(chunk[ranks[at:end] - before] + start)
        before, at = before + len(chunk), end
    return np.concatenate(out)


def _spread(numbers: Sequence[SegmentNo], count: int | None) -> Iterator[SegmentNo]:
    """Up to ``count`` of ``numbers``, evenly; all for None."""
    if count is None or len(numbers) <= count:
        yield from numbers
    else:
        yield from (numbers[at * len(numbers) // count] for at in range(count))
