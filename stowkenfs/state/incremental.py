"""Every state of a grid, for the price of what changed."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import anyio
import anyio.to_thread

from stowkenfs.errors import SnapshotCorrupt, StateNotFound
from stowkenfs.grids.delta_log import (
    Delta,
    DeltaLog,
    Tail,
    begin_log,
    decode_log,
    encode_delta,
)
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.snapshot import Metadata, Snapshot, encode_snapshot
from stowkenfs.state.snapshots import stamp
from stowkenfs.state.store import StateStore, check_key
from stowkenfs.vault.files import Clock

_SUFFIX = ".log"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Point:
    """A state that can be restored. ``time_ns``: when it was saved, ns since 1970."""

    number: int
    time_ns: int
    is_full: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Tip:
    """The end of the last log: what the next state is told as changes from."""

    key: str
    number: int
    grid: Grid
    base_bytes: int
    end_bytes: int
    deltas: int
    chain: bytes


class IncrementalState:
    """States 0, 1, 2 … of one grid below ``name``, each restorable until it is forgotten.

    A state is saved as the cells that changed, behind the last full one. It is saved whole, in
    a log of its own, after ``full_every`` of these, when they would take more than the full
    one, and when width or height change. One program at a time saves.

    A save that was cut short is dropped when the log is next looked at. Owned: ``_tip``, None
    while it is not known what is stored; ``_saving`` guards it.
    """

    def __init__(
        self,
        store: StateStore,
        name: str,
        *,
        full_every: int = 100,
        owner: str = "",
        parameters: Any = None,
        clock: Clock = time.time_ns,
    ) -> None:
        if full_every < 1:
            raise ValueError(f"a full save every {full_every} states; 1 is the least")
        self._store = store
        self._name = check_key(name)
        self._full_every = full_every
        self._metadata = Metadata(owner=owner, parameters={} if parameters is None else parameters)
        self._clock = clock
        self._key = re.compile(re.escape(name) + rf"/([0-9]{{{_DIGITS}}})\.log")
        self._tip: _Tip | None = None
        self._saving = anyio.Lock()

    async def save(self, grid: Grid) -> int:
        """Save the grid as it is now; its number. One that is as the last gets its number."""
        grid = grid.copy()
        async with self._saving:
            tip, free = self._tip, 0
            if tip is None:
                tip, free = await self._find_tip()
            self._tip = None  # until this has succeeded
            self._tip = await self._save_behind(tip, grid) if tip else await self._begin(free, grid)
            return self._tip.number

    async def _save_behind(self, tip: _Tip, grid: Grid) -> _Tip:
        is_same_shape = grid.cells.shape == tip.grid.cells.shape
        if not is_same_shape or tip.deltas + 1 >= self._full_every:
            if is_same_shape and await anyio.to_thread.run_sync(grid.__eq__, tip.grid):
                return tip
            return await self._begin(tip.number + 1, grid)
        changes = await anyio.to_thread.run_sync(grid.changes_from, tip.grid)
        if not len(changes):
            return tip
        delta = Delta(self._clock(), changes)
        record, chain = await anyio.to_thread.run_sync(encode_delta, delta, tip.chain)
        if tip.end_bytes + len(record) > 2 * tip.base_bytes:
            return await self._begin(tip.number + 1, grid)
        await self._store.append(tip.key, tip.end_bytes, record)
        end, number = tip.end_bytes + len(record), tip.number + 1
        return _Tip(tip.key, number, grid, tip.base_bytes, end, tip.deltas + 1, chain)

    async def _begin(self, number: int, grid: Grid) -> _Tip:
        snapshot = stamp(Snapshot(grid, self._metadata), self._clock)
        content, chain = await anyio.to_thread.run_sync(_new_log, number, snapshot)
        key = self._key_of(number)
        await self._store.put(key, content)
        return _Tip(key, number, grid, len(content), len(content), 0, chain)

    async def _find_tip(self) -> tuple[_Tip | None, int]:
        """The end of the last log, or None and the number that a new log can have."""
        firsts = await self._firsts()
        if not firsts:
            return None, 0
        try:
            log = await self._load(firsts[-1])
        except SnapshotCorrupt:
            return None, firsts[-1] + 1
        if log.tail is Tail.DAMAGED:  # which stays as it is, for who wants to look at it
            return None, log.last + 1
        grid = await anyio.to_thread.run_sync(log.restore, log.last)
        key, base_bytes = self._key_of(log.first), log.base_bytes
        return _Tip(
            key, log.last, grid, base_bytes, log.end_bytes, len(log.deltas), log.chain
        ), log.last + 1

    async def points(self) -> Sequence[Point]:
        """All states that can be restored, by number.

        What is damaged is not among them; ``restore`` says so.
        """
        found: dict[int, Point] = {}
        for first in await self._firsts():
            # What begins here replaced what came of an earlier log that was damaged.
            found = {number: point for number, point in found.items() if number < first}
            try:
                log = await self._load(first)
            except SnapshotCorrupt:
                continue
            found |= {point.number: point for point in _points_of(log)}
        return list(found.values())

    async def restore(self, number: int | None = None) -> Grid:
        """The state with a number, or the last.

        Raises StateNotFound, or SnapshotCorrupt if it is damaged.
        """
        firsts = [one for one in await self._firsts() if number is None or one <= number]
        if not firsts:
            raise StateNotFound(f"state of {self._name!r} with that number, or any before it")
        log = await self._load(firsts[-1])
        if log.tail is Tail.DAMAGED and (number is None or number > log.last):
            raise SnapshotCorrupt(
                self._key_of(log.first),
                log.end_bytes,
                f"states behind {log.last} are lost; that one can be restored",
            )
        if number is not None and number > log.last:
            raise StateNotFound(f"state {number} of {self._name!r}; {log.last} is the last")
        wanted = log.last if number is None else number
        return await anyio.to_thread.run_sync(log.restore, wanted)

    async def restore_at(self, time_ns: int) -> Grid:
        """The state as of a time: the last that was saved until then.

        Raises StateNotFound, SnapshotCorrupt.
        """
        numbers = [point.number for point in await self.points() if point.time_ns <= time_ns]
        if not numbers:
            raise StateNotFound(f"state of {self._name!r} as of {time_ns} ns")
        return await self.restore(max(numbers))

    async def forget_before(self, number: int) -> int:
        """Remove logs of which no state from ``number`` on needs anything; how many.

        States before it may stay restorable: those in the log that it is in.
        """
        firsts = await self._firsts()
        old = [one for one, after in pairwise(firsts) if after <= number]
        for first in old:
            await self._store.delete(self._key_of(first))
        return len(old)

    async def _firsts(self) -> Sequence[int]:
        """The numbers that logs begin with, in order."""
        entries = await self._store.list(f"{self._name}/")
        found = (self._key.fullmatch(entry.key) for entry in entries)
        return sorted(int(match[1]) for match in found if match)

    async def _load(self, first: int) -> DeltaLog:
        key = self._key_of(first)
        content = await self._store.get(key)
        if content is None:
            raise StateNotFound(f"state {key!r}")
        log = await anyio.to_thread.run_sync(decode_log, content)
        if log.first != first:
            raise SnapshotCorrupt(key, 8, f"it begins with state {log.first}")
        return log

    def _key_of(self, first: int) -> str:
        return f"{self._name}/{first:0{_DIGITS}d}{_SUFFIX}"


def _new_log(number: int, snapshot: Snapshot) -> tuple[bytes, bytes]:
    """A log of one state, and its chain. Takes a while for a large grid."""
    return begin_log(number, encode_snapshot(snapshot))


def _points_of(log: DeltaLog) -> Sequence[Point]:
    times = [log.base.metadata.modified_ns or 0, *(delta.time_ns for delta in log.deltas)]
    return [Point(log.first + at, time, at == 0) for at, time in enumerate(times)]
