"""An online predictor: a trie that learns, bounded, and what of it is frozen."""

from dataclasses import dataclass

import numpy as np

from stowkenfs.predict.compressor import NodeCompressor
from stowkenfs.predict.frozen import FrozenNodes
from stowkenfs.predict.observing import Events, observe
from stowkenfs.predict.trie import COUNT_MAX, FROZEN, NO_NODE, Context, Ids, Trie


@dataclass(frozen=True, slots=True)
class Prediction:
    """What follows a context, by the longest that was observed."""

    context: Context
    """The ids at its end that were."""
    distribution: dict[int, float]
    is_frozen: bool


class Predictor:
    """Learns what follows contexts of up to ``depth`` ids. Not for more than one thread.

    The trie has at most ``compressor.max_active_nodes``. When it is full, what has converged is
    frozen; where that does not free a quarter of it, the rarest nodes are forgotten.
    """

    def __init__(
        self, compressor: NodeCompressor | None = None, *, depth: int = 3, end: int = (1 << 18) - 1
    ) -> None:
        self.compressor = NodeCompressor() if compressor is None else compressor
        self.trie = Trie(depth, self.compressor.max_active_nodes, end)
        self.forgotten = 0
        """Nodes that were dropped for being rare."""

    @property
    def memory_bytes(self) -> int:
        return self.trie.memory_bytes + self.compressor.frozen.memory_bytes

    def observe(self, ids: Ids) -> None:
        """Learn from ``ids`` (uint32, shape (n,)), which follow those before.

        The id ``end`` among them ends a segment. What followed frozen contexts is looked at
        after some thousand of them or at the end of ``ids``; it is not learned.
        """
        at = 0
        while at < len(ids):
            taken, events = observe(self.trie, ids[at:])
            at += taken
            has_thawed = self._check(events)
            if at < len(ids) and not taken and not has_thawed:
                self._make_room()

    def predict(self, context: Context) -> Prediction:
        """What follows ``context``, of its last ``depth`` ids at most."""
        for start in range(max(len(context) - self.trie.depth, 0), len(context) + 1):
            part = context[start:]
            if (frozen := self.compressor.get_compressed(part)) is not None:
                return Prediction(part, frozen.distribution, is_frozen=True)
            node = self.trie.node(part)
            if node != NO_NODE and (counts := self.trie.successors(node)):
                total = sum(counts.values())
                return Prediction(
                    part, {token: n / total for token, n in counts.items()}, is_frozen=False
                )
        return Prediction((), {}, is_frozen=False)

    def _check(self, events: Events) -> bool:
        """Thaw what these show to be stale; whether there was any."""
        has_thawed = False
        if not len(events):
            return has_thawed
        events = events[np.argsort(events[:, 0], kind="stable")]
        nodes, starts = np.unique(events[:, 0], return_index=True)
        contexts = [self.trie.context(node) for node in nodes.tolist()]
        for context, followed in zip(contexts, np.split(events[:, 1], starts[1:]), strict=True):
            if self.compressor.check_many(context, followed.astype(np.uint32)):
                self.compressor.decompress_node(context, self.trie)
                has_thawed = True
        return has_thawed

    def _make_room(self) -> None:
        trie = self.trie
        room = max(trie.nodes_max // 4, trie.room_for_one)
        self.compressor.compress_pass(trie)
        least = 1
        while trie.nodes_max - trie.used < room:
            self._forget(least)
            if least > COUNT_MAX:
                trie.clear()
                self.compressor.frozen = FrozenNodes()
                break
            least *= 2

    def _forget(self, least: int) -> None:
        """Drop nodes that followed their context at most ``least`` times."""
        trie = self.trie
        columns, used = trie.columns, trie.used
        keep = (columns.credibility[:used] > least) | (columns.flags[:used] & FROZEN > 0)
        keep[trie.live[trie.live != NO_NODE]] = True
        depth = columns.depth[:used]
        for at in range(int(depth.max()), 1, -1):
            keep[columns.parent[np.flatnonzero(keep & (depth == at))]] = True
        trie.keep_only(keep)
        self.forgotten += used - trie.used
