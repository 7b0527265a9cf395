"""Distributions that no longer change, by context, in columns.

A context is kept whole and compared whole. Frozen are counts; probabilities are made from them
when they are asked for, and the counts come back when a context is to learn again.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stowkenfs.predict.trie import Context, Ids

_FACTOR = 0x100000001B3
_START = 0xCBF29CE484222325
_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class FrozenNode:
    """What a context was when it was frozen."""

    counts: dict[int, int]
    """How often each id had followed."""
    node_credibility: int
    observations: int
    frozen_step: int
    """Which pass froze it, from 1."""

    @property
    def distribution(self) -> dict[int, float]:
        """Probabilities; they sum to 1. Uniform where nothing was counted."""
        total = sum(self.counts.values())
        if not total:
            return dict.fromkeys(self.counts, 1 / max(len(self.counts), 1))
        return {token: count / total for token, count in self.counts.items()}


@dataclass(slots=True)
class _Grown:
    """An array that grows at its end."""

    dtype: type[np.generic]
    array: npt.NDArray[Any] = field(init=False)
    used: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.array = np.zeros(16, self.dtype)

    def __call__(self) -> npt.NDArray[Any]:
        return self.array[: self.used]

    def extend(self, items: npt.ArrayLike) -> None:
        added = np.asarray(items, self.dtype)
        room = self.used + len(added)
        if room > len(self.array):
            grown = np.zeros(max(room, len(self.array) * 3 // 2), self.dtype)
            grown[: self.used] = self()
            self.array = grown
        self.array[self.used : room] = added
        self.used = room


class FrozenNodes:
    """Frozen nodes by context; numbered as they come. Not for more than one thread."""

    def __init__(self) -> None:
        self._ids = _Grown(np.uint32)
        """Contexts, one after another; ends in ``_context_ends``."""
        self._context_ends = _Grown(np.int64)
        self._tokens = _Grown(np.uint32)
        self._counts = _Grown(np.uint32)
        self._ends = _Grown(np.int64)
        self._totals = _Grown(np.int64)
        self._meta = _Grown(np.uint32)  # node credibility, observations, step, freed nodes
        self._dropped = _Grown(np.uint8)
        self.surprise = _Grown(np.float64)
        """Of each node: the sum of what was checked, in nats."""
        self.checks = _Grown(np.int64)
        self._table = np.zeros(64, np.uint32)
        self.live_count = 0
        self.live_tokens = 0

    def __len__(self) -> int:
        """Nodes that are frozen now."""
        return self.live_count

    @property
    def memory_bytes(self) -> int:
        """What all arrays take, as allocated."""
        columns = (
            self._ids, self._context_ends, self._tokens, self._counts, self._ends, self._totals,
            self._meta, self._dropped, self.surprise, self.checks,
        )  # fmt: skip
        return sum(column.array.nbytes for column in columns) + self._table.nbytes

    @property
    def freed_nodes(self) -> int:
        """Nodes of the trie that made room for those that are frozen now."""
        freed = self._meta()[3::4].astype(np.int64)
        return int(freed[self._dropped() == 0].sum())

    def add(self, context: Context, node: FrozenNode, freed: int) -> int:
        """The number of a node. Its context must not be frozen already."""
        number = self._ends.used
        self._ids.extend(context)
        self._context_ends.extend([self._ids.used])
        self._tokens.extend(list(node.counts))
        self._counts.extend(list(node.counts.values()))
        self._ends.extend([self._tokens.used])
        self._totals.extend([sum(node.counts.values())])
        self._meta.extend([node.node_credibility, node.observations, node.frozen_step, freed])
        self._dropped.extend([0])
        self.surprise.extend([0.0])
        self.checks.extend([0])
        self.live_count += 1
        self.live_tokens += len(node.counts)
        if 2 * (number + 1) > len(self._table):
            self._index(4 * (number + 1))
        else:
            self._put(number)
        return number

    def find(self, context: Context) -> int | None:
        """The number of a context."""
        wanted = np.array(context, np.uint32)
        at = _hash(context) & len(self._table) - 1
        while slot := int(self._table[at]):
            if not self._dropped.array[slot - 1] and np.array_equal(self._ids_of(slot - 1), wanted):
                return slot - 1
            at = at + 1 & len(self._table) - 1
        return None

    def get(self, number: int) -> FrozenNode:
        tokens, counts = self.successors(number)
        credibility, observations, step, _ = self._meta()[4 * number : 4 * number + 4].tolist()
        counted = dict(zip(tokens.tolist(), counts.tolist(), strict=True))
        return FrozenNode(counted, credibility, observations, step)

    def successors(self, number: int) -> tuple[Ids, Ids]:
        """The ids that followed, and how often each."""
        start = int(self._ends.array[number - 1]) if number else 0
        end = int(self._ends.array[number])
        return self._tokens.array[start:end], self._counts.array[start:end]

    def total(self, number: int) -> int:
        return int(self._totals.array[number])

    def drop(self, number: int) -> None:
        """Forget a node. Its room comes back when half of all is dropped."""
        self._dropped.array[number] = 1
        self.live_count -= 1
        self.live_tokens -= len(self.successors(number)[0])
        if self._tokens.used > 4096 and self.live_tokens * 2 < self._tokens.used:
            self._compact()

    def contexts(self) -> list[Context]:
        """Of all that are frozen now."""
        return [
            tuple(self._ids_of(number).tolist())
            for number in range(self._ends.used)
            if not self._dropped.array[number]
        ]

    def _compact(self) -> None:
        kept = FrozenNodes()
        for number in range(self._ends.used):
            if self._dropped.array[number]:
                continue
            context = tuple(self._ids_of(number).tolist())
            new = kept.add(context, self.get(number), int(self._meta.array[4 * number + 3]))
            kept.surprise.array[new] = self.surprise.array[number]
            kept.checks.array[new] = self.checks.array[number]
        self.__dict__.update(kept.__dict__)

    def _ids_of(self, number: int) -> Ids:
        start = int(self._context_ends.array[number - 1]) if number else 0
        ids: Ids = self._ids.array[start : int(self._context_ends.array[number])]
        return ids

    def _index(self, count: int) -> None:
        self._table = np.zeros(1 << (count - 1).bit_length(), np.uint32)
        for number in range(self._ends.used):
            if not self._dropped.array[number]:
                self._put(number)

    def _put(self, number: int) -> None:
        at = _hash(tuple(self._ids_of(number).tolist())) & len(self._table) - 1
        while self._table[at]:
            at = at + 1 & len(self._table) - 1
        self._table[at] = number + 1


def _hash(context: Context) -> int:
    mixed = _START
    for token in context:
        mixed = ((mixed ^ token) * _FACTOR) & _MASK
        mixed ^= mixed >> 29
    return mixed
