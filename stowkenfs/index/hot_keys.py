"""Keys of what was stored lately, for deduplication: a table for each kind of thing.

One statement takes many keys: sqlite3 gives up the GIL at each step, and may wait for it as
long as some thread computes.
"""

import json
from collections.abc import Sequence

from stowkenfs.index.connection import Connection

KEY_TABLES = ("record_key", "segment_key", "template_key")


class HotKeys:
    """``{key: number}`` in the tables KEY_TABLES. Event loop's thread; slice long lists.

    ``added``: how many rows were added since somebody set it to 0.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.added = 0

    def find(self, table: str, keys: Sequence[int]) -> dict[int, int]:
        """``{key: number}`` of those that are known."""
        assert table in KEY_TABLES
        sql = f"SELECT t.key, t.no FROM json_each(?) JOIN {table} AS t ON t.key = value"  # noqa: S608
        return dict(self._connection.all(sql, (json.dumps(list(keys)),)))

    def count(self, table: str, rows_max: int) -> int:
        """How many keys a table has, or ``rows_max`` if there are more."""
        assert table in KEY_TABLES
        row = self._connection.one(
            f"SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT ?)",  # noqa: S608
            (rows_max,),
        )
        return int(row[0]) if row else 0

    def add(self, table: str, rows: Sequence[tuple[int, int]]) -> None:
        """Remember ``(key, number)`` pairs; the first number of a key stays."""
        assert table in KEY_TABLES
        sql = (
            f"INSERT OR IGNORE INTO {table}"  # noqa: S608 - as above
            " SELECT value ->> 0, value ->> 1 FROM json_each(?)"
        )
        self._connection.execute(sql, (json.dumps(rows),))
        self.added += len(rows)

    def forget(self, table: str, below: int, rows: int) -> bool:
        """Remove up to ``rows`` keys of numbers below ``below``; whether there may be more."""
        assert table in KEY_TABLES
        cursor = self._connection.execute(
            f"DELETE FROM {table} WHERE key IN"  # noqa: S608
            f" (SELECT key FROM {table} WHERE no < ? LIMIT ?)",
            (below, rows),
        )
        return cursor.rowcount == rows
