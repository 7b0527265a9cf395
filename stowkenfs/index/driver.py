"""The SQLite driver without a vault: its errors as the layers above know them, and a look."""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from stowkenfs.errors import IndexDamaged
from stowkenfs.index.scanner import Row

_OUT_OF_SPACE = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def as_known_error(error: sqlite3.DatabaseError, path: Path | None) -> Exception:
    """A full disk or a failing one is an OSError to everybody above."""
    primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if primary in _OUT_OF_SPACE:
        return OSError(_OUT_OF_SPACE[primary], f"index: {error}")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return OSError(errno.EIO, f"index: {error} ({error.sqlite_errorname})")
    if primary in _DAMAGED or str(error).startswith("Could not decode"):  # text that is none
        return IndexDamaged(path, str(error))
    return error


def sync_name(path: Path) -> None:
    """Make the name of a file survive a power cut. Blocks. Raises OSError."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


@contextmanager
def read_index(path: Path, mode: str = "rw") -> Iterator[Callable[[str], list[Row]]]:
    """Queries on an index that nobody has open. Blocks. Raises IndexDamaged, and OSError."""
    address = f"{path.resolve().as_uri()}?mode={mode}"
    try:
        with closing(sqlite3.connect(address, uri=True)) as connection:
            yield lambda sql: connection.execute(sql).fetchall()
    except sqlite3.DatabaseError as error:
        known = as_known_error(error, path)
        raise IndexDamaged(path, str(error)) if known is error else known from error
