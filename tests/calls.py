"""System calls as tests of mounts make them, among them some that Python does not have."""

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

NOW, OMIT = (1 << 30) - 1, (1 << 30) - 2
"""Nanoseconds that mean something else (utimensat(2))."""

_AT_FDCWD, _AT_SYMLINK_FOLLOW = -100, 0x400
_DIRENT_NAME_AT = 19
"""Where the name is in a struct dirent: behind number, position, length and type."""

_LIBC = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def fails_with(number: int) -> Iterator[None]:
    """Fail unless what is inside fails with this errno."""
    with pytest.raises(OSError) as failure:
        yield
    assert failure.value.errno == number, failure.value


@contextlib.contextmanager
def descriptor(path: Path, flags: int, mode: int = 0o644) -> Iterator[int]:
    """The file at ``path``, open while inside."""
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def set_times(path: Path, accessed: tuple[int, int], modified: tuple[int, int]) -> None:
    """utimensat(2): seconds and nanoseconds, which may be NOW or OMIT. Raises OSError."""
    times = (_Timespec * 2)(_Timespec(*accessed), _Timespec(*modified))
    if _LIBC.utimensat(_AT_FDCWD, os.fsencode(path), times, 0):
        raise OSError(ctypes.get_errno(), "utimensat", str(path))


def rename(old: Path, new: Path, flags: int) -> None:
    """renameat2(2). Raises OSError."""
    if _LIBC.renameat2(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), flags):
        raise OSError(ctypes.get_errno(), "renameat2", str(old))


def name_open_file(fd: int, path: Path) -> None:
    """A name for an open file, as linkat(2) shows it. Raises OSError."""
    source = b"/proc/self/fd/%d" % fd
    if _LIBC.linkat(_AT_FDCWD, source, _AT_FDCWD, os.fsencode(path), _AT_SYMLINK_FOLLOW):
        raise OSError(ctypes.get_errno(), "linkat", str(path))


class OpenDirectory:
    """readdir(3), telldir(3), seekdir(3) on one stream."""

    def __init__(self, path: Path) -> None:
        for name in ("opendir", "readdir"):
            getattr(_LIBC, name).restype = ctypes.c_void_p
        _LIBC.telldir.restype = ctypes.c_long
        self._stream = ctypes.c_void_p(_LIBC.opendir(os.fsencode(path)))
        assert self._stream, path

    def next(self) -> bytes | None:
        """The next name, or None behind the last."""
        entry = _LIBC.readdir(self._stream)
        return None if entry is None else ctypes.string_at(entry + _DIRENT_NAME_AT)

    def tell(self) -> int:
        return int(_LIBC.telldir(self._stream))

    def seek(self, position: int) -> None:
        _LIBC.seekdir(self._stream, ctypes.c_long(position))

    def close(self) -> None:
        _LIBC.closedir(self._stream)
