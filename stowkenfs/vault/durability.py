"""What fsync waits for: bytes of drafts, their names, and the index, all at once.

Syncs that wait for the disk side by side share what the disk does for them, and so do callers:
whoever comes while a round is under way is part of the next one. A file whose bytes are on the
disk a moment after its rows was not promised to anybody yet.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from stowkenfs.ids import InodeNo
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.drafts import Draft
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.leader import Leader

SIDE_BY_SIDE = 8
"""Files of drafts that are synced at the same time."""

Outcome = OSError | bool


class Durability:
    """Makes files survive power cuts. Event loop's thread; ``drafts``: where draft files are.

    Owned: ``_names_synced``, how many names of draft files had been made when all were synced.
    """

    def __init__(self, files: FileTable, committer: Committer, drafts: Path | None) -> None:
        self._files = files
        self._committer = committer
        self._directory = drafts
        self._names_synced = -1  # what a process that died had made was not synced
        self._side_by_side = anyio.CapacityLimiter(SIDE_BY_SIDE)
        self._rounds: Leader[InodeNo, Outcome] = Leader(self._round, weight_max=1 << 30)

    async def sync_file(self, ino: InodeNo) -> None:
        """Return when the content and name of a file survive a power cut. Raises OSError."""
        outcome = await self._rounds.submit(ino)
        if isinstance(outcome, OSError):
            raise outcome

    async def _round(self, waiting: Sequence[InodeNo]) -> list[Outcome]:
        outcomes: dict[InodeNo, Outcome] = {}
        drafts: dict[InodeNo, Draft] = {}
        for ino in waiting:
            try:
                draft = self._settled(ino)
            except OSError as error:
                outcomes[ino] = error
            else:
                outcomes[ino] = True
                if draft is not None:
                    drafts[ino] = draft
        failures: list[OSError] = []
        async with anyio.create_task_group() as tasks:
            self._start_syncs(tasks, drafts, outcomes)
            if drafts:
                tasks.start_soon(self._sync_names, drafts, outcomes)
            tasks.start_soon(self._sync_index, failures)
        for ino, draft in drafts.items():
            if isinstance(outcomes[ino], OSError):
                draft.note_failed_sync()
        return [failures[0] if failures else outcomes[ino] for ino in waiting]

    def _settled(self, ino: InodeNo) -> Draft | None:
        """The draft of a file, which has its row now. Raises OSError if no sync of it counts."""
        live = self._files.live(ino)
        if live is None:
            return None
        self._files.settle(live)
        if live.draft is not None:
            live.draft.check_trusted()
        return live.draft

    def _start_syncs(
        self,
        tasks: TaskGroup,
        drafts: dict[InodeNo, Draft],
        outcomes: dict[InodeNo, Outcome],
    ) -> None:
        """Start one sync for each file that holds any of ``drafts``."""
        holding: dict[Path, list[InodeNo]] = {}
        opened: dict[Path, int] = {}
        for ino, draft in drafts.items():
            try:
                for path, descriptor in draft.take_unsynced():
                    holding.setdefault(path, []).append(ino)
                    if path not in opened:  # the draft may close it meanwhile
                        opened[path] = os.dup(descriptor)
            except OSError as error:
                outcomes[ino] = error
        for path, descriptor in opened.items():
            tasks.start_soon(self._sync_draft_file, descriptor, holding[path], outcomes)

    async def _sync_draft_file(
        self, descriptor: int, held: Iterable[InodeNo], outcomes: dict[InodeNo, Outcome]
    ) -> None:
        try:
            await self._in_thread(partial(os.fdatasync, descriptor))
        except OSError as error:
            outcomes.update(dict.fromkeys(held, error))
        finally:
            os.close(descriptor)

    async def _sync_names(
        self, drafts: Iterable[InodeNo], outcomes: dict[InodeNo, Outcome]
    ) -> None:
        made = self._files.draft_names_made
        if made == self._names_synced or self._directory is None:
            return
        try:
            await self._in_thread(partial(sync_directory, self._directory))
        except OSError as error:
            outcomes.update(dict.fromkeys(drafts, error))
        else:
            self._names_synced = made

    async def _sync_index(self, failures: list[OSError]) -> None:
        try:
            await self._committer.sync()
        except OSError as error:
            failures.append(error)

    async def _in_thread(self, sync: Callable[[], None]) -> None:
        await anyio.to_thread.run_sync(sync, limiter=self._side_by_side)
