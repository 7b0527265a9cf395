"""Whether the index is what it was when the vault was closed.

SQLite has no checksums of its database. The name of an empty file in the vault's directory,
``closed-N-HASH``, is one of the whole: it is made when the vault was closed, kept while nothing
is copied from the log to the database, and removed before that. N is the opening during
which it holds: a release that does not know the file counts on, and leaves it behind.

What was committed since is in the log, which has checksums, and ``index.log_mark``.
"""

import hashlib
import re
import threading
from contextlib import suppress
from pathlib import Path

from stowkenfs.errors import IndexDamaged
from stowkenfs.index.connection import read_index
from stowkenfs.index.log_mark import lost_of_log
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.opened import times_opened, why_not

_NAME = re.compile(r"closed-([1-9][0-9]{0,17})-([0-9a-f]{32})")
_HASH_DIGITS = 32
LOG_MARK = "index.db-synced"


class ClosedMark:
    """The file of one vault that the caller has locked. ``forget`` may be called in any thread.

    ``is_due``: whether the index is one that may be taken for right when it is closed.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._is_gone = False
        self.is_due = False

    def is_whole(self) -> bool:
        """Whether the index is known to be as it was. Blocks: it is read."""
        index = self._directory / "index.db"
        hashes = self._hashes()
        return bool(hashes) and _hash(index) in hashes and lost_of_log(index) is None

    def check(self) -> None:
        """Raise IndexDamaged for an index that is known not to be. Blocks: it is read."""
        index = self._directory / "index.db"
        if not index.exists():
            return
        hashes = self._hashes()
        if hashes and _hash(index) not in hashes:
            raise IndexDamaged(index, self._reason(index))
        lost = lost_of_log(index)
        if lost is not None:
            raise IndexDamaged(index, lost)

    def _reason(self, index: Path) -> str:
        with suppress(IndexDamaged, OSError, ValueError, TypeError):
            with read_index(index, "ro&immutable=1") as rows:  # which leaves it as it is
                reason = why_not(self._directory, dict(rows("SELECT name, value FROM setting")))
            if reason is not None:
                return reason
        return "it is damaged: it is not what it was when the vault was closed"

    def carry(self) -> None:
        """The vault was opened, and counted: the file holds for this opening, too."""
        number = times_opened(self._directory)
        for path, _, digits in self._marks():
            path.rename(self._directory / f"closed-{number}-{digits}")

    def forget(self) -> None:
        """Before the database is written to; durable when this returns. Blocks."""
        with self._lock:
            if not self._is_gone:
                forget_closed(self._directory)
                self._is_gone = True

    def write(self) -> None:
        """After closing: say what the index is, if all of it is in the database. Blocks."""
        index = self._directory / "index.db"
        log = index.with_name("index.db-wal")
        if not self.is_due or (log.exists() and log.stat().st_size):
            return
        with suppress(OSError):  # a full disk: then nothing says so
            (self._directory / LOG_MARK).unlink(missing_ok=True)
            mark = self._directory / f"closed-{times_opened(self._directory)}-{_hash(index)}"
            for path, _, _ in self._marks():
                if path != mark:
                    path.unlink()
            mark.touch(mode=0o600)
            sync_directory(self._directory)

    def _marks(self) -> list[tuple[Path, int, str]]:
        found = ((path, _NAME.fullmatch(path.name)) for path in self._directory.iterdir())
        return [(path, int(match[1]), match[2]) for path, match in found if match]

    def _hashes(self) -> set[str]:
        """What the index may be; empty where nothing says so."""
        opened = times_opened(self._directory)
        return {digits for _, number, digits in self._marks() if number >= opened}


def forget_closed(directory: Path) -> None:
    """Remove the file, durably: the index will be another one. Blocks."""
    found = list(directory.glob("closed-*"))
    for path in found:
        path.unlink(missing_ok=True)
    if found:
        sync_directory(directory)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:_HASH_DIGITS]
