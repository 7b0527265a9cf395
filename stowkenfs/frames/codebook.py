"""Ids as one to three bytes, the frequent ones shortest: what dense segments are written in.

A *codebook* belongs to a group of segments that are compacted together. For each vocabulary
it has an *order*: at most RANKS distinct ids, and the place of an id in it is its *rank*. With
integer division, and ``id`` below CODED_IDS where it is not in the order:

    rank r < 160         one byte     r
    rank r < 20560       two bytes    160 + b / 255, b % 255                    b = r - 160
    no rank              three bytes  240 + id / 65025, id / 255 % 255, id % 255

The first byte tells the length, and no byte is ever 255, which therefore ends a segment and
can be searched for. A segment has one encoding: three bytes for an id that has a rank are
refused, as is a rank that the order does not reach. All ids of a vocabulary without an order
take three bytes.

On disk a codebook is one array of varints (32 bits each, ``varints``):

    codebook := tables, table{tables}            vocabularies ascending, BYTES not among them
    table    := vocabulary, n, id{min(n, 160)},  n: length of the order, 1 to RANKS
                [runs, count{runs}, step{n - 160}]                       only if n > 160

The ids of rank 160 and above come in *runs*, each as long as it can be, in which ids ascend:
``count`` is its length; its first step is its first id, every other one is the difference from
the id before, less one.
"""

from collections.abc import Callable, Hashable, Mapping
from functools import cache, cached_property
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.frames.ranks import (
    ONE_BYTE,
    RANKS,
    TERMINATOR,
    THREE_BYTES,
    Ranks,
    ranks_of,
    ranks_of_joined,
)
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints
from stowkenfs.ids import Vocabulary

T = TypeVar("T")

CODED_IDS = 15 * 255 * 255
"""Ids from here on have no code."""

Counts = npt.NDArray[np.int64]
"""How often each id occurs, as from ``numpy.bincount``: int64, shape (m,), index is the id."""

# Rarer ids stay out: an entry costs a codebook a byte, and saves less each time it is used.
COUNT_MIN = 3

_VOCABULARIES = frozenset(int(vocabulary) for vocabulary in Vocabulary)
_CODEBOOK_BYTES_MAX = 5 * len(_VOCABULARIES) * (2 * RANKS + 3)

_NO_ORDER: TokenArray = np.empty(0, np.uint32)


class Codebook:
    """Orders by vocabulary. Immutable but for tables made on first use, so safe in any thread.

    ``orders`` maps to uint32, shape (n,), read-only, 1 <= n <= RANKS.
    """

    def __init__(self, orders: Mapping[Vocabulary, TokenArray]) -> None:
        self.orders = {vocabulary: orders[vocabulary] for vocabulary in sorted(orders)}
        # {vocabulary: its code}; two threads may both make one at first, and make equal ones
        self._codes: dict[Vocabulary, _RankCode] = {}
        self._derived: dict[Hashable, Any] = {}  # {name: value}, as ``_codes``

    @classmethod
    def build(cls, counts: Mapping[Vocabulary, Counts]) -> Self:
        """The codebook for segments in which ids occur as often as ``counts`` says.

        The first 160 ranks go by count, then id; later ones by ``floor(log2(count))``, then id,
        so that there are long runs. BYTES is left out, as are ids from CODED_IDS on.
        """
        orders = {
            vocabulary: _order(some[:CODED_IDS])
            for vocabulary, some in counts.items()
            if vocabulary is not Vocabulary.BYTES
        }
        return cls({vocabulary: order for vocabulary, order in orders.items() if len(order)})

    @classmethod
    def decode(cls, buffer: bytes) -> Self:
        """Inverse of ``encode``. Raises FrameCorrupt for what it never returns."""
        if len(buffer) > _CODEBOOK_BYTES_MAX:
            raise FrameCorrupt(f"a codebook of more than {_CODEBOOK_BYTES_MAX} bytes")
        numbers = _Numbers(decode_varints(buffer))
        orders: dict[Vocabulary, TokenArray] = {}
        before = int(Vocabulary.BYTES)
        for _ in range(numbers.next_up_to(len(_VOCABULARIES))):
            number = numbers.next_up_to(0xFF)
            if number <= before or number not in _VOCABULARIES:
                raise FrameCorrupt(f"a codebook with vocabulary {number} after {before}")
            orders[Vocabulary(number)] = _read_order(numbers)
            before = number
        if numbers.left:
            raise FrameCorrupt("bytes after the end of a codebook")
        return cls(orders)

    def encode(self) -> bytes:
        """The codebook as on disk, not yet compressed. One encoding for one set of orders."""
        numbers = [np.array([len(self.orders)], np.uint32)]
        for vocabulary, order in self.orders.items():
            numbers.append(np.array([vocabulary, len(order)], np.uint32))
            numbers.extend(_order_numbers(order))
        return encode_varints(np.concatenate(numbers))

    def cost_bytes(self, counts: Mapping[Vocabulary, Counts]) -> int:
        """Bytes that ids would take under this codebook, without terminators; BYTES one each."""
        cost = 0
        for vocabulary, some in counts.items():
            if vocabulary is Vocabulary.BYTES:
                cost += int(some.sum())
                continue
            order = self.orders.get(vocabulary, _NO_ORDER)
            cost += 3 * int(some.sum())
            for shorter in (order, order[:ONE_BYTE]):
                cost -= int(some[shorter[shorter < len(some)]].sum())
        return cost

    @property
    def memory_bytes(self) -> int:
        """What a cache should count for it, tables included."""
        orders = sum(order.nbytes for order in self.orders.values())
        return orders + sum(code.memory_bytes for code in self._codes.values())

    def encode_ids(self, vocabulary: Vocabulary, ids: TokenArray) -> bytes:
        """The codes of ``ids`` (uint32, shape (n,)), without terminator.

        Raises Unstorable for an id from CODED_IDS on.
        """
        return self._code(vocabulary).encode(ids)

    def encode_many(
        self, vocabulary: Vocabulary, ids: TokenArray, lengths: npt.NDArray[np.int64]
    ) -> list[bytes]:
        """``encode_ids`` of each segment; ``ids`` is all of theirs joined, ``lengths`` in ids.

        Raises as it does. Takes 30 ns an id, and for a moment some 20 bytes.
        """
        assert int(lengths.sum()) == len(ids)
        code = self._code(vocabulary)
        encoded = code.encode(ids)
        cuts = np.append(0, code.ends_bytes(ids))[np.cumsum(lengths)].tolist()
        return [encoded[start:end] for start, end in zip([0, *cuts], cuts, strict=False)]

    def decode_ids(self, vocabulary: Vocabulary, encoded: bytes) -> TokenArray:
        """Inverse of ``encode_ids``: uint32, shape (n,), read-only.

        Raises FrameCorrupt for bytes that it never returns.
        """
        if TERMINATOR in encoded:
            raise FrameCorrupt("a terminator within a segment")
        return self._code(vocabulary).ids(ranks_of(encoded))

    def decode_joined(self, vocabulary: Vocabulary, encoded: bytes, end_id: int) -> TokenArray:
        """The ids of many segments, each encoded and followed by TERMINATOR, here by ``end_id``.

        As ``decode_ids`` otherwise, and much faster for many short segments.
        """
        if not encoded.endswith(TERMINATOR):
            raise FrameCorrupt("the last segment is not terminated")
        ranks, ends = ranks_of_joined(encoded)
        ids = self._code(vocabulary).ids(ranks)
        ids.flags.writeable = True
        ids[ends] = end_id
        ids.flags.writeable = False
        return ids

    def has_rank(self, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
        """By id up to the highest of the order, which there must be: whether it is in it."""
        return self._code(vocabulary).has_rank

    def derived(self, name: Hashable, make: Callable[[], T]) -> T:
        """What others make from an order and keep here, by a name of theirs."""
        found: T | None = self._derived.get(name)
        if found is None:
            found = self._derived[name] = make()
        return found

    def _code(self, vocabulary: Vocabulary) -> "_RankCode":
        code = self._codes.get(vocabulary)
        if code is None:
            code = _RankCode(self.orders.get(vocabulary, _NO_ORDER))
            self._codes[vocabulary] = code
        return code


class _RankCode:
    """The code of one vocabulary; each direction has its table, made on first use."""

    def __init__(self, order: TokenArray) -> None:
        self._order = order
        # By id: its code in the first bytes, the others 255. Grows with the ids it has met.
        self._encoding = np.empty(0, np.uint32)

    @property
    def memory_bytes(self) -> int:
        return self._encoding.nbytes + int(self._order.max(initial=0))

    def encode(self, ids: TokenArray) -> bytes:
        return self._table(ids)[ids].tobytes().translate(None, TERMINATOR)

    def ends_bytes(self, ids: TokenArray) -> npt.NDArray[np.int64]:
        """Where each id's code ends in the encoding of all."""
        used = self._table(ids).view(np.uint8).reshape(-1, 4) != 0xFF
        more = np.add(used[:, 1], used[:, 2], dtype=np.uint8)
        return np.cumsum(more[ids] + np.uint8(1), dtype=np.int64)

    def _table(self, ids: TokenArray) -> npt.NDArray[np.uint32]:
        ids_max = int(ids.max(initial=0))
        if ids_max >= CODED_IDS:
            raise Unstorable(f"id {ids_max}; a codebook has codes below {CODED_IDS}")
        table = self._encoding
        if len(table) <= ids_max:
            ids_max = max(ids_max, int(self._order.max(initial=0)))
            table = _encoding_table(self._order, min(CODED_IDS, 1 << ids_max.bit_length()))
            self._encoding = table
        return table

    def ids(self, ranks: Ranks) -> TokenArray:
        """Inverse of the ranks, RANKS + id for those without; read-only."""
        all_ranked = int(ranks.max(initial=-1)) < len(self._order)
        ids = self._order[ranks] if all_ranked else self._ids_among_them_rare(ranks)
        ids.flags.writeable = False
        return ids

    def _ids_among_them_rare(self, ranks: Ranks) -> TokenArray:
        rare = np.flatnonzero(ranks >= RANKS)
        own = ranks[rare] - RANKS
        has_rank = self.has_rank
        if has_rank[own[own < len(has_rank)]].any():
            raise FrameCorrupt("three bytes for an id that has a rank")
        ranks[rare] = 0
        if int(ranks.max()) >= len(self._order) and len(rare) < len(ranks):
            raise FrameCorrupt(f"a rank from {len(self._order)} on, where the order has ended")
        ids = self._order[ranks] if len(self._order) else np.empty(len(ranks), np.uint32)
        ids[rare] = own
        return ids

    @cached_property
    def has_rank(self) -> npt.NDArray[np.bool_]:
        return _membership(self._order)


def _membership(ids: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """By id up to the highest: whether it is among ``ids``."""
    is_member = np.zeros(int(ids.max(initial=0)) + 1, np.bool_)
    is_member[ids] = True
    return is_member


def _encoding_table(order: TokenArray, size: int) -> npt.NDArray[np.uint32]:
    """Codes of the ids below ``size``, as four bytes each in the order that they are written."""
    code = _codes_without_rank()[:size].copy()
    code[order, 1:] = 0xFF
    code[order[:ONE_BYTE], 0] = np.arange(len(order[:ONE_BYTE]))
    two = np.arange(len(order[ONE_BYTE:]))
    code[order[ONE_BYTE:], 0] = ONE_BYTE + two // 255
    code[order[ONE_BYTE:], 1] = two % 255
    return code.view(np.uint32).ravel()


@cache  # 4 MB, and 40 ms that every codebook would take
def _codes_without_rank() -> npt.NDArray[np.uint8]:
    ids = np.arange(CODED_IDS)
    code = np.full((CODED_IDS, 4), 0xFF, np.uint8)
    code[:, 0] = THREE_BYTES + ids // 65025
    code[:, 1] = ids // 255 % 255
    code[:, 2] = ids % 255
    return code


def _order(counts: Counts) -> TokenArray:
    by_count = np.argsort(-counts, kind="stable")
    by_count = by_count[: np.count_nonzero(counts >= COUNT_MIN)][:RANKS]
    later = by_count[ONE_BYTE:]
    _, exponents = np.frexp(counts[later])  # floor(log2(count)) + 1
    by_count[ONE_BYTE:] = later[np.lexsort((later, -exponents))]
    order = by_count.astype(np.uint32)
    order.flags.writeable = False
    return order


def _order_numbers(order: TokenArray) -> list[TokenArray]:
    later = order[ONE_BYTE:].astype(np.int64)
    if not len(later):
        return [order]
    starts = np.flatnonzero(np.diff(later, prepend=CODED_IDS) < 0)
    steps = np.diff(later, prepend=0) - 1
    steps[starts] = later[starts]
    counts = np.diff(starts, append=len(later))
    columns = ([len(starts)], counts, steps)
    return [order[:ONE_BYTE], *(np.asarray(column, np.uint32) for column in columns)]


class _Numbers:
    """The numbers of a codebook, read from the first to the last."""

    def __init__(self, numbers: TokenArray) -> None:
        self._numbers = numbers
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._numbers) - self._at

    def next_up_to(self, most: int) -> int:
        number = int(self.take(1)[0])
        if number > most:
            raise FrameCorrupt(f"{number} in a codebook where {most} is the most")
        return number

    def take(self, count: int) -> TokenArray:
        if count > self.left:
            raise FrameCorrupt("a codebook ends too soon")
        self._at += count
        return self._numbers[self._at - count : self._at]


def _read_order(numbers: _Numbers) -> TokenArray:
    length = numbers.next_up_to(RANKS)
    order = numbers.take(min(length, ONE_BYTE)).astype(np.int64)
    if length > ONE_BYTE:
        counts = numbers.take(numbers.next_up_to(length - ONE_BYTE)).astype(np.int64)
        if not counts.all() or counts.sum() != length - ONE_BYTE:
            raise FrameCorrupt("the runs of a codebook do not add up to its length")
        sums = np.cumsum(numbers.take(length - ONE_BYTE) + np.int64(1))
        starts = np.cumsum(counts) - counts
        later = sums - np.repeat(np.append(0, sums)[starts], counts) - 1
        if (later[starts[1:]] >= later[starts[1:] - 1]).any():
            raise FrameCorrupt("a run of a codebook ends before it must")
        order = np.concatenate([order, later])
    if not length or order.max() >= CODED_IDS or np.count_nonzero(_membership(order)) != length:
        raise FrameCorrupt(f"an order of no ids, of one twice or of one from {CODED_IDS} on")
    read = order.astype(np.uint32)
    read.flags.writeable = False
    return read
