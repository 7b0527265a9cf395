"""Segments of a batch: which belong together, in which order, under which codebook."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.dense import DenseSegment, prepare_many
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress

Counts = dict[Vocabulary, npt.NDArray[np.int64]]

TRIAL_LEVEL = 5
"""zstd level at which two orders are compared."""


def count_ids(segments: Sequence[Segment]) -> Counts:
    """How often each id occurs, for each vocabulary but bytes: shape (highest id + 1,)."""
    by_vocabulary: dict[Vocabulary, list[npt.NDArray[np.uint32]]] = {}
    for segment in segments:
        if segment.vocabulary is not Vocabulary.BYTES:
            by_vocabulary.setdefault(segment.vocabulary, []).append(segment.tokens)
    return {
        vocabulary: np.bincount(coded)
        for vocabulary, arrays in by_vocabulary.items()
        if len(coded := _coded_only(np.concatenate(arrays)))
    }


def _coded_only(ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return ids[ids < CODED_IDS]


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
    chunk_counts: Sequence[Counts], gain: float, existing: Sequence[Codebook]
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


def encode_group(segments: Sequence[Segment], codebook: Codebook) -> list[DenseSegment]:
    """Each segment as it will stand in its block."""
    encoded: list[DenseSegment | None] = [None] * len(segments)
    for vocabulary in Vocabulary:
        at = [i for i, segment in enumerate(segments) if segment.vocabulary is vocabulary]
        if not at:
            continue
        arrays = [segments[i].tokens for i in at]
        lengths = np.array([len(array) for array in arrays], np.int64)
        prepared = prepare_many(vocabulary, np.concatenate(arrays), lengths, codebook)
        for i, one in zip(at, prepared, strict=True):
            encoded[i] = one
    return [one for one in encoded if one is not None]


def better_order(
    orders: Sequence[Sequence[int]], encoded: Sequence[DenseSegment], block_bytes: int
) -> Sequence[int]:
    """The order in which blocks become smallest, by a quick trial."""
    if len(orders) < 2 or list(orders[0]) == list(orders[1]):
        return orders[0]
    sizes = [
        sum(
            len(compress(b"\xff".join(encoded[i].content for i in block), TRIAL_LEVEL))
            for block in cut_blocks(order, encoded, block_bytes)
        )
        for order in orders
    ]
    return orders[sizes.index(min(sizes))]


def cut_blocks(
    order: Sequence[int], encoded: Sequence[DenseSegment], block_bytes: int
) -> list[Sequence[int]]:
    """``order`` cut where the encoded segments reach ``block_bytes``, the last not too short."""
    total = sum(len(encoded[i].content) + 1 for i in order)
    n_blocks = max(round(total / block_bytes), 1)
    even = total / n_blocks
    blocks: list[Sequence[int]] = []
    start = size = 0
    for at, i in enumerate(order):
        size += len(encoded[i].content) + 1
        if size >= even * (len(blocks) + 1) and len(blocks) < n_blocks - 1:
            blocks.append(order[start : at + 1])
            start = at + 1
    if start < len(order):
        blocks.append(order[start:])
    return blocks


def with_base(
    order: Sequence[int], encoded: Sequence[DenseSegment], block_bytes: int, sampled_from: int
) -> list[Sequence[int]]:
    """Blocks of which the first is a good base for the others.

    In large groups it is a sample of all of it: every nth segment.
    """
    blocks = cut_blocks(order, encoded, block_bytes)
    if len(blocks) < sampled_from:
        return blocks
    step = len(blocks)
    rest = [i for at, i in enumerate(order) if at % step]
    return [order[::step], *cut_blocks(rest, encoded, block_bytes)]
