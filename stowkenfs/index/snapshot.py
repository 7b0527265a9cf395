"""An index as it is at one moment, for work that takes long."""

from stowkenfs.index.connection import Connection
from stowkenfs.index.pending import PendingRows
from stowkenfs.index.told import Told


class Snapshot(Connection):
    """The committed rows of another connection's database as they are now, to be read only.

    One thread's at a time. While it is there the WAL cannot start anew. One of a database in
    memory has what is committed later, too.
    """

    def __init__(self, of: Connection) -> None:
        of.flush()
        self._path, self._address = of._path, of._address  # noqa: SLF001 - of its own kind
        self.pending = PendingRows()
        self._journal = None
        self._room = None
        self._changing = self._beside = self._builds_upon = False
        self._depth = 0
        self._told = Told()
        self._wal_fd = None
        with self._translated():
            self._writer = self._reader = self._connect()
            self._writer.execute("PRAGMA query_only = ON")
            if self._path is not None:
                self._writer.execute("BEGIN")
                self._writer.execute("SELECT 1 FROM setting").fetchone()

    def close(self) -> None:
        self._writer.close()
