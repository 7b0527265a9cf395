"""Freezing what has converged: a context that has seen enough, and hardly anything new lately.

A frozen context keeps its distribution, and the trie gets the room of all that was below it
back. It learns nothing more, until what follows it shows that its distribution is stale.
"""

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from stowkenfs.predict.frozen import FrozenNode, FrozenNodes
from stowkenfs.predict.trie import CEILING, FROZEN, NO_NODE, ROOT, Context, Ids, Trie

LOG_MAX = 1000
"""Thawings that are remembered one by one; all are counted."""

_CHECKS_MIN = 5
_PROBABILITY_MIN = 1e-12


@dataclass(frozen=True, slots=True)
class Thawed:
    """A context that was given back to learning."""

    context: Context
    step: int
    frozen_step: int
    age: int
    """Passes since it was frozen."""
    observations: int
    """How many it had when it was frozen."""
    successors: int


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass over a trie did, in nodes that are contexts. The root is always active."""

    compressed: int
    skipped: int
    active: int
    """Contexts that are not frozen now."""


@dataclass(frozen=True, slots=True)
class CompressorStats:
    compressed: int
    thawed: int
    """Since the beginning."""
    frozen_tokens: int
    """Successors in all frozen distributions."""
    active: int
    """Contexts of the trie that are not frozen; 0 without a trie."""
    compression_ratio: float
    """Of all contexts, the frozen ones."""


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes, as allocated."""

    compressed_bytes: int
    active_equivalent_bytes: int
    """What the trie would need for the nodes that were freed."""
    savings_bytes: int
    """Below 0 where freezing has cost more than it brought."""
    savings_ratio: float


class NodeCompressor:
    """The frozen contexts of one trie. Not for more than one thread.

    A context is eligible when it has at least ``min_obs`` observations, a credibility of at least
    ``stability_ratio`` of the ceiling, and successors. Its distribution is stale when what
    followed has less than ``decompress_threshold`` of the probability that it would have if all
    successors were equal, or when the mean surprise of five or more checks is above that of
    equal successors by ``decompress_threshold`` nats. ``max_active_nodes`` is for the trie.
    """

    def __init__(
        self,
        max_active_nodes: int = 50_000,
        min_obs: int = 50,
        stability_ratio: float = 0.8,
        decompress_threshold: float = 0.5,
    ) -> None:
        if max_active_nodes < 1 or min_obs < 0:
            raise ValueError("a compressor needs room for nodes, and counts from 0 on")
        if not (0 <= stability_ratio <= 1 and 0 <= decompress_threshold < math.inf):
            raise ValueError("a stability ratio is from 0 to 1, a threshold from 0 on")
        self.max_active_nodes = max_active_nodes
        self.min_obs = min_obs
        self.stability_ratio = stability_ratio
        self.decompress_threshold = decompress_threshold
        self.frozen = FrozenNodes()
        self.step = 0
        self.log: deque[Thawed] = deque(maxlen=LOG_MAX)
        self._thawed_count = 0

    def should_compress(self, trie: Trie, node: int, ceiling: int = CEILING) -> bool:
        """Whether a context is eligible, whatever is below it."""
        columns = trie.columns
        return (
            int(columns.observations[node]) >= self.min_obs
            and int(columns.node_credibility[node]) >= ceiling * self.stability_ratio
            and bool(trie.successors(node))
        )

    def compress_node(
        self,
        context: Context,
        counts: dict[int, int],
        *,
        node_credibility: int,
        observations: int,
        freed: int = 0,
    ) -> FrozenNode:
        """Freeze what followed ``context``. What was frozen of it before is replaced."""
        if (number := self.frozen.find(context)) is not None:
            self.frozen.drop(number)
        node = FrozenNode(dict(sorted(counts.items())), node_credibility, observations, self.step)
        self.frozen.add(context, node, freed)
        return node

    def get_compressed(self, context: Context) -> FrozenNode | None:
        """None for a context that is not frozen."""
        number = self.frozen.find(context)
        return None if number is None else self.frozen.get(number)

    def decompress_node(self, context: Context, trie: Trie | None = None) -> FrozenNode | None:
        """Take a context out of what is frozen; None where it is not there.

        With ``trie``, its successors are put back, as often as they were counted, if it has
        the context and room for them; it learns on in any case.
        """
        number = self.frozen.find(context)
        if number is None:
            return None
        node = self.frozen.get(number)
        self.frozen.drop(number)
        self._thawed_count += 1
        self.log.append(
            Thawed(
                context, self.step, node.frozen_step, self.step - node.frozen_step,
                node.observations, len(node.counts),
            )
        )  # fmt: skip
        if trie is not None and (at := trie.node(context)) != NO_NODE:
            self._restore(trie, at, node)
        return node

    @staticmethod
    def _restore(trie: Trie, at: int, node: FrozenNode) -> None:
        trie.columns.flags[at] &= ~FROZEN & 0xFF
        for token, count in node.counts.items():
            while trie.capacity - trie.used < trie.room_for_one or (
                (trie.used + trie.room_for_one) * 4 > len(trie.buckets) * 3
            ):
                if not trie.grow():
                    return
            if trie.find(at, token) == NO_NODE:
                trie.add(at, token, count)

    def check_staleness(self, context: Context, token: int) -> bool:
        """Whether ``token`` after ``context`` shows that what is frozen of it is stale."""
        return self.check_many(context, np.array([token], np.uint32))

    def check_many(self, context: Context, tokens: Ids) -> bool:
        """The same of several tokens, each after ``context``: whether one of them does.

        Those after the first that does are not looked at. False where nothing is frozen.
        """
        number = self.frozen.find(context)
        if number is None or not len(tokens):
            return False
        known, counts = self.frozen.successors(number)
        size, total = max(len(known), 1), self.frozen.total(number)
        shares = np.zeros(len(tokens))
        if len(known):
            at = np.minimum(np.searchsorted(known, tokens), size - 1)
            of_known = counts / total if total else np.full(size, 1 / size)
            shares = np.where(known[at] == tokens, of_known[at], 0.0)
        sums, checks = self.frozen.surprise.array, self.frozen.checks.array
        surprise = np.cumsum(-np.log(np.maximum(shares, _PROBABILITY_MIN))) + sums[number]
        checked = np.arange(1, len(tokens) + 1) + checks[number]
        limit = math.log(size) + self.decompress_threshold
        stale = shares < self.decompress_threshold / size
        stale |= (checked >= _CHECKS_MIN) & (surprise / checked > limit)
        first = int(np.argmax(stale)) if stale.any() else len(tokens) - 1
        sums[number], checks[number] = surprise[first], checked[first]
        return bool(stale[first])

    def compress_pass(self, trie: Trie, ceiling: int = CEILING) -> Pass:
        """Freeze what is eligible, from the longest contexts to the shortest, and free the rest.

        A context is frozen when all longer ones below it are; never the root. What is below it
        leaves the trie, but for frozen contexts: without their nodes nobody would notice that
        they are stale.
        """
        self.step += 1
        columns, used = trie.columns, trie.used
        parents = columns.parent[:used].astype(np.int64)
        is_context = (columns.child[:used] > 0) | (columns.flags[:used] & FROZEN > 0)
        was_frozen = columns.flags[:used] & FROZEN > 0
        eligible = (columns.observations[:used] >= self.min_obs) & is_context & ~was_frozen
        eligible &= columns.node_credibility[:used] >= ceiling * self.stability_ratio
        eligible[ROOT] = False
        # Freezing fails where something below is a context and not frozen: bottom up.
        open_below = np.zeros(used, bool)
        freeze = np.zeros(used, bool)
        for depth in range(int(columns.depth[:used].max()), 0, -1):
            nodes = np.flatnonzero(columns.depth[:used] == depth)
            freeze[nodes] = eligible[nodes] & ~open_below[nodes]
            is_open = is_context[nodes] & ~freeze[nodes] & ~was_frozen[nodes]
            open_below[parents[nodes[is_open]]] = True
        frozen = self._freeze(trie, np.flatnonzero(freeze))
        contexts = int((is_context & ~was_frozen).sum()) + int(not is_context[ROOT])
        active = contexts - frozen
        return Pass(frozen, active - 1, active)

    def _freeze(self, trie: Trie, nodes: np.ndarray[tuple[int], np.dtype[np.intp]]) -> int:
        columns, used = trie.columns, trie.used
        frozen = 0
        gone = np.zeros(used, bool)
        for node in nodes[::-1].tolist():
            counts = trie.successors(node)
            if not counts:
                continue
            children = [c for c in trie.children(node) if not columns.flags[c] & FROZEN]
            gone[children] = True
            self.compress_node(
                trie.context(node), counts, freed=len(children),
                node_credibility=int(columns.node_credibility[node]),
                observations=int(columns.observations[node]),
            )  # fmt: skip
            columns.flags[node] |= FROZEN
            frozen += 1
        if frozen:
            trie.keep_only(~gone)
        return frozen

    def stats(self, trie: Trie | None = None) -> CompressorStats:
        """What is frozen, and of how much."""
        active = 0
        if trie is not None:
            columns, used = trie.columns, trie.used
            is_active = (columns.child[:used] > 0) & (columns.flags[:used] & FROZEN == 0)
            active = int(is_active.sum())
        ratio = len(self.frozen) / max(len(self.frozen) + active, 1)
        return CompressorStats(
            len(self.frozen), self._thawed_count, self.frozen.live_tokens, active, ratio
        )

    def memory_estimate(self, trie: Trie) -> MemoryEstimate:
        """What is frozen takes, and what its nodes would take in ``trie``, at its load of now."""
        taken = self.frozen.memory_bytes
        active = round(self.frozen.freed_nodes * trie.node_bytes)
        return MemoryEstimate(taken, active, active - taken, (active - taken) / max(active, 1))
