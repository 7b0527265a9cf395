"""The index of canonicals: stored segments that new ones may be deltas against.

It is a hint. Whatever it leads to is read, compared and encoded against as it is now, and what
was made of it is read back before anything refers to it. So rows may be lost, stale or damaged:
that costs duplicates that are not found, and no byte.
"""

from collections.abc import Callable, Sequence

import anyio
import anyio.lowlevel
import anyio.to_thread
import numpy as np
import numpy.typing as npt

from stowkenfs.frames.codec import DEPTH_MAX
from stowkenfs.frames.minhash import BANDS_BYTES
from stowkenfs.index.canonicals import CanonicalTable
from stowkenfs.vault.compaction.numbers import Numbers
from stowkenfs.vault.dedup import slices
from stowkenfs.vault.near_chains import AreGoing, BandChains
from stowkenfs.vault.near_matching import Canonicals, as_rows
from stowkenfs.vault.near_round import NearRound
from stowkenfs.vault.reader import Reader

ROWS_AT_ONCE = 100
LOADED_AT_ONCE = 500
CACHE_BYTES = 8 << 20
"""Of canonicals that were compared last, decoded."""


class NearIndex:
    """Stored segments by their bands, in the index and, once used, in memory.

    Event loop's thread: ``_chains``, None until it is needed; ``_loading`` lets one load it;
    ``_changes`` grows when numbers are forgotten, which a load in the meantime may have missed.
    """

    def __init__(
        self,
        table: CanonicalTable,
        reader: Reader,
        is_leaving: Callable[[int], bool],
        threshold: float | None,
    ) -> None:
        self._table = table
        self._is_leaving = is_leaving
        self._threshold = threshold
        self._reader = reader
        self._canonicals = Canonicals(
            lambda number: reader.canonical(number, DEPTH_MAX + 1), CACHE_BYTES
        )
        self._chains: BandChains | None = None
        self._loading = anyio.Lock()
        self._changes = 0

    @property
    def is_on(self) -> bool:
        """Whether deltas of texts are made; those of cells always are."""
        return self._threshold is not None

    @property
    def size_bytes(self) -> int:
        """Memory in use."""
        return self._chains.size_bytes if self._chains else 0

    def __len__(self) -> int:
        return len(self._chains) if self._chains else 0

    # New segments

    async def begin(self, level: int, *, wanted: bool) -> NearRound | None:
        """A round of new segments; None where none of them is ``wanted`` to be compared."""
        if not wanted:
            return None
        chains = await self._loaded()
        return NearRound(
            chains, self._canonicals, self._reader, self._is_leaving, self._threshold, level
        )

    async def note(self, done: NearRound) -> None:
        """Let new segments of a round, whose blocks have their rows, be found by later ones."""
        if not done.numbers:
            return
        chains = await self._loaded()
        gone = await anyio.to_thread.run_sync(chains.add, done.numbers, as_rows(done.bands))
        await self._drop(gone)
        for some in slices(list(zip(done.numbers, done.bands, strict=True)), ROWS_AT_ONCE):
            self._table.add(some)
            await anyio.lowlevel.checkpoint()

    async def _loaded(self) -> BandChains:
        async with self._loading:
            while self._chains is None:
                chains, changes = BandChains(), self._changes
                useless = await anyio.to_thread.run_sync(self._load, chains)
                if changes == self._changes:
                    self._chains = chains
                    await self._drop(useless)
            return self._chains

    def _load(self, chains: BandChains) -> list[int]:
        """Take in all rows; the numbers of those that lead to nothing. A thread's."""
        useless: list[int] = []
        after = -1
        while rows := self._table.page(after, LOADED_AT_ONCE):
            after = rows[-1][0]
            good = [
                (number, bands)
                for number, bands, is_there in rows
                if is_there and len(bands) == BANDS_BYTES
            ]
            useless += {number for number, _, _ in rows} - {number for number, _ in good}
            useless += chains.add([number for number, _ in good], as_rows(b for _, b in good))
        return useless

    async def _drop(self, numbers: Sequence[int]) -> None:
        for some in slices(numbers, ROWS_AT_ONCE):
            self._table.drop(some)
            await anyio.lowlevel.checkpoint()

    # Stored segments that go

    async def forget(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Do not find numbers of ``ranges``, first and end of each, any more.

        For those whose blocks are about to go, or whose segments get dense: there neighbours
        that are alike cost little, and a row of the index more. Rounds leave them out already,
        or one may be made against them meanwhile.
        """
        for first, end in ranges:
            while self._table.forget(first, end, ROWS_AT_ONCE):
                await anyio.lowlevel.checkpoint()
        if ranges:
            bounds = np.array(sorted(ranges), np.int64)
            await self._forget_loaded(lambda numbers: _are_within(numbers, bounds))

    async def forget_what(self, are_going: AreGoing) -> None:
        """Do not find numbers any more of which this is true; see ``forget``."""
        after = -1
        while rows := await anyio.to_thread.run_sync(self._table.page, after, ROWS_AT_ONCE):
            after = rows[-1][0]
            numbers = np.array([number for number, _, _ in rows], np.int64)
            await self._drop(numbers[are_going(numbers)].tolist())
        await self._forget_loaded(are_going)

    async def _forget_loaded(self, are_going: AreGoing) -> None:
        """The same in memory, after the rows: a load that is under way begins again."""
        self._changes += 1
        if self._chains is not None:
            await anyio.to_thread.run_sync(self._chains.forget, are_going)
        self._canonicals.clear()


def _are_within(numbers: Numbers, ranges: Numbers) -> npt.NDArray[np.bool_]:
    """Whether each of ``numbers`` is in one of ``ranges``: first, end, shape (n, 2), sorted."""
    at = np.searchsorted(ranges[:, 0], numbers, "right") - 1
    within: npt.NDArray[np.bool_] = (at >= 0) & (numbers < ranges[at, 1])
    return within
