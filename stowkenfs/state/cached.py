"""A grid in memory that is saved now and then, and at the end."""

import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import numpy.typing as npt

from stowkenfs.errors import StateNotFound, StateStoreFailed
from stowkenfs.grids.formats import GridFormat
from stowkenfs.grids.grid import Cells, Grid, Place
from stowkenfs.grids.snapshot import Metadata, Snapshot
from stowkenfs.state.snapshots import load_snapshot, save_snapshot
from stowkenfs.state.store import StateStore
from stowkenfs.vault.files import Clock

log = logging.getLogger(__name__)

_NS = 1_000_000_000


class CachedState:
    """A grid at memory's speed, dirty until it is saved. Open it with ``CachedState.open``.

    Owned by the tasks of one event loop. ``_changes`` counts changes, ``_saved`` those that
    are saved, so that one made while a save goes on stays to be saved.
    """

    def __init__(
        self,
        store: StateStore,
        key: str,
        snapshot: Snapshot,
        *,
        interval_seconds: float,
        grid_format: GridFormat,
        clock: Clock,
        is_new: bool,
    ) -> None:
        self._store = store
        self._key = key
        self._grid = snapshot.grid
        self._metadata = snapshot.metadata
        self._interval_seconds = interval_seconds
        self._grid_format = grid_format
        self._clock = clock
        self._changes = int(is_new)
        self._saved = 0
        self._saved_ns = clock()
        self._saving = anyio.Lock()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        store: StateStore,
        key: str,
        make: Callable[[], Grid],
        *,
        interval_seconds: float = 30.0,
        grid_format: GridFormat = GridFormat.BINARY,
        clock: Clock = time.time_ns,
    ) -> AsyncIterator["CachedState"]:
        """What was saved, or a new grid of ``make``; what is dirty at the end is saved.

        Raises SnapshotCorrupt, UnknownSnapshotVersion; at the end what ``flush`` does.
        """
        try:
            snapshot, is_new = await load_snapshot(store, key), False
        except StateNotFound:
            snapshot, is_new = Snapshot(make(), Metadata()), True
        state = cls(
            store,
            key,
            snapshot,
            interval_seconds=interval_seconds,
            grid_format=grid_format,
            clock=clock,
            is_new=is_new,
        )
        try:
            yield state
        finally:
            with anyio.CancelScope(shield=True):
                await state.flush()

    @property
    def width(self) -> int:
        """Cells in a row."""
        return self._grid.width

    @property
    def height(self) -> int:
        """Rows."""
        return self._grid.height

    @property
    def cells(self) -> Cells:
        """As ``Grid.cells``."""
        return self._grid.cells

    @property
    def metadata(self) -> Metadata:
        """As of the last save; times are None before the first."""
        return self._metadata

    @property
    def is_dirty(self) -> bool:
        """Whether something is not saved."""
        return self._changes != self._saved

    def __getitem__(self, place: Place) -> float:
        return self._grid[place]

    def __setitem__(self, place: Place, value: float) -> None:
        self._grid[place] = value
        self._changes += 1

    def replace(self, cells: npt.ArrayLike) -> None:
        """As ``Grid.replace``."""
        self._grid.replace(cells)
        self._changes += 1

    async def save_if_due(self) -> bool:
        """Save if something is dirty and the last save is an interval ago; whether it was."""
        is_due = self._clock() - self._saved_ns >= self._interval_seconds * _NS
        if not self.is_dirty or not is_due:
            return False
        await self.flush()
        return True

    async def flush(self) -> None:
        """Save now what is dirty.

        If that fails it stays dirty, and what was saved before stays saved.
        Raises what ``store.put`` does.
        """
        async with self._saving:
            if not self.is_dirty:
                return
            changes = self._changes
            saved = await save_snapshot(
                self._store,
                self._key,
                Snapshot(self._grid, self._metadata),
                self._grid_format,
                clock=self._clock,
            )
            self._metadata, self._saved = saved.metadata, changes
            self._saved_ns = self._clock()

    async def keep_saved(self) -> None:
        """Save what is due, for ever: a task to run beside. A store that fails is tried again."""
        while True:
            await anyio.sleep(self._interval_seconds)
            try:
                await self.save_if_due()
            except (StateStoreFailed, OSError) as error:
                log.warning("state %r is not saved yet: %s", self._key, error)
