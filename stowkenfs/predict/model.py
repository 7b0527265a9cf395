"""A frozen model: which ids follow which contexts, as weights (FORMAT.md, "Models").

A context is up to three ids. Each has entries, ids with how often they followed, and the weight
of an escape, for ids that it has no entry for. A model is immutable, and its bytes are canonical:
equal models have equal bytes, of which its name is the hash.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import FrameCorrupt
from stowkenfs.ids import Vocabulary
from stowkenfs.predict import planes

ID_BITS = 18
END = (1 << ID_BITS) - 1
"""Ends each segment, and is what stands before its first id; no id of a segment."""

ORDERS_MAX = 3
LENGTHS = 16
"""Lengths of matches that are told apart; the last stands for all longer ones."""

HITS_MAX = (1 << 16) - 1
TOTAL_MAX = (1 << 24) - 1
ESCAPE = (1 << 32) - 1
"""Stands for a token where a context's entries begin: its escape."""

MODEL_BYTES_MAX = 1 << 26
HASH_FACTOR = 0x9E3779B97F4A7C15

_VERSION = 1
_HEADER_BYTES = 4 + 2 * LENGTHS + 4 * (ORDERS_MAX + 2)

U64s = npt.NDArray[np.uint64]
U32s = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Arrays:
    """What the coder looks things up in. An escape is the first entry of its context."""

    keys: U64s
    """Of contexts, ascending, see ``key_of``."""
    slots: U32s
    """Open addressing by hash: 1 + the place of the key, 0 for none."""
    first: U32s
    """Shape (contexts + 1,): where the entries of a context begin."""
    tokens: U32s
    starts: U32s
    """The sum of the weights of the context's entries before each."""
    totals: U32s


def key_of(context: tuple[int, ...]) -> int:
    """Of at most three ids, the youngest last: how many, then the ids, the youngest first."""
    key = len(context) << 3 * ID_BITS
    for at, token in enumerate(reversed(context)):
        key |= token << (2 - at) * ID_BITS
    return key


def weights_of(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The weight of an entry that was counted so often: eight for each, less five."""
    return counts * 8 - 5


@dataclass(frozen=True)
class Model:
    """Contexts in the order of their keys, the empty one first, entries in that of their ids.

    All arrays are read-only. Made by ``freezing.freeze`` or ``decode``.
    """

    vocabulary: Vocabulary
    orders: int
    """Ids of the longest context."""
    hits: tuple[int, ...]
    """Of 65536, how often what followed a match of each length went on with it."""
    keys: U64s
    sizes: U32s
    """Entries of each context."""
    escapes: U32s
    """Weight of each context's escape."""
    tokens: U32s
    counts: U32s
    """How often each entry followed its context, for ``weights_of``."""
    _content: list[bytes] = field(default_factory=list, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._check()
        for array in (self.keys, self.sizes, self.escapes, self.tokens, self.counts):
            array.flags.writeable = False

    def _check(self) -> None:
        """Raises FrameCorrupt for what is no model."""
        if not 0 <= self.orders <= ORDERS_MAX:
            raise FrameCorrupt(f"a model with contexts of {self.orders} ids")
        if len(self.hits) != LENGTHS or not all(1 <= hits <= HITS_MAX for hits in self.hits):
            raise FrameCorrupt("a model with odd weights of matches")
        contexts = len(self.keys)
        if (
            not contexts
            or int(self.keys[0])
            or not len(self.sizes) == len(self.escapes) == contexts
        ):
            raise FrameCorrupt("a model without the empty context")
        if (self.keys[1:] <= self.keys[:-1]).any() or int(self.keys[-1]) >> 54 > self.orders:
            raise FrameCorrupt("contexts of a model that do not ascend")
        entries = int(self.sizes.sum(dtype=np.uint64))
        if not len(self.tokens) == len(self.counts) == entries:
            raise FrameCorrupt("a model with other entries than it counts")
        if not self.sizes.all() or not self.counts.all() or not self.escapes.all():
            raise FrameCorrupt("a model with empty contexts or weights of 0")
        if entries and int(self.tokens.max()) > END:
            raise FrameCorrupt("a model of ids that are too large")
        same = self.owners[1:] == self.owners[:-1]
        if (same & (self.tokens[1:] <= self.tokens[:-1])).any():
            raise FrameCorrupt("entries of a model that do not ascend")
        if int(self._totals.max()) > TOTAL_MAX:
            raise FrameCorrupt("a context of a model with too much weight")

    @cached_property
    def owners(self) -> npt.NDArray[np.int64]:
        """The context of each entry."""
        return np.repeat(np.arange(len(self.keys)), self.sizes)

    @cached_property
    def _totals(self) -> npt.NDArray[np.int64]:
        ends = np.cumsum(self.sizes, dtype=np.int64)
        summed = np.concatenate([[0], np.cumsum(weights_of(self.counts.astype(np.int64)))])
        totals: npt.NDArray[np.int64] = summed[ends] - summed[ends - self.sizes] + self.escapes
        return totals

    @cached_property
    def arrays(self) -> Arrays:
        """Takes 8 bytes for an entry and about 40 for a context."""
        contexts = len(self.keys)
        first = np.concatenate([[0], np.cumsum(self.sizes.astype(np.int64) + 1)])
        count = int(first[-1])
        escapes = first[:-1]
        is_entry = np.ones(count, bool)
        is_entry[escapes] = False
        tokens = np.full(count, ESCAPE, np.uint32)
        tokens[is_entry] = self.tokens
        weights = np.empty(count, np.int64)
        weights[is_entry] = weights_of(self.counts.astype(np.int64))
        weights[escapes] = self.escapes
        before = np.cumsum(weights) - weights
        starts = before - np.repeat(before[escapes], self.sizes.astype(np.int64) + 1)
        bits = max(2 * contexts, 2).bit_length()
        arrays = Arrays(
            self.keys, _slots(self.keys, bits), first.astype(np.uint32), tokens,
            starts.astype(np.uint32), self._totals.astype(np.uint32),
        )  # fmt: skip
        for array in (arrays.slots, arrays.first, arrays.tokens, arrays.starts, arrays.totals):
            array.flags.writeable = False
        return arrays

    @cached_property
    def hits_array(self) -> U32s:
        return np.array(self.hits, np.uint32)

    @property
    def memory_bytes(self) -> int:
        """What a cache should count for it, in use."""
        arrays = self.arrays
        found = sum(getattr(arrays, name).nbytes for name in Arrays.__dataclass_fields__)
        own = (self.sizes, self.escapes, self.tokens, self.counts, self.owners, self._totals)
        return int(found + sum(array.nbytes for array in own))

    @cached_property
    def hash(self) -> bytes:
        """SHA-256 of ``encode``: its name."""
        return hashlib.sha256(self.encode()).digest()

    def encode(self) -> bytes:
        """Its canonical bytes, before any compression."""
        if not self._content:
            self._content.append(self._encoded())
        return self._content[0]

    def _encoded(self) -> bytes:
        orders = self.keys >> np.uint64(3 * ID_BITS)
        of_order = np.bincount(orders.astype(np.int64), minlength=ORDERS_MAX + 1)
        head = bytearray((_VERSION, self.vocabulary, self.orders, 0))
        head += np.array(self.hits, "<u2").tobytes()
        head += np.array([*of_order, len(self.tokens)], "<u4").tobytes()
        ids = [(self.keys >> np.uint64(shift * ID_BITS)) & np.uint64(END) for shift in (2, 1, 0)]
        begins = np.diff(orders, prepend=ORDERS_MAX + 1) != 0
        columns: list[planes.Numbers] = []
        for order, column in enumerate(ids, 1):
            inside = orders >= order
            columns.append(planes.differences(column[inside], begins[inside]))
            begins = begins | (np.diff(column, prepend=np.uint64(0)) != 0)
        columns += [self.sizes, self.escapes]
        columns.append(planes.differences(self.tokens, planes.changes(self.owners)))
        columns.append(self.counts)
        return bytes(head) + b"".join(map(planes.pack, columns))

    @classmethod
    def decode(cls, content: bytes) -> "Model":
        """Inverse of ``encode``. Raises FrameCorrupt for any other bytes."""
        if not _HEADER_BYTES <= len(content) <= MODEL_BYTES_MAX:
            raise FrameCorrupt(f"a model of {len(content)} bytes; at most {MODEL_BYTES_MAX}")
        if content[0] != _VERSION or content[3]:
            raise FrameCorrupt(f"a model of version {content[0]}, which is unknown")
        try:
            vocabulary = Vocabulary(content[1])
        except ValueError:
            raise FrameCorrupt(f"vocabulary {content[1]:#04x} is unknown") from None
        hits = np.frombuffer(content, "<u2", LENGTHS, 4).tolist()
        *of_order, entries = np.frombuffer(content, "<u4", ORDERS_MAX + 2, 4 + 2 * LENGTHS).tolist()
        contexts = sum(of_order)
        lengths = [sum(of_order[order:]) for order in (1, 2, 3)]
        lengths += [contexts, contexts, entries, entries]
        if _HEADER_BYTES + sum(lengths) * planes.ITEM_BYTES != len(content):
            raise FrameCorrupt("a model that is cut off, or longer than it says")
        columns, at = [], _HEADER_BYTES
        for length in lengths:
            columns.append(planes.unpack(content, at, length))
            at += length * planes.ITEM_BYTES
        sizes, escapes, differences, counts = columns[3:]
        if int(sizes.sum(dtype=np.uint64)) != entries:
            raise FrameCorrupt("a model with other entries than it counts")
        owners = np.repeat(np.arange(contexts), sizes)
        tokens = planes.summed(differences, planes.changes(owners))
        keys = _keys(of_order, columns[:3])
        model = cls(
            vocabulary, content[2], tuple(hits), keys, sizes, escapes,
            tokens.astype(np.uint32), counts,
        )  # fmt: skip
        if model.encode() != content:
            raise FrameCorrupt("a model that is written in another way than its own")
        return model


def _keys(of_order: list[int], columns: list[U32s]) -> U64s:
    orders = np.repeat(np.arange(ORDERS_MAX + 1, dtype=np.uint64), of_order)
    begins = np.diff(orders, prepend=np.uint64(ORDERS_MAX + 1)) != 0
    keys = orders << np.uint64(3 * ID_BITS)
    for order, written in enumerate(columns, 1):
        inside = orders >= order
        column = np.zeros(len(orders), np.uint64)
        column[inside] = planes.summed(written, begins[inside])
        if len(column) and int(column.max()) > END:
            raise FrameCorrupt("a model of ids that are too large")
        keys |= column << np.uint64((ORDERS_MAX - order) * ID_BITS)
        begins = begins | (np.diff(column, prepend=np.uint64(0)) != 0)
    return keys


def _slots(keys: U64s, bits: int) -> U32s:
    """An open table of 2**bits places, filled in rounds: of those at one place the first wins."""
    slots = np.zeros(1 << bits, np.uint32)
    with np.errstate(over="ignore"):
        at = (keys * np.uint64(HASH_FACTOR)) >> np.uint64(64 - bits)
    left = np.arange(1, len(keys) + 1, dtype=np.uint32)
    while len(left):
        free = slots[at] == 0
        slots[at[free]] = left[free]
        missed = slots[at] != left
        left, at = left[missed], (at[missed] + np.uint64(1)) & np.uint64((1 << bits) - 1)
    return slots
