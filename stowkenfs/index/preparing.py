"""A database made ready: its settings, and tables of this version."""

import sqlite3
from pathlib import Path

from stowkenfs.errors import IndexDamaged, UnknownFormat
from stowkenfs.index.schema import MIGRATIONS, SCHEMA, VERSION, stored

PAGE_BYTES = 1024
"""Each of two dozen tables and indexes has one at least: a small vault is mostly these."""
CHECKPOINT_BYTES = 16 << 20
"""WAL size at which it is copied back into the database, off the loop."""


def prepare(writer: sqlite3.Connection, path: Path | None, *, create: bool) -> None:
    """Make the tables where there are none, if there may be none."""
    writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    writer.execute("PRAGMA auto_vacuum = INCREMENTAL")  # of a new database; see shrink()
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA synchronous = NORMAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")  # checkpoint() does it, off the loop
    # All copied, a longer WAL is cut to this: its length says what is left to do.
    writer.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")
    (version,) = writer.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise UnknownFormat(version, VERSION)
    if version == 0 and not create:
        raise IndexDamaged(path, "it is empty")
    if version == 0:
        script = f"BEGIN; {stored(SCHEMA)} PRAGMA user_version = {VERSION}; COMMIT;"
        writer.executescript(script)
    for older in range(version, VERSION) if version else ():
        _migrate(writer, path, older)


def _migrate(writer: sqlite3.Connection, path: Path | None, older: int) -> None:
    """Bring the tables of version ``older`` to the next one."""
    if older not in MIGRATIONS:
        raise IndexDamaged(path, f"its version is {older}")
    script = f"BEGIN; {stored(MIGRATIONS[older])} PRAGMA user_version = {older + 1}; COMMIT;"
    try:
        writer.executescript(script)
    except sqlite3.OperationalError as error:
        primary = error.sqlite_errorcode & 0xFF
        if primary == sqlite3.SQLITE_ERROR:  # the tables are not those of that version
            raise IndexDamaged(path, str(error)) from error
        raise
