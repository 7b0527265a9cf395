"""Packs as files of one directory."""

import errno
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from stowkenfs.ids import PackNo

OPEN_FILES_MAX = 64


class LocalStore:
    """``packs/NNNNNNNN.pack`` under a directory of the vault.

    Constant after construction: ``_directory``.
    Guarded by ``_lock``: ``_files`` (at most OPEN_FILES_MAX), ``_new``.
    """

    def __init__(self, directory: Path, *, read_only: bool = False) -> None:
        self._directory = directory
        self._read_only = read_only
        self._lock = threading.Lock()
        self._files: OrderedDict[PackNo, int] = OrderedDict()  # {pack: file descriptor}
        self._new: set[PackNo] = set()  # created, their names not yet synced
        if not read_only:
            directory.mkdir(mode=0o700, exist_ok=True)

    def _path(self, pack: PackNo) -> Path:
        return self._directory / f"{pack:08d}.pack"

    def _open(self, pack: PackNo, *, create: bool) -> int:
        """A descriptor for ``pack``; the caller holds the lock."""
        found = self._files.get(pack)
        if found is not None:
            self._files.move_to_end(pack)
            return found
        path = self._path(pack)
        flags = os.O_RDONLY if self._read_only else os.O_RDWR
        try:
            fd = private(path, flags)
        except FileNotFoundError:
            if not create:
                raise
            fd = private(path, flags | os.O_CREAT | os.O_EXCL)
        # Even one that exists may be from a process that died before it synced the name.
        self._new.add(pack)
        self._files[pack] = fd
        while len(self._files) > OPEN_FILES_MAX:
            os.close(self._files.popitem(last=False)[1])
        return fd

    def write(self, pack: PackNo, offset_bytes: int, content: bytes) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        with self._lock:
            fd = os.dup(self._open(pack, create=True))
        try:
            view = memoryview(content)
            while view:
                written = os.pwrite(fd, view, offset_bytes)
                view = view[written:]
                offset_bytes += written
        finally:
            os.close(fd)

    def read(self, pack: PackNo, offset_bytes: int, length_bytes: int) -> bytes:
        with self._lock:
            try:
                fd = os.dup(self._open(pack, create=False))
            except FileNotFoundError:
                return b""
        # The descriptor is a duplicate, so that eviction by another thread cannot close it.
        try:
            return os.pread(fd, length_bytes, offset_bytes)
        except OSError as error:
            raise _with_place(
                error, pack, f"reading {length_bytes} bytes at {offset_bytes}"
            ) from error
        finally:
            os.close(fd)

    def sync(self, pack: PackNo) -> None:
        with self._lock:
            fd = os.dup(self._open(pack, create=True))
            is_new = pack in self._new
        try:
            os.fdatasync(fd)
        except OSError as error:
            raise _with_place(error, pack, "a sync") from error
        finally:
            os.close(fd)
        if is_new:
            sync_directory(self._directory)
            with self._lock:
                self._new.discard(pack)

    def truncate(self, pack: PackNo, length_bytes: int) -> None:
        with self._lock:
            os.ftruncate(self._open(pack, create=False), length_bytes)

    def remove(self, pack: PackNo) -> None:
        with self._lock:
            fd = self._files.pop(pack, None)
            if fd is not None:
                os.close(fd)
            self._new.discard(pack)
            self._path(pack).unlink(missing_ok=True)

    def packs(self) -> Iterator[tuple[PackNo, int]]:
        found = []
        for path in self._directory.glob("*.pack"):
            pack = PackNo(int(path.stem)) if path.stem.isdecimal() else PackNo(0)
            if path == self._path(pack):
                found.append((pack, path.stat().st_size))
        yield from sorted(found)

    def close(self) -> None:
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])


def _with_place(error: OSError, pack: PackNo, what: str) -> OSError:
    """The error of a disk, with what it was about."""
    return OSError(error.errno, f"pack {pack}: {what} failed: {error.strerror}")


def private(path: str | Path, flags: int) -> int:
    """Open a file of a vault: one that is made only its owner may read, and no link is followed.

    Takes what an ``opener`` of ``open`` takes.
    """
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` survive a power cut."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
