"""Holes of files that may be none: what filled them was told in a place that is lost.

Reading them fails then, instead of giving zeros that nobody wrote: they get an extent of a
record that is in no block.
"""

import stat
from collections.abc import Iterator

from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.vault.reindex.recovered import Taken

FILES_AT_ONCE = 200
FILE_TYPE = 0o170000  # S_IFMT of <sys/stat.h>


class Holes:
    """Which inodes were told in part behind a gap. The thread's that rebuilds.

    Nothing is noted before the first gap. ``is_all``: whether all extents were told since.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._has_gap = False

    def note_gap(self) -> None:
        """Some statements are lost: what was told of them before holds as of then."""
        if not self._has_gap:
            self._connection.execute("CREATE TEMP TABLE told (ino INTEGER PRIMARY KEY, is_all)")
        self._has_gap = True
        self._connection.execute("DELETE FROM told WHERE is_all")

    def note(self, ino: InodeNo, *, is_all: bool) -> None:
        """An inode was told of, with all of its extents or not."""
        if self._has_gap:
            clause = "REPLACE" if is_all else "IGNORE"
            self._connection.execute(f"INSERT OR {clause} INTO told VALUES (?, ?)", (ino, is_all))  # noqa: S608

    def doubt(self, record: int) -> bool:
        """Let holes of what was told in part refer to ``record``; whether there are any."""
        if not self._has_gap:
            return False
        rows = "SELECT inode.ino, size FROM told JOIN inode USING (ino) WHERE NOT is_all"
        found = _doubt(self._connection, rows, record)
        self._connection.execute("DROP TABLE told")
        self._has_gap = False
        return found


def cut_ends(connection: Connection, taken: Taken) -> None:
    """Let files end where what is stored of them does, if the rest was in a draft that is lost.

    Those of which a draft was ``taken``; and any that a spool was long enough for. They are
    what they were at some time then, and no zeros are made up.
    """
    if not (taken.inodes or taken.spool_bytes):
        return
    for ino, size in _files(connection, "SELECT ino, size FROM inode WHERE true"):
        holes = _holes(connection, ino, size)
        start, end = holes[-1] if holes else (size, size)
        if end == size and end - start <= (size if ino in taken.inodes else taken.spool_bytes):
            connection.execute("UPDATE inode SET size = ? WHERE ino = ?", (start, ino))


def _doubt(connection: Connection, rows: str, record: int) -> bool:
    found = False
    for ino, size in _files(connection, rows):
        holes = _holes(connection, ino, size)
        connection.execute_many(
            "INSERT INTO extent VALUES (?, ?, ?, ?, 1)",
            [(ino, start, end - start, record) for start, end in holes],
        )
        if holes:
            found = True
            connection.execute(
                "INSERT OR REPLACE INTO dirty_inode (ino, extents_from) VALUES (?, 0)", (ino,)
            )
    return found


def _files(connection: Connection, rows: str) -> Iterator[tuple[int, int]]:
    """Inode and size of files, some at a time."""
    at = -1
    while some := connection.all(
        f"{rows} AND inode.ino > ? AND mode & ? = ? AND size > 0 ORDER BY inode.ino LIMIT ?",
        (at, FILE_TYPE, stat.S_IFREG, FILES_AT_ONCE),
    ):
        yield from some
        at = some[-1][0]


def _holes(connection: Connection, ino: int, size: int) -> list[tuple[int, int]]:
    """Ranges of a file, from and to, that no extent and no draft has."""
    covered = connection.all("SELECT start, start + length FROM extent WHERE ino = ?", (ino,))
    covered += connection.all(
        "SELECT start, start + ifnull(length, ?) FROM draft_region WHERE ino = ?", (size, ino)
    )
    holes, end = [], 0
    for start, until in sorted(covered):
        if start > end:
            holes.append((end, min(start, size)))
        end = max(end, until)
    if end < size:
        holes.append((end, size))
    return [hole for hole in holes if hole[0] < hole[1]]
