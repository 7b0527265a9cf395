"""Room for the index on a full disk: what is deleted has to be noted somewhere, too.

Two things see to it. The WAL, its index and the database have some blocks behind their ends,
so that neither a commit meets a full disk, nor the copying of the WAL. And a file of a fixed size,
the *reserve*, is given up when there is no room for even that, by those who make room: see
``giving_room``. Until there is room enough to make it again, nobody else gets any.
"""

import ctypes
import errno
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

log = logging.getLogger(__name__)

RESERVE = "reserve"
"""The file, in the vault's directory."""
RESERVE_BYTES = 384 << 10
LOG_ROOM_BYTES = 96 << 10
"""What the WAL has for one more transaction."""
DATABASE_ROOM_BYTES = 32 << 10
"""How much longer the database may become by it."""
PLENTY_BYTES = 256 << 20
"""Free on a disk that is not expected to be full when the vault is opened again."""
STEP_BYTES = 256 << 10
"""So much more is taken at once as long as the disk has it."""
PLENTY_STEP_BYTES = 4 << 20
"""So much of a disk that has plenty."""
ROW_BYTES = 6 << 10
"""What one row may take: pages of its table, its index, what notes it, and their parents."""

# Of the WAL-index (www.sqlite.org/walformat.html): bytes in a page, frames in the WAL, pages
# of the database as of the last of them.
_ABOUT = struct.Struct("=HII")
_ABOUT_AT = 14
_ABOUT_PART_BYTES, _ABOUT_PART_FRAMES = 32 << 10, 4096
_LOG_HEADER_BYTES = 32
_FRAME_HEADER_BYTES = 24

RETRY_SECONDS = 0.05

FULL = (errno.ENOSPC, errno.EDQUOT)
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE, of <linux/falloc.h>

_gives_room: ContextVar[bool] = ContextVar("gives_room", default=False)


@contextmanager
def giving_room() -> Iterator[None]:
    """What this task commits inside makes room, and may use the reserve for that."""
    token = _gives_room.set(True)
    try:
        yield
    finally:
        _gives_room.reset(token)


class Reserve:
    """A file that takes up room until that is needed. Event loop's thread, and before it runs.

    ``is_held``: whether it is there, or cannot be for another reason than a full disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._again = 0.0
        self.is_held = self._is_whole()

    def _is_whole(self) -> bool:
        try:
            return self._path.stat().st_blocks * 512 >= RESERVE_BYTES
        except OSError:
            return False

    def make(self) -> bool:
        """Take the room, if there is twice as much; whether it is held now."""
        if self.is_held or time.monotonic() < self._again:
            return self.is_held
        self.is_held = self._take(2 * RESERVE_BYTES)
        self._again = time.monotonic() + RETRY_SECONDS
        return self.is_held

    def settle(self) -> None:
        """When the vault is closed: take what there is of a disk that is nearly full.

        On one that is not, nothing need be taken for the next opening.
        """
        if free_bytes(self._path.parent) >= PLENTY_BYTES:
            self.release()
        elif not self.is_held:
            self.is_held = any(self._take(RESERVE_BYTES * part // 16) for part in range(16, 0, -1))

    def _take(self, size: int) -> bool:
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, size)
                os.ftruncate(fd, min(size, RESERVE_BYTES))
            finally:
                os.close(fd)
        except OSError as error:
            with suppress(OSError):
                self._path.unlink()
            return error.errno not in FULL
        return True

    def release(self) -> bool:
        """Give the room up; whether there was any."""
        try:
            blocks = self._path.stat().st_blocks
            self._path.unlink()
        except FileNotFoundError:
            self.is_held = False
            return False
        except OSError:
            return False
        self.is_held = False
        return blocks > 0


class IndexRoom:
    """Blocks of the disk that the next changes of an index need. Event loop's thread.

    The WAL is where they go first, the database where all of it goes in the end. ``_log_end``
    and ``_database_end``: up to which byte there are blocks. ``copy_log`` says
    whether the WAL will be written from its start again.
    """

    def __init__(self, path: Path, reserve: Reserve, copy_log: Callable[[], bool]) -> None:
        self._reserve = reserve
        self._copy_log = copy_log
        self._log_end = self._database_end = 0
        self._position = self._pages = self._page_bytes = 0
        # Closing one of these would end SQLite's locks on the file: it is done at the end.
        self._files = [
            os.open(f"{path}{suffix}", flags | os.O_CLOEXEC)
            for suffix, flags in (("", os.O_RDWR), ("-wal", os.O_RDWR), ("-shm", os.O_RDWR))
        ]
        self._database, self._log, self._about = self._files

    def close(self) -> None:
        """Give back what was taken ahead; SQLite has closed its files."""
        with suppress(OSError):
            os.ftruncate(self._database, os.fstat(self._database).st_size)
        while self._files:
            os.close(self._files.pop())

    def forget(self) -> None:
        """The files were cut, and what was behind their ends with it."""
        self._log_end = self._database_end = 0

    @property
    def is_short(self) -> bool:
        """Whether the reserve is in use."""
        return not self._reserve.is_held

    def require(self) -> None:
        """Raise OSError (ENOSPC) while room is only for those who make some."""
        if not self._reserve.is_held and not _gives_room.get() and not self._reserve.make():
            raise full()

    def ensure(self) -> None:
        """See to it that a transaction can be committed. Raises OSError (ENOSPC)."""
        self.require()
        if self._is_enough():
            return
        scarce = free_bytes(self._log) < PLENTY_BYTES  # else the reserve was just not made yet
        if self.is_short and scarce and self._copy_log():
            self._position = 0  # of the next transaction, which so leaves others their room
        if self._take():
            return
        if not _gives_room.get():
            raise full()
        if self._reserve.release():
            log.warning("the disk is full: the reserve is used, so that files can be deleted")
        if self._copy_log():
            self._position = 0
        self._take()

    def rows_possible(self, wanted: int) -> int:
        """See to a transaction, and of how many rows more it may be: up to ``wanted``, or 0.

        Raises OSError (ENOSPC).
        """
        self.ensure()
        if self._rows() < wanted and not self.is_short:
            self._take()
        return max(min(wanted, self._rows()), 0)

    def _rows(self) -> int:
        log = self._log_end - self._position - LOG_ROOM_BYTES
        database = self._database_end - self._pages * self._page_bytes - DATABASE_ROOM_BYTES
        return min(log, database) // ROW_BYTES

    def _is_enough(self) -> bool:
        """Whether there are blocks for one more transaction, as far as is known."""
        page, frames, pages = _ABOUT.unpack(os.pread(self._about, _ABOUT.size, _ABOUT_AT))
        position = _LOG_HEADER_BYTES + frames * (page + _FRAME_HEADER_BYTES)
        if position < self._position or pages < self._pages:  # written from the start; or cut
            self.forget()
        self._position, self._pages, self._page_bytes = position, pages, page
        return bool(
            position + LOG_ROOM_BYTES <= self._log_end
            and pages * page + DATABASE_ROOM_BYTES <= self._database_end
        )

    def _take(self) -> bool:
        """Whether there is room for a transaction now, which is taken where that can be."""
        # A disk that is nearly full would give what it has, and refuse the rest.
        free = free_bytes(self._log)
        ahead = STEP_BYTES if free >= 8 * STEP_BYTES else 0
        if free >= PLENTY_BYTES:
            ahead = PLENTY_STEP_BYTES
        log_end = max(self._position + LOG_ROOM_BYTES + ahead, os.fstat(self._log).st_size)
        database_end = self._pages * self._page_bytes + DATABASE_ROOM_BYTES + ahead
        about_end = _about_bytes(log_end // (self._page_bytes + _FRAME_HEADER_BYTES))
        ends = (self._log, log_end), (self._database, database_end), (self._about, about_end)
        codes = {_allocate(*end) for end in ends}
        if not codes.isdisjoint(FULL):
            return False
        if codes != {0}:  # a filesystem on which nothing can be taken ahead
            return free_bytes(self._log) >= LOG_ROOM_BYTES + DATABASE_ROOM_BYTES
        self._log_end, self._database_end = log_end, database_end
        return True


def full() -> OSError:
    """The error of a disk that has no room."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _about_bytes(frames: int) -> int:
    """The length of the WAL-index for so many frames; it grows by one part before they need it."""
    return (frames // _ABOUT_PART_FRAMES + 2) * _ABOUT_PART_BYTES


def free_bytes(where: int | Path) -> int:
    """Room for anybody on the disk that a path or descriptor is on, in bytes."""
    about = os.statvfs(where)
    return about.f_bavail * about.f_frsize


def _allocate(fd: int, end: int) -> int:
    """Let a file have blocks up to ``end``, but no other length; the errno, or 0."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        code = libc.fallocate(fd, _KEEP_SIZE, ctypes.c_int64(0), ctypes.c_int64(end))
    except (OSError, AttributeError):  # another C library
        return errno.ENOSYS
    return ctypes.get_errno() if code else 0
