"""Runs of keys as blocks: cut from entries in any order, and merged; pure.

A merge has to make do with the bits that its inputs have left of each key, so doubling the
keys takes one spare bit. HOT_SPARE_BITS is enough for a growth of 2**18; DENSE_SPARE_BITS for
16, after which a run is to be made from full keys, or left alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt
from stowkenfs.index.keys import (
    KEYS_MAX,
    Grain,
    KeyItems,
    Keys,
    Unsigned,
    Values,
    as_column,
    bounds,
    encode_sorted,
    prefix_bits,
)

DENSE_SPARE_BITS = 9
"""For runs of grain BLOCK: of 512 unknown keys one costs a look into a block."""
HOT_SPARE_BITS = 24
"""For runs that are to be merged many times."""
MERGED_SPARE_BITS_MIN = 5


@dataclass(frozen=True, slots=True)
class KeyBlock:
    """A block of a run, not yet in a pack; ``low`` and ``high`` as ``key_block`` has them."""

    low: int
    high: int
    count: int
    payload: bytes


def cut_run(keys: Keys, values: Values, spare_bits: int, grain: Grain) -> Iterator[KeyBlock]:
    """The blocks of a run of entries in any order (int64, shape (n,) both); pure.

    Of more than KEYS_MAX entries with one prefix, which only somebody who looks for them can
    make, those with the greatest values are left out.
    """
    bits = prefix_bits(len(keys), spare_bits)
    prefixes = keys.view(np.uint64) >> np.uint64(64 - bits)
    order = np.lexsort((values, prefixes))
    return _cut([(prefixes[order], values[order])], bits, grain)


def merge_runs(runs: Sequence[Iterable[KeyItems]], total: int) -> Iterator[KeyBlock]:
    """The blocks of one run of all entries of ``runs``, ``total`` of them; pure, and streaming.

    Of each run, its blocks in order; about one at a time is unpacked. The result has as many
    bits of each key as the run with the fewest. Raises ValueError, at once, if these would be
    fewer than log2(total) + MERGED_SPARE_BITS_MIN or the runs are not all of one grain.
    """
    sources = [_Source(run) for run in runs]
    grains = {source.grain for source in sources}
    bits = min((source.bits for source in sources), default=0)
    if len(grains) != 1:
        raise ValueError(f"runs of {len(grains)} grains do not make one")
    if bits < prefix_bits(total, MERGED_SPARE_BITS_MIN):
        raise ValueError(f"{bits} bits are too few to tell {total} keys from others")
    return _cut(_merged(sources, bits), bits, grains.pop())


Change = Callable[[Values], tuple[npt.NDArray[np.bool_], Values]]
"""Which entries stay, by their values, and what the values of those become: (n,), (stay,)."""


def changed_run(run: Iterable[KeyItems], change: Change) -> Iterator[KeyBlock]:
    """The blocks of a run, given in order, without some entries and with other values; pure.

    Streaming: about one block is unpacked. Raises Corrupt for blocks that are not of one run.
    """
    source = _Source(run)
    return _cut(_changed(source, change), source.bits, source.grain)


def _changed(source: "_Source", change: Change) -> Iterator[tuple[Unsigned, Values]]:
    while True:
        prefixes, values = source.take(None, source.bits)
        stays, values = change(values)
        prefixes = prefixes[stays]
        order = np.lexsort((values, prefixes))  # those of one prefix by value, as they become
        yield prefixes[order], values[order]
        if source.is_done:
            return
        source.advance()


class _Source:
    """A run being merged: what is unpacked of it and not yet taken, at its own bits.

    Raises ValueError for a run without blocks, Corrupt for blocks that are not of one run.
    """

    def __init__(self, run: Iterable[KeyItems]) -> None:
        self._blocks = iter(run)
        items = next(self._blocks, None)
        if items is None:
            raise ValueError("a run without blocks")
        self.grain, self.bits = items.grain, items.bits
        self.high = items.high  # entries up to this one, a u64, are unpacked; None: all
        self.is_done = False
        self._prefixes, self._values = items.prefixes, items.values

    def advance(self) -> None:
        """Unpack one more block, or find that there is none."""
        items = next(self._blocks, None)
        if items is None:
            self.is_done = True
            return
        if (items.grain, items.bits) != (self.grain, self.bits) or items.low <= self.high:
            raise Corrupt("a run's blocks do not follow each other")
        self.high = items.high
        self._prefixes = np.concatenate((self._prefixes, items.prefixes))
        self._values = np.concatenate((self._values, items.values))

    def take(self, below: int | None, bits: int) -> tuple[Unsigned, Values]:
        """Entries whose first ``bits`` bits are a number under ``below``; None: all."""
        prefixes = self._prefixes >> np.uint64(self.bits - bits)
        count = len(prefixes) if below is None else int(np.searchsorted(prefixes, np.uint64(below)))
        taken = prefixes[:count], self._values[:count]
        self._prefixes, self._values = self._prefixes[count:], self._values[count:]
        return taken


def _merged(sources: Sequence[_Source], bits: int) -> Iterator[tuple[Unsigned, Values]]:
    """All entries in order, in pieces between which no prefix of ``bits`` is divided."""
    while True:
        going_on = [source for source in sources if not source.is_done]
        # Each of them is unpacked up to here; the next block may go on with the same prefix.
        below = min((source.high >> 64 - bits for source in going_on), default=None)
        pieces = [source.take(below, bits) for source in sources]
        prefixes = np.concatenate([piece[0] for piece in pieces])
        values = np.concatenate([piece[1] for piece in pieces])
        order = np.lexsort((values, prefixes))
        yield prefixes[order], values[order]
        if below is None:
            return
        for source in going_on:
            if source.high >> 64 - bits == below:
                source.advance()


def _cut(pieces: Iterable[tuple[Unsigned, Values]], bits: int, grain: Grain) -> Iterator[KeyBlock]:
    """Sorted entries to blocks, none of which divides a prefix."""
    prefixes, values = np.empty(0, np.uint64), np.empty(0, np.int64)
    for more_prefixes, more_values in pieces:
        prefixes = np.concatenate((prefixes, more_prefixes))
        values = np.concatenate((values, more_values))
        start = 0
        while len(prefixes) - start > KEYS_MAX:
            end, after = _first_cut(prefixes[start:])
            yield _block(prefixes[start : start + end], values[start : start + end], bits, grain)
            start += after
        prefixes, values = prefixes[start:], values[start:]
    if len(prefixes):
        yield _block(prefixes, values, bits, grain)


def _first_cut(prefixes: Unsigned) -> tuple[int, int]:
    """How many of more than KEYS_MAX prefixes make a block, and where the next one starts."""
    end = int(np.searchsorted(prefixes, prefixes[KEYS_MAX]))
    if end:
        return end, end
    return KEYS_MAX, int(np.searchsorted(prefixes, prefixes[0], "right"))


def _block(prefixes: Unsigned, values: Values, bits: int, grain: Grain) -> KeyBlock:
    low, high = bounds(prefixes, bits)
    payload = encode_sorted(prefixes, values, bits, grain)
    return KeyBlock(as_column(low), as_column(high), len(prefixes), payload)
