"""Checkpoints of a long run: the last few of them, and the latest that can be used."""

import logging
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from stowkenfs.errors import SnapshotCorrupt, StateNotFound
from stowkenfs.grids.formats import GridFormat
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.snapshot import Metadata, Snapshot
from stowkenfs.state.snapshots import load_snapshot, save_snapshot
from stowkenfs.state.store import StateStore, check_key
from stowkenfs.vault.files import Clock

log = logging.getLogger(__name__)

STEP_MAX = 10**15 - 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state of a run, and the step after which it was."""

    step: int
    snapshot: Snapshot


class CheckpointManager:
    """Checkpoints below ``prefix``: ``checkpoint_000050.snapshot`` is step 50.

    A checkpoint is there whole or not at all, so a run that dies in a save resumes with the
    one before. ``keep``: how many stay; None: all.
    """

    def __init__(
        self,
        store: StateStore,
        prefix: str = "checkpoints",
        *,
        keep: int | None = 5,
        grid_format: GridFormat = GridFormat.BINARY,
        clock: Clock = time.time_ns,
    ) -> None:
        if keep is not None and keep < 1:
            raise ValueError(f"{keep} checkpoints cannot be kept; 1 is the least")
        self._store = store
        self._prefix = check_key(prefix)
        self._keep = keep
        self._grid_format = grid_format
        self._clock = clock
        self._name = re.compile(re.escape(prefix) + r"/checkpoint_([0-9]{6,15})\.snapshot")

    async def save(
        self, step: int, grid: Grid, parameters: Any = None, *, owner: str = ""
    ) -> Snapshot:
        """Save, and then remove the lowest steps beyond ``keep``, but never this one.

        A step that is there already is replaced.
        """
        metadata = Metadata(owner=owner, parameters={} if parameters is None else parameters)
        saved = await save_snapshot(
            self._store,
            self.key(step),
            Snapshot(grid, metadata),
            self._grid_format,
            clock=self._clock,
        )
        await self._clean_up(step)
        return saved

    async def _clean_up(self, just_saved: int) -> None:
        if self._keep is None:
            return
        others = [step for step in await self.steps() if step != just_saved]
        for step in others[: max(len(others) + 1 - self._keep, 0)]:
            await self._store.delete(self.key(step))

    async def steps(self) -> Sequence[int]:
        """The steps that are there, lowest first."""
        entries = await self._store.list(f"{self._prefix}/checkpoint_")
        found = (self._name.fullmatch(entry.key) for entry in entries)
        return sorted(int(match[1]) for match in found if match)

    async def load(self, step: int) -> Snapshot:
        """Raises StateNotFound, SnapshotCorrupt, UnknownSnapshotVersion."""
        return await load_snapshot(self._store, self.key(step))

    async def load_latest(self) -> Checkpoint | None:
        """The highest step that is intact, to resume from; None to begin from the start.

        Raises SnapshotCorrupt if there are checkpoints and all of them are damaged.
        """
        damage: SnapshotCorrupt | None = None
        for step in reversed(await self.steps()):
            try:
                return Checkpoint(step, await self.load(step))
            except SnapshotCorrupt as error:
                log.warning("checkpoint %d is passed over: %s", step, error)
                damage = damage or error
            except StateNotFound:
                continue  # somebody cleaned up meanwhile
        if damage is not None:
            raise damage
        return None

    def key(self, step: int) -> str:
        """Where the checkpoint of a step is. Raises ValueError."""
        if not 0 <= step <= STEP_MAX:
            raise ValueError(f"step {step}; steps are 0 to {STEP_MAX}")
        return f"{self._prefix}/checkpoint_{step:06d}.snapshot"
