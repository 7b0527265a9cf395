"""From a trie to a model: which successors are worth their bytes, and what the others count for.

A context counts what comes to it: what a longer context of the model already has an entry for
comes to the shorter one once, all else each time. That is what the coder does, which asks the
shorter context only where the longer one has no entry.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowkenfs.ids import Vocabulary
from stowkenfs.predict.match import hits_of
from stowkenfs.predict.model import (
    END,
    ID_BITS,
    ORDERS_MAX,
    TOTAL_MAX,
    Model,
    weights_of,
)
from stowkenfs.predict.planes import changes
from stowkenfs.predict.trie import Ids, Trie

_COUNT_MAX = (1 << 20) - 1
_SAMPLE_IDS = 100_000
"""Ids that the weights of matches are taken from: as many as Python can in 0.2 s."""

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Worth:
    """What has an entry in a model; by the length of the context, the empty one first."""

    count_min: tuple[int, ...] = (1, 2, 2, 3)
    """How often a successor must have come to its context."""
    context_min: tuple[int, ...] = (1, 3, 4, 5)
    """How often all successors that have an entry must have."""


@dataclass(slots=True)
class _Pairs:
    """Contexts of one length and their successors, sorted; not those that can only be rare."""

    contexts: Numbers
    """Keys without length."""
    tokens: Numbers
    seen: Numbers
    """How often each was observed."""
    counts: Numbers
    """How often it came to this context."""
    left_out: Numbers
    """How often successors that are not here came to the pair's context."""


def freeze(
    trie: Trie, vocabulary: Vocabulary, sample: Sequence[Ids], worth: Worth | None = None
) -> Model:
    """A model of what ``trie`` observed, up to contexts of three ids.

    ``trie.end`` must be END. ``sample`` are segments to take the weights of matches from. The
    same on every machine.
    """
    if trie.end != END:
        raise ValueError(f"a trie whose segments end with {trie.end}, not {END}")
    worth = Worth() if worth is None else worth
    orders = min(trie.depth, ORDERS_MAX)
    found = _pairs_of(trie, orders, worth)
    parts = []
    for order in range(orders, -1, -1):
        pairs = found[order]
        keep = pairs.counts >= worth.count_min[order]
        owners = np.cumsum(changes(pairs.contexts)) - 1
        kept = np.bincount(owners, pairs.counts * keep).astype(np.int64)
        keep &= (kept >= worth.context_min[order])[owners]
        if order == 0 and not keep.any():
            keep[:1] = True
        if order:
            _pass_on(pairs, keep, order, found[order - 1])
        parts.append(_columns(pairs, keep, owners, order))
    parts.reverse()
    keys, sizes, escapes, tokens, counts = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Model(
        vocabulary, orders, hits_of(_sample(sample), END), keys.astype(np.uint64),
        sizes.astype(np.uint32), escapes.astype(np.uint32), tokens.astype(np.uint32),
        counts.astype(np.uint32),
    )  # fmt: skip


def _pairs_of(trie: Trie, orders: int, worth: Worth) -> list[_Pairs]:
    columns, used = trie.columns, trie.used
    parent, credibility = columns.parent[:used], columns.credibility[:used]
    keys = np.zeros(used, np.int64)
    found = []
    for order in range(orders + 1):
        nodes = np.flatnonzero(columns.depth[:used] == order + 1)
        if order < orders:
            longer = nodes[columns.child[nodes] > 0]
            keys[longer] = columns.token[longer].astype(np.int64) << 2 * ID_BITS
            keys[longer] |= keys[parent[longer]] >> ID_BITS
        # What was observed once takes nothing from a shorter context, and so often it came.
        least = min(worth.count_min[order], 2)
        often = credibility[nodes]
        once = parent[nodes[(often > 0) & (often < least)]]
        seen = nodes[often >= max(least, 1)]
        if order == 0 and not len(seen):
            seen = nodes[:1]
        del nodes, often
        contexts, tokens = keys[parent[seen]], columns.token[seen].astype(np.int64)
        sort = np.lexsort((tokens, contexts))
        seen = seen[sort]
        counts = np.maximum(credibility[seen].astype(np.int64), 1)
        left_out = np.bincount(once, minlength=used)[parent[seen]]
        found.append(_Pairs(contexts[sort], tokens[sort], counts, counts.copy(), left_out))
    return found


def _pass_on(pairs: _Pairs, keep: npt.NDArray[np.bool_], order: int, shorter: _Pairs) -> None:
    """Take from the shorter contexts what does not come to them."""
    absorbed = pairs.seen - np.where(keep, 1, pairs.counts)
    took = np.flatnonzero(absorbed)
    # The oldest id is dropped; the digits of the shorter context and of the token are one number.
    shift = (ORDERS_MAX + 1 - order) * ID_BITS
    wanted = (pairs.contexts[took] >> shift) << ID_BITS | pairs.tokens[took]
    there = (shorter.contexts >> shift) << ID_BITS | shorter.tokens
    if not len(there):
        return
    at = np.minimum(np.searchsorted(there, wanted), len(there) - 1)
    same = there[at] == wanted
    np.subtract.at(shorter.counts, at[same], absorbed[took[same]])
    np.maximum(shorter.counts, 1, out=shorter.counts)


def _columns(
    pairs: _Pairs, keep: npt.NDArray[np.bool_], owners: Numbers, order: int
) -> tuple[Numbers, Numbers, Numbers, Numbers, Numbers]:
    """Keys, sizes, escapes, tokens and counts of what is kept."""
    contexts = pairs.contexts[changes(pairs.contexts)]
    sizes = np.bincount(owners, keep, len(contexts)).astype(np.int64)
    unkept = np.bincount(owners, pairs.counts * ~keep, len(contexts)).astype(np.int64)
    unkept += pairs.left_out[changes(pairs.contexts)]
    once = np.bincount(owners, keep & (pairs.counts == 1), len(contexts)).astype(np.int64)
    novel = once if order == 0 else sizes
    chosen = sizes > 0
    contexts, sizes = contexts[chosen], sizes[chosen]
    escapes = np.maximum(unkept * 8 + novel * 5, 1)[chosen]
    counts = pairs.counts[keep]
    kept_by = np.repeat(np.arange(len(sizes)), sizes)
    while True:
        totals = escapes + np.bincount(kept_by, weights_of(counts), len(sizes)).astype(np.int64)
        over = (totals > TOTAL_MAX) | (np.bincount(kept_by, counts > _COUNT_MAX, len(sizes)) > 0)
        if not over.any():
            break
        escapes = np.where(over, (escapes + 1) // 2, escapes)
        counts = np.where(over[kept_by], (counts + 1) // 2, counts)
    keys = contexts | order << 3 * ID_BITS
    return keys, sizes, escapes, pairs.tokens[keep], counts


def _sample(segments: Sequence[Ids]) -> list[list[int]]:
    rows, left = [], _SAMPLE_IDS
    for ids in segments:
        rows.append(ids[:left].tolist())
        left -= len(rows[-1])
        if left <= 0:
            break
    return rows
