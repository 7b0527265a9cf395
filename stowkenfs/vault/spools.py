"""Spools: files that many small drafts share (docs/DESIGN.md, "Drafts").

Making a file for each of a thousand small drafts costs a hundred times what writing
their bytes costs. So a draft's first write goes to the end of the current spool; only a
draft that is written further gets a file of its own. A spool that no draft refers to any
more, and that takes no more bytes, is removed.
"""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from stowkenfs.index.drafts import DraftTable
from stowkenfs.store.local import private

SPOOL_BYTES_MAX = 64 << 20
"""A spool that has grown past this takes no more bytes."""

IDLE_BYTES_MAX = 4 << 20
"""Dead bytes that a spool nobody refers to may hold before a new one is begun."""

_PREFIX = "spool-"


class Spools:
    """The spools of one vault, and numbers for the other files. Event loop's thread.

    ``_references`` counts drafts by spool; ``_files`` has a descriptor for each spool in
    use, of which there is one for every SPOOL_BYTES_MAX of small drafts. ``names_made`` counts
    files of drafts that may be new, spools and others.
    """

    def __init__(self, directory: Path, table: DraftTable, *, read_only: bool = False) -> None:
        self._directory = directory
        self.open_flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._table = table
        self._references: Counter[int] = Counter(table.spool_references())
        self._files: dict[int, int] = {}
        self._stale: list[Path] = []
        self._unsynced: set[int] = set()  # of which a sync failed
        # Never append behind what a crash left: its end may be half a write.
        self._current = max(self._references, default=0)
        self._length = SPOOL_BYTES_MAX
        self._generation = table.last_generation()
        self.names_made = 0

    def reload(self) -> None:
        """After a rollback: count anew, and keep files that may be referred to after all."""
        self._references = Counter(self._table.spool_references())
        self._stale = [path for path in self._stale if not self.is_needed(path.name)]

    def next_generation(self) -> int:
        """A number for a draft's own file that no file under ``drafts/`` has.

        Files are removed some time after their rows, so a draft that follows another one of
        the same inode must not take its name.
        """
        self._generation += 1
        return self._generation

    def path(self, spool: int) -> Path:
        return self._directory / f"{_PREFIX}{spool:x}"

    def is_needed(self, name: str) -> bool:
        """Whether a file of this name under ``drafts/`` is a spool that a draft refers to."""
        try:
            number = int(name.removeprefix(_PREFIX), 16) if name.startswith(_PREFIX) else 0
        except ValueError:
            return False
        return self._references[number] > 0

    def _open(self, spool: int) -> int:
        fd = self._files.get(spool)
        if fd is None:
            self.names_made += 1
            fd = self._files[spool] = private(self.path(spool), self.open_flags)
        return fd

    def append(self, content: bytes) -> tuple[int, int]:
        """Spool and position of ``content``, which survives the daemon on return."""
        if self._length >= SPOOL_BYTES_MAX:
            old, self._current, self._length = self._current, self._current + 1, 0
            self._retire(old)
        spool, position = self._current, self._length
        try:
            self.write_at(spool, position, content)
        except OSError:
            os.ftruncate(self._open(spool), position)
            raise
        self._length += len(content)
        return spool, position

    def write_at(self, spool: int, position: int, content: bytes) -> None:
        fd, view = self._open(spool), memoryview(content)
        while view:
            written = os.pwrite(fd, view, position)
            view, position = view[written:], position + written

    def read_at(self, spool: int, position: int, length: int) -> bytes:
        return os.pread(self._open(spool), length, position)

    def refer(self, before: Iterable[int], after: Iterable[int]) -> None:
        """A draft that referred to the spools ``before`` refers to those ``after`` now."""
        self._references.update(after)
        for spool in before:
            self._references[spool] -= 1
            if self._references[spool] > 0:
                continue
            if spool != self._current:
                self._retire(spool)
            elif self._length > IDLE_BYTES_MAX:
                self.retire_current()

    def retire_current(self) -> None:
        """Start a new spool with the next write; the present one goes when it is not needed."""
        self._length = SPOOL_BYTES_MAX
        self._retire(self._current)

    def _retire(self, spool: int) -> None:
        if self._references[spool] > 0 or spool == 0:
            return
        del self._references[spool]
        fd = self._files.pop(spool, None)
        if fd is not None:
            os.close(fd)
            self._stale.append(self.path(spool))

    def note_failed_sync(self, spools: Iterable[int]) -> None:
        """No later sync of ``spools`` says that they are on the disk; see ``Draft``."""
        self._unsynced.update(spools)
        if self._current in self._unsynced:
            self.retire_current()

    def has_failed(self, spools: Iterable[int]) -> bool:
        """Whether a sync of any of ``spools`` failed."""
        return not self._unsynced.isdisjoint(spools)

    def files(self, spools: Iterable[int]) -> list[tuple[Path, int]]:
        """Paths and descriptors of ``spools``."""
        return [(self.path(spool), self._open(spool)) for spool in spools]

    def take_stale(self) -> list[Path]:
        """Spools that may be removed once the index is synced."""
        stale, self._stale = self._stale, []
        return stale

    def close(self) -> None:
        while self._files:
            os.close(self._files.popitem()[1])
