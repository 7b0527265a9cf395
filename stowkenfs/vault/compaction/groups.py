"""Segments of a batch: which belong together, in which order, under which codebook."""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.codec import decode_frame
from stowkenfs.frames.dense import DenseMode, DenseSegment, prepare_many
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress
from stowkenfs.vault.compaction.strings import Strings

Counts = dict[Vocabulary, npt.NDArray[np.int64]]

Introduced = tuple[list[int], int | None]
"""Positions of the segments that a record is the first to use, and its anchor.

An anchor is a segment that occurred before: what is new stands best beside what came with it
the first time, as answers beside those to the same question. Its position, or ``~number`` of
one that is not in the batch.
"""

TRIAL_LEVEL = 5
"""zstd level at which two orders are compared."""

IDS_AT_ONCE = 1 << 17
"""Decoded together: numpy is quick by then, and takes some 30 bytes for each."""
SEGMENTS_AT_ONCE = 4096
"""At most: each is an object, and an array, of 200 bytes."""


def count_ids(frames: Iterable[bytes]) -> Counts:
    """How often each id occurs, for each vocabulary but bytes: shape (highest id + 1,)."""
    counts: Counts = {}
    for segments in _decoded(frames):
        for vocabulary, at in _by_vocabulary(segments):
            if vocabulary is Vocabulary.BYTES:
                continue
            ids = np.concatenate([segments[i].tokens for i in at])
            coded = ids[ids < CODED_IDS]
            if len(coded):
                add_counts(counts, {vocabulary: np.bincount(coded)})
    return counts


def _decoded(frames: Iterable[bytes]) -> Iterator[list[Segment]]:
    """The segments of ``frames``, as many at once as have some IDS_AT_ONCE ids."""
    segments: list[Segment] = []
    ids = 0
    for frame in frames:
        segment = decode_frame(frame)
        segments.append(segment)
        ids += len(segment.tokens)
        if ids >= IDS_AT_ONCE or len(segments) == SEGMENTS_AT_ONCE:
            yield segments
            segments, ids = [], 0
    if segments:
        yield segments


def _by_vocabulary(segments: Sequence[Segment]) -> Iterator[tuple[Vocabulary, list[int]]]:
    for vocabulary in Vocabulary:
        at = [i for i, segment in enumerate(segments) if segment.vocabulary is vocabulary]
        if at:
            yield vocabulary, at


def add_counts(counts: Counts, more: Counts) -> None:
    """Add ``more`` to ``counts``."""
    for vocabulary, other in more.items():
        mine = counts.get(vocabulary)
        if mine is None:
            counts[vocabulary] = other.copy()
        elif len(mine) >= len(other):
            mine[: len(other)] += other
        else:
            larger = other.copy()
            larger[: len(mine)] += mine
            counts[vocabulary] = larger


def cost_bytes(codebook: Codebook, counts: Counts) -> int:
    """Encoded bytes of what ``counts`` counts, before compression."""
    return codebook.cost_bytes(counts)


@dataclass(slots=True)
class Group:
    """Consecutive chunks of a batch under one codebook.

    ``reused``: position among the codebooks that exist, or None for a new one.
    """

    chunks: list[int]
    counts: Counts
    codebook: Codebook = field(default_factory=lambda: Codebook({}))
    reused: int | None = None


def make_groups(
    chunk_counts: Iterable[Counts], gain: float, existing: Sequence[Codebook]
) -> list[Group]:
    """Cut a batch where a codebook of its own makes what follows smaller by ``gain``."""
    groups: list[Group] = []
    for at, counts in enumerate(chunk_counts):
        if groups and not _pays(groups[-1].counts, counts, gain):
            groups[-1].chunks.append(at)
            add_counts(groups[-1].counts, counts)
        else:
            merged: Counts = {}
            add_counts(merged, counts)
            groups.append(Group([at], merged))
    for group in groups:
        _choose_codebook(group, existing, gain)
    return groups


def _pays(before: Mapping[Vocabulary, npt.NDArray[np.int64]], counts: Counts, gain: float) -> bool:
    """Whether a codebook of its own, stored, is better for ``counts`` than that of ``before``."""
    shared = cost_bytes(Codebook.build(before), counts)
    own = Codebook.build(counts)
    return cost_bytes(own, counts) + len(own.encode()) < shared * (1 - gain)


def _choose_codebook(group: Group, existing: Sequence[Codebook], gain: float) -> None:
    own = Codebook.build(group.counts)
    group.codebook = own
    best = (cost_bytes(own, group.counts) + len(own.encode())) * (1 + gain / 2)
    for at, codebook in enumerate(existing):
        cost = cost_bytes(codebook, group.counts)
        if cost < best:
            best, group.codebook, group.reused = cost, codebook, at


class Prepared:
    """Segments of a group as they will stand in their blocks, by their place in the group."""

    def __init__(self) -> None:
        self._contents = Strings()
        self._classes = array("H")  # as in ``frames.dense``

    def append(self, segment: DenseSegment) -> None:
        self._contents.append(segment.content)
        self._classes.append(segment.vocabulary << 2 | segment.mode)

    def __len__(self) -> int:
        return len(self._classes)

    def size(self, at: int) -> int:
        """Bytes, with a terminator."""
        return self._contents.size(at) + 1

    def content(self, at: int) -> bytes:
        return self._contents[at]

    def segment(self, at: int) -> DenseSegment:
        number = self._classes[at]
        return DenseSegment(Vocabulary(number >> 2), DenseMode(number & 3), self._contents[at])


def encode_group(frames: Iterable[bytes], codebook: Codebook) -> Prepared:
    """Each segment as it will stand in its block."""
    prepared = Prepared()
    for segments in _decoded(frames):
        encoded: dict[int, DenseSegment] = {}
        for vocabulary, at in _by_vocabulary(segments):
            arrays = [segments[i].tokens for i in at]
            lengths = np.array([len(tokens) for tokens in arrays], np.int64)
            many = prepare_many(vocabulary, np.concatenate(arrays), lengths, codebook)
            encoded.update(zip(at, many, strict=True))
        for i in range(len(segments)):
            prepared.append(encoded[i])
    return prepared


def anchored(introduced: Sequence[Introduced]) -> list[int]:
    """Positions of segments, those of records with an anchor behind what it stands beside."""
    sort_keys: list[int] = []
    place: dict[int, int] = {}  # {segment: its sort key}
    outside: dict[int, int] = {}  # {anchor that is not of this group: sort key}
    at = 0
    for new, anchor in introduced:
        for number in new:
            key = at
            if anchor is not None:
                key = place[anchor] if anchor in place else outside.setdefault(anchor, at)
            place[number] = key
            sort_keys.append(key)
            at += 1
    return sorted(range(at), key=lambda position: (sort_keys[position], position))


def better_order(
    orders: Sequence[Sequence[int]], encoded: Prepared, block_bytes: int
) -> Sequence[int]:
    """The order in which blocks become smallest, by a quick trial."""
    if len(orders) < 2 or list(orders[0]) == list(orders[1]):
        return orders[0]
    sizes = [
        sum(
            len(compress(b"\xff".join(encoded.content(i) for i in block), TRIAL_LEVEL))
            for block in cut_blocks(order, encoded, block_bytes)
        )
        for order in orders
    ]
    return orders[sizes.index(min(sizes))]


def cut_blocks(order: Sequence[int], encoded: Prepared, block_bytes: int) -> list[Sequence[int]]:
    """``order`` cut where the encoded segments reach ``block_bytes``, the last not too short."""
    total = sum(encoded.size(i) for i in order)
    n_blocks = max(round(total / block_bytes), 1)
    even = total / n_blocks
    blocks: list[Sequence[int]] = []
    start = size = 0
    for at, i in enumerate(order):
        size += encoded.size(i)
        if size >= even * (len(blocks) + 1) and len(blocks) < n_blocks - 1:
            blocks.append(order[start : at + 1])
            start = at + 1
    if start < len(order):
        blocks.append(order[start:])
    return blocks


def with_base(
    order: Sequence[int], encoded: Prepared, block_bytes: int, sampled_from: int
) -> list[Sequence[int]]:
    """Blocks of which the first is a good base for the others.

    In large groups it is a sample of all of it: every nth segment, for half a block. Whoever
    reads another block has to unpack it as well.
    """
    blocks = cut_blocks(order, encoded, block_bytes)
    if len(blocks) < sampled_from:
        return blocks
    step = 2 * len(blocks)
    rest = [i for at, i in enumerate(order) if at % step]
    return [order[::step], *cut_blocks(rest, encoded, block_bytes)]
