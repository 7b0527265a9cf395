"""Runs of keys in packs: what finds duplicates of all but the newest content.

A new key goes into a SQLite table (*hot*). When that has many, they are written to a run
(``take_hot``, ``cut_run`` of key_merge, ``forget_taken``); compaction writes runs of what it packs
densely. A key of unknown content is looked up in every run, so there must be few: whoever adds
one should merge those of about its size, say, as soon as there are four (``merge_runs``). Of N
keys in runs that begin with F, there are then at most 3 for each factor of 4 in N / F.

What is added to a run and dropped from the tables is never missed by a look-up that asks the
tables first and ``candidates`` second.
"""

import json
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import anyio.lowlevel
import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from stowkenfs.errors import Corrupt
from stowkenfs.index.connection import Connection
from stowkenfs.index.hot_keys import KEY_TABLES
from stowkenfs.index.keys import (
    Grain,
    KeyItems,
    Keys,
    Unsigned,
    Values,
    as_column,
    decode_keys,
    from_column,
)

log = logging.getLogger(__name__)

CACHE_BYTES = 32 << 20
"""Unpacked key blocks: of some 6 million dense keys, or 3 million that were hot."""
ROWS_AT_ONCE = 500
"""Rows of a hot table read before the loop gets its turn: half a millisecond."""
REMOVED_AT_ONCE = 200
"""Rows removed one by one before it does: about as long."""
TAKEN_AT_ONCE = 1000
"""Rows removed as a range before it does: a millisecond."""

Load = Callable[[int, int, int, int], bytes]
"""``(pack, offset_bytes, stored_bytes, count)`` to the payload of a key block. Any thread.

Raises Corrupt for damage, and OSError or Corrupt for what is not there any more.
"""


class Candidate(NamedTuple):
    """Where a key may be: ``number`` of the thing, or else the first number of its block."""

    number: int
    is_exact: bool


@dataclass(frozen=True, slots=True)
class KeyPlace:
    """A row of ``key_block``."""

    thing: int
    run: int
    low: int
    high: int
    count: int
    pack: int
    offset_bytes: int
    stored_bytes: int
    raw_bytes: int


@dataclass(frozen=True, slots=True)
class _Run:
    """The blocks of a run, sorted, and their bounds as u64s: shape (blocks,)."""

    places: Sequence[KeyPlace]
    lows: Unsigned
    highs: Unsigned


class KeyRuns:
    """Queries on key blocks, and the way of keys from hot tables into them.

    A run never changes once its rows are committed, and its number is not given out again
    while this object lives; so what is cached of a run holds as long as the run is listed.

    Owned by the event loop's thread: ``_given``.
    Guarded by ``_lock``: ``_runs``, ``_blocks`` (at most CACHE_BYTES), ``_version``, ``_damaged``.
    """

    def __init__(self, connection: Connection, load: Load) -> None:
        self._connection = connection
        self._load = load
        self._given: dict[int, int] = {}  # {thing: last number of a run}
        self._lock = threading.Lock()
        self._version = 0  # grows with each change
        self._runs: dict[tuple[int, int], _Run] = {}  # {(thing, run): its rows}
        self._blocks: LRUCache[tuple[int, int, int], KeyItems] = LRUCache(  # {(.., low): items}
            CACHE_BYTES, getsizeof=lambda items: items.cost_bytes
        )
        self._damaged: set[tuple[int, int, int]] = set()  # {(thing, run, low)}

    # Looking up

    def candidates(self, thing: int, keys: Sequence[int]) -> dict[int, list[Candidate]]:
        """Where things of kind ``thing`` with these keys (i64) may be, newest run first.

        Any thread; reads packs. Keys without candidates are left out. A candidate may be of
        another key: it has to be looked at. Damaged blocks are logged and have no candidates,
        since a key that is not found costs space and no content. Raises OSError.
        """
        # Sorted as u64s, so that those for one block are next to each other.
        unsigned = np.unique(np.array(keys, np.int64).view(np.uint64))
        wanted = unsigned.view(np.int64)
        while True:
            found: dict[int, list[Candidate]] = {}
            listed = self._listed(thing)
            try:
                for run in listed:
                    self._find(thing, run, wanted, found)
            except (Corrupt, OSError):
                # A run that went meanwhile is no damage; another has its keys.
                if self._listed(thing) == listed:
                    raise
            else:
                return found

    def _listed(self, thing: int) -> list[int]:
        """Numbers of the committed runs, newest first; one step in the index for each."""
        rows = self._connection.read_all(
            "WITH RECURSIVE listed (run) AS"
            " (SELECT max(run) FROM key_block WHERE thing = ?1 UNION ALL"
            "  SELECT (SELECT max(run) FROM key_block WHERE thing = ?1 AND run < listed.run)"
            "  FROM listed WHERE run IS NOT NULL)"
            " SELECT run FROM listed WHERE run IS NOT NULL",
            (thing,),
        )
        return [run for (run,) in rows]

    def _find(self, thing: int, number: int, keys: Keys, found: dict[int, list[Candidate]]) -> None:
        """Add to ``found`` what one run has of ``keys``, which are sorted as u64s."""
        run = self._run(thing, number)
        unsigned = keys.view(np.uint64)
        starts = np.searchsorted(unsigned, run.lows)
        ends = np.searchsorted(unsigned, run.highs, "right")
        for at in np.flatnonzero(starts < ends).tolist():
            items = self._items(run.places[at])
            if items is None:
                continue
            some = keys[starts[at] : ends[at]]
            positions, values = items.find(some)
            is_exact = items.grain is Grain.EXACT
            for key, value in zip(some[positions].tolist(), values.tolist(), strict=True):
                candidates = found.setdefault(key, [])
                candidate = Candidate(value, is_exact)
                if candidate not in candidates:
                    candidates.append(candidate)

    def _run(self, thing: int, number: int) -> _Run:
        """The rows of a run. Raises Corrupt if it has none, as one that was dropped."""
        with self._lock:
            run = self._runs.get((thing, number))
            version = self._version
        if run is not None:
            return run
        rows = self._connection.read_all(
            "SELECT thing, run, low, high, count, pack, offset, stored, raw FROM key_block"
            " WHERE thing = ? AND run = ? ORDER BY low",
            (thing, number),
        )
        if not rows:
            raise Corrupt(f"run {number} of keys is gone")
        run = _Run(
            [KeyPlace(*row) for row in rows],
            np.array([from_column(row[2]) for row in rows], np.uint64),
            np.array([from_column(row[3]) for row in rows], np.uint64),
        )
        with self._lock:
            # In memory, uncommitted rows can be read: maybe not all of them.
            if version == self._version:
                self._runs[thing, number] = run
        return run

    def _items(self, place: KeyPlace) -> KeyItems | None:
        """An unpacked block through the cache; None if it is damaged."""
        name = (place.thing, place.run, place.low)
        with self._lock:
            items = self._blocks.get(name)
            if items is not None or name in self._damaged:
                return items
        try:
            items = self._unpack(place)
        except Corrupt as error:
            if place.run not in self._listed(place.thing):
                raise
            log.warning("keys cannot be looked up, duplicates may be stored again: %s", error)
            with self._lock:
                self._damaged.add(name)
            return None
        with self._lock:
            if items.cost_bytes <= self._blocks.maxsize:
                self._blocks[name] = items
        return items

    def _unpack(self, place: KeyPlace) -> KeyItems:
        payload = self._load(place.pack, place.offset_bytes, place.stored_bytes, place.count)
        items = decode_keys(payload, place.count)
        if (as_column(items.low), as_column(items.high)) != (place.low, place.high):
            raise Corrupt(
                f"the keys at byte {place.offset_bytes} of pack {place.pack} are not those that"
                " the index expects"
            )
        return items

    # Runs

    def plan(self, thing: int) -> list[tuple[int, int]]:
        """``(run, entries)`` of each run, oldest first. Event loop's thread."""
        rows = self._connection.all(
            "SELECT run, sum(count) FROM key_block WHERE thing = ? GROUP BY run ORDER BY run",
            (thing,),
        )
        return [(run, count) for run, count in rows]

    def are_any(self, thing: int) -> bool:
        """Whether there is a run. Event loop's thread."""
        row = self._connection.one("SELECT 1 FROM key_block WHERE thing = ? LIMIT 1", (thing,))
        return row is not None

    def grain(self, thing: int, run: int) -> Grain | None:
        """What a run's entries lead to; None if its first block cannot be read. Any thread."""
        items = self._items(self._run(thing, run).places[0])
        return None if items is None else items.grain

    def next_run(self, thing: int) -> int:
        """A number above those of all runs, from 1; never the same again. Event loop's thread."""
        row = self._connection.one(
            "SELECT ifnull(max(run), 0) FROM key_block WHERE thing = ?", (thing,)
        )
        number = max(row[0] if row else 0, self._given.get(thing, 0)) + 1
        self._given[thing] = number
        return number

    def add(self, places: Sequence[KeyPlace]) -> None:
        """Make written and synced key blocks findable: all those of a run in one transaction.

        Event loop's thread; joins the caller's transaction.
        """
        with self._connection.transaction():
            self._connection.execute_many(
                "INSERT INTO key_block VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [astuple(place) for place in places],
            )
        self._forget({(place.thing, place.run) for place in places})

    def drop(self, thing: int, runs: Sequence[int]) -> None:
        """Forget whole runs. Event loop's thread; joins the caller's transaction.

        Those that take their place are added in the same one; packs go after it.
        """
        self._connection.execute(
            "DELETE FROM key_block WHERE thing = ? AND run IN (SELECT value FROM json_each(?))",
            (thing, json.dumps(list(runs))),
        )
        self._forget({(thing, run) for run in runs})

    def refresh(self) -> None:
        """Blocks may lie elsewhere now, with the same content."""
        with self._lock:
            self._version += 1
            self._runs.clear()

    def _forget(self, runs: set[tuple[int, int]]) -> None:
        with self._lock:
            self._version += 1
            for run in runs:
                self._runs.pop(run, None)
            for name in [name for name in self._blocks if name[:2] in runs]:
                del self._blocks[name]
            self._damaged = {name for name in self._damaged if name[:2] not in runs}

    def blocks(self, thing: int, run: int) -> Iterator[KeyItems]:
        """The unpacked blocks of a run in order, for ``merge_runs``; past the cache. Any thread.

        Raises Corrupt for a run that is damaged or gone, and OSError.
        """
        for place in self._run(thing, run).places:
            yield self._unpack(place)

    # Hot keys

    async def take_hot(self, table: str, rows_max: int, below: int) -> tuple[Keys, Values]:
        """Up to ``rows_max`` rows of a key table, lowest keys first: int64, shape (n,) both.

        Those whose numbers are under ``below``; no row with such a number may come meanwhile.
        They stay in the table until ``forget_taken``.
        """
        assert table in KEY_TABLES
        sql = (
            f"SELECT key, no FROM {table}"  # noqa: S608 - as above
            " WHERE key >= ? AND no < ? ORDER BY key LIMIT ?"
        )
        pages: list[npt.NDArray[np.int64]] = [np.empty((0, 2), np.int64)]
        left = rows_max
        start = -(1 << 63)
        while left > 0 and start < 1 << 63:
            rows = self._connection.all(sql, (start, below, min(left, ROWS_AT_ONCE)))
            if not rows:
                break
            pages.append(np.array(rows, np.int64))
            left -= len(rows)
            start = rows[-1][0] + 1
            await anyio.lowlevel.checkpoint()
        taken = np.concatenate(pages)
        return taken[:, 0].copy(), taken[:, 1].copy()

    async def forget_taken(self, table: str, keys: Keys, below: int) -> None:
        """Remove rows that are in a committed run now: all that one ``take_hot`` gave.

        Rows that came since stay, as their numbers are not under ``below``. If it is
        interrupted, the rest of the rows stays and does no harm.
        """
        assert table in KEY_TABLES
        # By range: a tenth of the time that naming each row takes.
        sql = f"DELETE FROM {table} WHERE key BETWEEN ? AND ? AND no < ?"  # noqa: S608
        for start in range(0, len(keys), TAKEN_AT_ONCE):
            some = keys[start : start + TAKEN_AT_ONCE]
            self._connection.execute(sql, (int(some[0]), int(some[-1]), below))
            await anyio.lowlevel.checkpoint()

    async def forget_hot(self, table: str, keys: Keys, values: Values) -> None:
        """Remove some rows. Others stay, also those whose key has another number by now."""
        assert table in KEY_TABLES
        sql = (
            f"DELETE FROM {table} WHERE (key, no) IN"  # noqa: S608 - as above
            " (SELECT value ->> 0, value ->> 1 FROM json_each(?))"
        )
        rows = np.stack((keys, values), axis=1)
        for start in range(0, len(rows), REMOVED_AT_ONCE):
            some = rows[start : start + REMOVED_AT_ONCE].tolist()
            self._connection.execute(sql, (json.dumps(some),))
            await anyio.lowlevel.checkpoint()
