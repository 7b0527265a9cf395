"""Stored segments that are alike, in clusters around the first of each.

A pass over records finds which segments are in use. Then, in the order of their numbers, each
joins the cluster of the one that it is most like, of those that began one, if that is alike
enough; else it may begin one itself.
"""

from array import array
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.frames.address import segment_hash
from stowkenfs.frames.minhash import bands_of_many
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import InodeNo, SegmentNo, Vocabulary
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.paths import paths_of
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.near_chains import BandChains
from stowkenfs.vault.near_matching import Canonicals, Matching, as_rows
from stowkenfs.vault.near_uses import BLOCKS, BlockRow, Uses, uses_of
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader

TOKENS_MIN = 16
"""Shorter segments are not looked at."""
MEMBERS_MAX = 100
"""Members that a cluster names, those that are most alike."""
ROWS_AT_ONCE = 1
CACHE_BYTES = 16 << 20
"""Of segments that others are compared with, decoded."""


@dataclass(frozen=True, slots=True)
class NearMember:
    """A segment that is like its cluster's first one.

    ``hash``: SHA-256 of its ids; ``similarity``: of the sets of ids, up to 1; ``file``: the path
    of one that it is in, None if that was removed and is still open.
    """

    hash: str
    similarity: float
    tokens: int
    file: str | None


@dataclass(frozen=True, slots=True)
class NearCluster:
    """Segments that are alike: the first that was stored, and ``refs`` others.

    ``canonical``: hash of the first one's ids, ``tokens`` how many it has, ``file`` the path of
    one that it is in. ``members``: the others, at most MEMBERS_MAX, most alike first.
    """

    canonical: str
    tokens: int
    file: str | None
    refs: int
    members: tuple[NearMember, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and in which parts of a vault."""

    connection: Connection
    frozen: FrozenTree
    reader: Reader
    threshold: float
    min_refs: int
    limit: int

    def __post_init__(self) -> None:
        if not 0 < self.threshold <= 1:
            raise ValueError("threshold is a similarity, above 0 and up to 1")
        if self.min_refs < 1 or self.limit < 0:
            raise ValueError("min_refs is a number of at least 1, limit one of at least 0")

    async def run(self, progress: Progress) -> list[NearCluster]:
        """Clusters, the largest first.

        Memory: 8 bytes for each segment; 58 for each that is like no earlier one, of which the
        last ``near_chains.ENTRIES_MAX`` are compared, and 20 for each other one.
        """
        async with self.connection.scanner() as scan:
            ((segments, records),) = await scan.all(
                "SELECT ifnull(sum(stored) FILTER (WHERE kind = ?), 0),"
                " ifnull(sum(stored) FILTER (WHERE kind = ?), 0)"
                " FROM block WHERE skip = 0",
                (BlockKind.SEGMENTS, BlockKind.RECORDS),
            )
            total = segments + records
            uses = await uses_of(scan, self.frozen, self.reader, lambda done: progress(done, total))
            variants = _Variants(self.reader, uses, self.threshold)
            done = records
            async for rows in scan.batches(BLOCKS, (BlockKind.SEGMENTS,), ROWS_AT_ONCE):
                await anyio.to_thread.run_sync(variants.collect, rows)
                done += sum(stored for _, _, stored in rows)
                progress(done, total)
            largest = await anyio.to_thread.run_sync(variants.largest, self.min_refs, self.limit)
            told = []
            for first, refs, members in largest:
                about = await anyio.to_thread.run_sync(_about, self.reader, uses, first, members)
                told.append((refs, about))
            inodes = {one.ino for _, about in told for one in about if one.ino is not None}
            paths = await paths_of(scan, self.frozen, inodes)
        clusters = []
        for refs, about in told:
            clusters.append(_cluster(refs, about, paths))
            await anyio.lowlevel.checkpoint()
        return clusters


_Member = tuple[int, float]
"""Number of a segment, and how alike it is."""


class _About(NamedTuple):
    """A segment of a cluster. ``ino``: a file that refers to it."""

    ino: InodeNo | None
    hash: str
    similarity: float
    tokens: int


def _cluster(refs: int, about: Sequence[_About], paths: Mapping[InodeNo, bytes]) -> NearCluster:
    """What is told of a cluster, of which ``about`` has the first and some others."""
    told = []
    for one in about:
        path = None if one.ino is None else paths.get(one.ino)
        file = None if path is None else path.decode("utf-8", "backslashreplace")
        told.append(NearMember(one.hash, one.similarity, one.tokens, file))
    first, *others = told
    return NearCluster(first.hash, first.tokens, first.file, refs, tuple(others))


def _about(reader: Reader, uses: Uses, first: int, members: Sequence[_Member]) -> list[_About]:
    """The first of a cluster, and members of it. A thread's. Raises Corrupt."""
    told = []
    for number, similarity in ((first, 1.0), *members):
        tokens = reader.segment(SegmentNo(number)).tokens
        name = segment_hash(tokens).hex()
        told.append(_About(uses.file(number), name, round(similarity, 4), len(tokens)))
    return told


class _Variants:
    """Segments that are like an earlier one. One thread's at a time."""

    def __init__(self, reader: Reader, uses: Uses, threshold: float) -> None:
        self._reader = reader
        self._uses = uses
        self._threshold = threshold
        self._chains = BandChains()
        self._canonicals = Canonicals(self._segment, CACHE_BYTES)
        self._members = array("q")
        self._firsts = array("q")  # the first of its cluster, for each of ``_members``
        self._similarities = array("f")

    def _segment(self, number: int) -> Segment:
        return self._reader.segment(SegmentNo(number))

    def collect(self, rows: Sequence[BlockRow]) -> None:
        """Compare the segments of these ranges."""
        segments: dict[int, Segment] = {}
        for first, count, _ in rows:
            for number in range(first, first + count):
                if self._uses.file(number) is None:
                    continue
                try:
                    segment = self._segment(number)
                except Corrupt:
                    continue  # verify names it
                if segment.vocabulary is not Vocabulary.BYTES and len(segment.tokens) >= TOKENS_MIN:
                    segments[number] = segment
        made = bands_of_many([segment.tokens for segment in segments.values()])
        bands = dict(zip(segments, (row.tobytes() for row in made), strict=True))
        matching = Matching(self._chains, self._canonicals, self._threshold)
        found = matching.look_up(list(bands.items()))
        for number, segment in segments.items():
            candidates = matching.candidates(bands[number], found[number])
            best = matching.most_alike(segment, candidates) if candidates else None
            if best is None:
                matching.note(number, bands[number])
            else:
                self._members.append(number)
                self._firsts.append(best.canonical.number)
                self._similarities.append(best.similarity)
        self._chains.add(matching.numbers, as_rows(matching.bands))

    def largest(self, min_refs: int, limit: int) -> list[tuple[int, int, list[_Member]]]:
        """Clusters of at least ``min_refs`` members.

        Of each the number of its first, how many members it has, and those most like it.
        """
        members, firsts = np.array(self._members), np.array(self._firsts)
        similarities = np.array(self._similarities)
        order = np.lexsort((members, -similarities, firsts))
        names, starts, refs = np.unique(firsts[order], return_index=True, return_counts=True)
        largest = np.lexsort((names, -refs))
        largest = largest[refs[largest] >= min_refs][:limit]
        found = []
        for at in largest.tolist():
            best = order[starts[at] : starts[at] + min(refs[at], MEMBERS_MAX)]
            some = zip(members[best].tolist(), similarities[best].tolist(), strict=True)
            found.append((int(names[at]), int(refs[at]), list(some)))
        return found
