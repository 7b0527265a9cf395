"""What fsync waits for: bytes of drafts, their names, and the index.

All who wait when a round begins are served by it, and whoever comes meanwhile is part of the
next one. Many files are synced side by side, which shares what the disk does for them; one or
two are not, for to wait for a thread takes as long as to wait for the disk.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.drafts import Draft
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.leader import Leader

SIDE_BY_SIDE = 8
"""Threads that one round may keep waiting."""
FILES_EACH = 2

Outcome = Exception | bool


@dataclass(slots=True)
class _File:
    """A file to sync: its descriptor, which is ours, whose drafts it holds, what came of it."""

    descriptor: int
    held: list[InodeNo] = field(default_factory=list)
    error: OSError | None = None

    def sync(self) -> None:
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            self.error = error
        finally:
            os.close(self.descriptor)


@dataclass(slots=True)
class _Done:
    """What came of the rest."""

    names: OSError | None = None
    index: Exception | None = None


class Durability:
    """Makes files survive power cuts. Event loop's thread; ``drafts``: where draft files are.

    Owned: ``_names_synced``, how many names of draft files had been made when all were synced.
    """

    def __init__(self, files: FileTable, connection: Connection, drafts: Path | None) -> None:
        self._files = files
        self._connection = connection
        self._directory = drafts
        self._names_synced = -1  # what a process that died had made was not synced
        self._side_by_side = anyio.CapacityLimiter(SIDE_BY_SIDE)
        self._rounds: Leader[InodeNo, Outcome] = Leader(self._round, weight_max=1 << 30)

    async def sync_file(self, ino: InodeNo) -> None:
        """Return when the content and name of a file survive a power cut. Raises OSError."""
        outcome = await self._rounds.submit(ino)
        if isinstance(outcome, Exception):
            raise outcome

    async def _round(self, waiting: Sequence[InodeNo]) -> list[Outcome]:
        outcomes: dict[InodeNo, Outcome] = dict.fromkeys(waiting, True)
        drafts: dict[InodeNo, Draft] = {}
        for ino in outcomes:
            try:
                draft = self._settled(ino)
            except OSError as error:
                outcomes[ino] = error
            else:
                drafts |= {ino: draft} if draft is not None else {}
        self._connection.flush()
        files: dict[Path, _File] = {}
        for ino, draft in drafts.items():
            try:
                self._open(draft, ino, files)
            except OSError as error:
                outcomes[ino] = error
        names_made = self._files.draft_names_made
        names = self._directory if drafts and names_made != self._names_synced else None
        done = await self._sync(list(files.values()), names)
        if done.names is None and names is not None:
            self._names_synced = names_made
        for file in files.values():
            outcomes |= dict.fromkeys(file.held, file.error) if file.error else {}
        if done.names is not None:
            outcomes |= dict.fromkeys(drafts, done.names)
        for ino, draft in drafts.items():
            if outcomes[ino] is not True:
                draft.note_failed_sync()
        return [done.index or outcomes[ino] for ino in waiting]

    def _settled(self, ino: InodeNo) -> Draft | None:
        """The draft of a file, which has its row now. Raises OSError if no sync of it counts."""
        live = self._files.live(ino)
        if live is None:
            return None
        self._files.settle(live)
        if live.draft is not None:
            live.draft.check_trusted()
        return live.draft

    @staticmethod
    def _open(draft: Draft, ino: InodeNo, files: dict[Path, _File]) -> None:
        """Note what has to be synced of a draft, which may close it meanwhile."""
        for path, descriptor in draft.take_unsynced():
            if path not in files:
                files[path] = _File(os.dup(descriptor))
            files[path].held.append(ino)

    async def _sync(self, files: Sequence[_File], names: Path | None) -> "_Done":
        """Sync ``files``, which keep their errors, the directory ``names``, and the index."""
        step = max(FILES_EACH, -(-len(files) // SIDE_BY_SIDE))
        parts = [files[start : start + step] for start in range(0, len(files), step)] or [()]
        if len(parts) == 1:  # the usual case, for which to start a task takes long, too
            return await anyio.to_thread.run_sync(self._sync_last, parts[0], names)
        async with anyio.create_task_group() as tasks:
            for part in parts[1:]:
                tasks.start_soon(self._sync_all, part)
            done = await anyio.to_thread.run_sync(self._sync_last, parts[0], names)
        return done  # noqa: RET504 - when the others are done, too

    def _sync_last(self, files: Sequence[_File], names: Path | None) -> "_Done":
        sync_all(files)
        done = _Done()
        try:
            if names is not None:
                sync_directory(names)
        except OSError as error:
            done.names = error
        try:
            self._connection.sync()
        except Exception as error:  # noqa: BLE001 - told to all who wait
            done.index = error
        return done

    async def _sync_all(self, files: Sequence[_File]) -> None:
        await anyio.to_thread.run_sync(sync_all, files, limiter=self._side_by_side)


def sync_all(files: Sequence[_File]) -> None:
    """Each, one after the other. Blocks."""
    for file in files:
        file.sync()
