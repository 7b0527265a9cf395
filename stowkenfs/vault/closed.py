"""Whether the index is what it was when the vault was closed.

SQLite has no checksums of its database. The name of an empty file in the vault's directory,
``closed-N-HASH``, is one of the whole: it is made when the vault was closed, kept while nothing
is copied from the log to the database, and removed before that. N is the opening during
which it holds: a release that does not know the file counts on, and leaves it behind.

A small index is compared before it is opened. A large one is opened at once and compared by a
thread meanwhile: until that came to its end nothing is copied to the database, nothing that
was promised counts as synced, and so nothing is removed. If it turns out to be another one, all
is refused from then on, and ``index.db-doubted`` lets the next opening compare it first.

What was committed since is in the log, which has checksums, and ``index.log_mark``.
"""

import hashlib
import logging
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stowkenfs.errors import IndexDamaged
from stowkenfs.index.connection import read_index
from stowkenfs.index.log_mark import lost_of_log
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.opened import times_opened, why_not

log = logging.getLogger(__name__)

_NAME = re.compile(r"closed-([1-9][0-9]{0,17})-([0-9a-f]{32})")
_HASH_DIGITS = 32
_CHANGED = "it is damaged: it is not what it was when the vault was closed"
LOG_MARK = "index.db-synced"
DOUBT = "index.db-doubted"

COMPARED_FIRST_BYTES = 8 << 20
"""An index up to here is compared before it is opened: any disk has that in a tenth of a second."""


class ClosedMark:
    """The file of one vault that the caller has locked.

    ``forget`` and ``settle`` may be called in any thread. ``is_due``: whether the index is one
    that may be taken for right when it is closed. Guarded by ``_telling``: ``_damage``, what
    the thread ``_comparing`` found, and ``_refuse``, whom it tells.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._is_gone = False
        self._telling = threading.Lock()
        self._comparing: threading.Thread | None = None
        self._damage: IndexDamaged | None = None
        self._refuse: Callable[[IndexDamaged], None] = lambda _: None
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
        if (self._directory / DOUBT).exists():
            with suppress(OSError):  # of a medium that cannot be written
                (self._directory / DOUBT).unlink()
        self._check_log(index)

    def _check_log(self, index: Path) -> None:
        lost = lost_of_log(index)
        if lost is not None:
            raise IndexDamaged(index, lost)

    def begin_check(self) -> None:
        """As ``check``, of an index that is about to be opened; a large one is compared later.

        Then ``settle`` waits for it. Blocks.
        """
        index = self._directory / "index.db"
        is_small = not index.exists() or index.stat().st_size <= COMPARED_FIRST_BYTES
        if is_small or (self._directory / DOUBT).exists():
            self.check()
            return
        self._check_log(index)
        hashes = self._hashes()
        if hashes:
            self._comparing = threading.Thread(
                target=self._compare, args=(index, hashes), name="compare index", daemon=True
            )
            self._comparing.start()

    def _compare(self, index: Path, hashes: set[str]) -> None:
        try:
            damage = None if _hash(index) in hashes else IndexDamaged(index, _CHANGED)
        except OSError as error:
            damage = IndexDamaged(index, f"it cannot be read: {error.strerror}")
        if damage is None:
            return
        log.error("%s", damage)
        with suppress(OSError):  # a full disk: the next opening compares it beside, too
            (self._directory / DOUBT).touch(mode=0o600)
            sync_directory(self._directory)
        with self._telling:
            self._damage = damage
            self._refuse(damage)

    def tell(self, refuse: Callable[[IndexDamaged], None]) -> None:
        """Call ``refuse``, in any thread, should the index turn out to be damaged."""
        with self._telling:
            self._refuse = refuse
            if self._damage is not None:
                refuse(self._damage)

    def settle(self) -> None:
        """Return when the index is known to be right. Blocks. Raises IndexDamaged if it is not."""
        if self._comparing is not None:
            self._comparing.join()
        if self._damage is not None:
            raise self._damage

    def _reason(self, index: Path) -> str:
        with suppress(IndexDamaged, OSError, ValueError, TypeError):
            with read_index(index, "ro&immutable=1") as rows:  # which leaves it as it is
                reason = why_not(self._directory, dict(rows("SELECT name, value FROM setting")))
            if reason is not None:
                return reason
        return _CHANGED

    def carry(self) -> None:
        """The vault was opened, and counted: the file holds for this opening, too."""
        number = times_opened(self._directory)
        for path, _, digits in self._marks():
            path.rename(self._directory / f"closed-{number}-{digits}")

    def forget(self) -> None:
        """Before the database is written to; durable when this returns. Blocks.

        Raises IndexDamaged, and it is not to be written to.
        """
        self.settle()
        with self._lock:
            if not self._is_gone:
                forget_closed(self._directory)
                self._is_gone = True

    def write(self) -> None:
        """After closing: say what the index is, if all of it is in the database. Blocks."""
        index = self._directory / "index.db"
        wal = index.with_name("index.db-wal")
        if self._damage is not None or not self.is_due or (wal.exists() and wal.stat().st_size):
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
