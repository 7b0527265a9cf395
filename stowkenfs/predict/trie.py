"""A trie over runs of token ids, in columns: what followed which context, and how often.

A node is a run of ids, from the root, which is the empty one. It is two things at once: a
*context*, whose successors are its children, and a *successor* of the context that it prolongs.
Runs have one id more than the longest context. All numbers are integers, so that the same ids
make the same columns on every machine.

Columns are of one length, ``capacity``; slots below ``used`` are nodes, and a parent stands
before its children. Slot 0 is the root, slot 1 the end of a segment as a context.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels

CEILING = 1 << 16
"""The ceiling of a node's credibility: that of one whose successors are never new."""

NO_NODE = -1
ROOT = 0
START = 1
DEPTH_MAX = 15
COUNT_MAX = (1 << 32) - 1

FROZEN = 1
"""Flag of a node whose successors are no longer here, but in a ``FrozenNodes``."""

SLOT_BYTES = 4 * 7 + 2
"""What the columns take for a node; its places among the buckets come on top."""

_HASH_FACTOR = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_BUCKETS_MIN = 64

Ids = npt.NDArray[np.uint32]
Context = tuple[int, ...]


def hash_of(parent: int, token: int, bits: int) -> int:
    """The bucket, of 2**bits, where to begin to look for a node. ``csrc/trie.c`` has the same."""
    mixed = ((parent << 32 | token) * _HASH_FACTOR) & _MASK
    mixed ^= mixed >> 29
    return ((mixed * _HASH_FACTOR) & _MASK) >> (64 - bits)


@dataclass(slots=True)
class Columns:
    """The arrays of a trie; one of each, of ``capacity`` items."""

    parent: Ids
    token: Ids
    credibility: Ids
    """Of the node as a successor: how often it followed. Stays at COUNT_MAX."""
    observations: Ids
    """Of the node as a context: how often something followed it. Stays at COUNT_MAX."""
    node_credibility: Ids
    """0 to CEILING: a moving mean of whether what followed had followed before."""
    child: Ids
    """The youngest; 0 for none, for the root is nobody's."""
    sibling: Ids
    """The next older."""
    depth: npt.NDArray[np.uint8]
    flags: npt.NDArray[np.uint8]

    @classmethod
    def of(cls, capacity: int) -> "Columns":
        numbers = [np.zeros(capacity, np.uint32) for _ in range(7)]
        depth, flags = np.zeros(capacity, np.uint8), np.zeros(capacity, np.uint8)
        parent, token, credibility, observations, node_credibility, child, sibling = numbers
        return cls(
            parent, token, credibility, observations, node_credibility, child, sibling,
            depth, flags,
        )  # fmt: skip

    def __iter__(self) -> Iterator[npt.NDArray[np.generic]]:
        return (getattr(self, name) for name in self.__dataclass_fields__)

    def taken(self, keep: npt.NDArray[np.intp], capacity: int) -> "Columns":
        """Those of the nodes ``keep``, in this order, in columns of ``capacity``."""
        columns = Columns.of(capacity)
        for name in self.__dataclass_fields__:
            getattr(columns, name)[: len(keep)] = getattr(self, name)[keep]
        return columns


@dataclass(slots=True)
class Trie:
    """Not for more than one thread. Takes at most ``nodes_max`` nodes.

    ``end`` is an id that no segment has: observing it ends a segment, and what follows is
    predicted from that end at most.
    """

    depth: int
    """Ids of the longest context, 1 to DEPTH_MAX."""
    nodes_max: int
    end: int = (1 << 18) - 1
    columns: Columns = field(init=False)
    used: int = field(init=False, default=2)
    buckets: Ids = field(init=False)
    """Open addressing: slots by ``hash_of``; 0 where there is none. A power of two."""
    live: npt.NDArray[np.int64] = field(init=False)
    """The nodes of the last ids: shape (depth + 1,), by length; NO_NODE where there is none."""

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= DEPTH_MAX:
            raise ValueError(f"contexts of {self.depth} ids; 1 to {DEPTH_MAX} are possible")
        if not self.room_for_one <= self.nodes_max < 1 << 31:
            raise ValueError(f"{self.nodes_max} nodes; {self.room_for_one} to 2^31 are possible")
        if not 0 <= self.end < 1 << 32:
            raise ValueError(f"the end {self.end} is no id of 32 bits")
        self.live = np.full(self.depth + 1, NO_NODE, np.int64)
        self.clear()

    @property
    def room_for_one(self) -> int:
        """Nodes that a trie must have room for to take one id."""
        return self.depth + 3

    def clear(self) -> None:
        """Forget all."""
        self.columns = Columns.of(min(self.nodes_max, 1024))
        self.used = 2
        self.columns.token[START], self.columns.depth[START] = self.end, 1
        self.columns.child[ROOT] = START
        self.rebuild_buckets()
        self.start_segment()

    def start_segment(self) -> None:
        """What is observed next follows nothing."""
        self.live[:] = NO_NODE
        self.live[:2] = ROOT, START

    @property
    def capacity(self) -> int:
        return len(self.columns.token)

    @property
    def memory_bytes(self) -> int:
        """What the arrays take, as allocated."""
        return sum(column.nbytes for column in self.columns) + self.buckets.nbytes

    @property
    def node_bytes(self) -> float:
        """What one node takes, of ``memory_bytes``."""
        return self.memory_bytes / max(self.used, 1)

    def grow(self) -> bool:
        """Room for more nodes; False where there is as much as there may be."""
        if self.capacity - self.used >= self.room_for_one:
            self.rebuild_buckets(2 * len(self.buckets))
            return True
        capacity = min(self.capacity + self.capacity // 2 + self.room_for_one, self.nodes_max)
        if capacity - self.used < self.room_for_one:
            return False
        for name in Columns.__dataclass_fields__:
            old = getattr(self.columns, name)
            new = np.zeros(capacity, old.dtype)
            new[: self.used] = old[: self.used]
            setattr(self.columns, name, new)
        return True

    def rebuild_buckets(self, count: int = 0) -> None:
        """At least ``count`` buckets, and more than 4/3 of the nodes."""
        size = max(_BUCKETS_MIN, count)
        while size * 3 < (self.used + self.room_for_one) * 4:
            size *= 2
        self.buckets = np.zeros(1 << (size - 1).bit_length(), np.uint32)
        parent, token = self.columns.parent[: self.used], self.columns.token[: self.used]
        if kernels.compiled is not None:
            kernels.compiled.trie_index(parent, token, self.buckets)
            return
        for slot, (mother, one) in enumerate(zip(parent.tolist(), token.tolist(), strict=True)):
            if slot:
                self.put(mother, one, slot)

    def put(self, parent: int, token: int, slot: int) -> None:
        """Have ``slot`` found by its parent and token."""
        last = len(self.buckets) - 1
        at = hash_of(parent, token, last.bit_length())
        while self.buckets[at]:
            at = at + 1 & last
        self.buckets[at] = slot

    def find(self, parent: int, token: int) -> int:
        """The slot of a child, or NO_NODE."""
        last = len(self.buckets) - 1
        at = hash_of(parent, token, last.bit_length())
        columns = self.columns
        while slot := int(self.buckets[at]):
            if columns.token[slot] == token and columns.parent[slot] == parent:
                return slot
            at = at + 1 & last
        return NO_NODE

    def add(self, parent: int, token: int, credibility: int) -> int:
        """The slot of a new child. There must be room for it, see ``grow``."""
        slot, columns = self.used, self.columns
        columns.parent[slot], columns.token[slot] = parent, token
        columns.credibility[slot] = credibility
        columns.sibling[slot] = columns.child[parent]
        columns.child[parent] = slot
        columns.depth[slot] = columns.depth[parent] + 1
        self.put(parent, token, slot)
        self.used += 1
        return slot

    def node(self, context: Context) -> int:
        """The slot of a context, or NO_NODE."""
        at = ROOT
        for token in context:
            at = self.find(at, token)
            if at == NO_NODE:
                break
        return at

    def context(self, node: int) -> Context:
        """Inverse of ``node``."""
        found: list[int] = []
        while node != ROOT:
            found.append(int(self.columns.token[node]))
            node = int(self.columns.parent[node])
        return tuple(reversed(found))

    def children(self, node: int) -> list[int]:
        """Slots, youngest first."""
        found = []
        at = int(self.columns.child[node])
        while at:
            found.append(at)
            at = int(self.columns.sibling[at])
        return found

    def successors(self, node: int) -> dict[int, int]:
        """How often each id followed a context."""
        columns = self.columns
        counted = ((child, int(columns.credibility[child])) for child in self.children(node))
        return {int(columns.token[child]): count for child, count in counted if count}

    def keep_only(self, keep: npt.NDArray[np.bool_]) -> None:
        """Drop the other nodes. ``keep``: shape (used,), with the parent of each that is kept.

        The root and START stay in any case.
        """
        keep[: START + 1] = True
        kept = np.flatnonzero(keep)
        moved = np.full(self.used, NO_NODE, np.int64)
        moved[kept] = np.arange(len(kept))
        columns = self.columns.taken(kept, max(len(kept), min(self.capacity, self.nodes_max)))
        used = len(kept)
        columns.parent[:used] = moved[columns.parent[:used]]
        columns.child[:] = columns.sibling[:] = 0
        order = np.argsort(columns.parent[1:used], kind="stable") + 1
        parents = columns.parent[order]
        first = np.flatnonzero(np.diff(parents, prepend=COUNT_MAX))
        columns.sibling[order[1:]] = np.where(parents[1:] == parents[:-1], order[:-1], 0)
        last = np.append(first[1:], len(order)) - 1
        columns.child[parents[last]] = order[last]
        live = self.live
        self.live[:] = np.where(live == NO_NODE, NO_NODE, moved[np.maximum(live, 0)])
        self.columns, self.used = columns, used
        self.rebuild_buckets()
