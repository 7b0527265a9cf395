"""Where things lie: blocks, packs, keys for deduplication, extents of documents."""

import json
import threading
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.connection import Connection

LOCATED_BLOCKS_MAX = 16384
KEY_TABLES = ("record_key", "segment_key", "template_key")


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """A row of ``block``: things ``first`` to ``first + count - 1`` of a kind, in a pack."""

    kind: int
    first: int
    count: int
    pack: PackNo
    offset_bytes: int
    stored_bytes: int
    raw_bytes: int
    content_bytes: int


@dataclass(frozen=True, slots=True)
class Extent:
    """``length`` bytes of a document from ``start``: consecutive records from ``record``."""

    start: int
    length: int
    record: int
    count: int

    @property
    def end(self) -> int:
        return self.start + self.length


class Catalogue:
    """Queries on blocks, keys and extents.

    Guarded by ``_lock``: ``_firsts`` and ``_places``, a cache of at most LOCATED_BLOCKS_MAX rows.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._firsts: defaultdict[int, list[int]] = defaultdict(list)  # {kind: sorted firsts}
        self._places: dict[tuple[int, int], BlockPlace] = {}  # {(kind, first): place}

    # Blocks and packs

    def locate(self, kind: int, number: int) -> BlockPlace | None:
        """The block that holds ``number``, or None. Any thread."""
        with self._lock:
            firsts = self._firsts[kind]
            at = bisect_right(firsts, number)
            if at:
                place = self._places[kind, firsts[at - 1]]
                if number < place.first + place.count:
                    return place
        row = self._connection.read_one(
            "SELECT kind, first, count, pack, offset, stored, raw, content FROM block"
            " WHERE kind = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            (kind, number),
        )
        if row is None:
            return None
        place = BlockPlace(*row)
        if number >= place.first + place.count:
            return None
        with self._lock:
            if len(self._places) >= LOCATED_BLOCKS_MAX:
                self._places.clear()
                self._firsts.clear()
            if (kind, place.first) not in self._places:
                self._places[kind, place.first] = place
                insort(self._firsts[kind], place.first)
        return place

    def next_number(self, kind: int) -> int:
        """One past the last number of ``kind``."""
        row = self._connection.one(
            "SELECT first + count FROM block WHERE kind = ? ORDER BY first DESC LIMIT 1", (kind,)
        )
        return int(row[0]) if row else 0

    def last_pack(self) -> tuple[PackNo, int]:
        """Number and committed length of the pack being filled; (0, 0) in a new vault."""
        row = self._connection.one("SELECT pack, length FROM pack ORDER BY pack DESC LIMIT 1")
        return (PackNo(row[0]), int(row[1])) if row else (PackNo(0), 0)

    def add_blocks(self, places: Sequence[BlockPlace], pack_lengths: dict[PackNo, int]) -> None:
        """Make written and synced blocks findable."""
        with self._connection.transaction():
            self._connection.execute_many(
                "INSERT INTO block (kind, first, count, pack, offset, stored, raw, content)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.kind, p.first, p.count, p.pack, p.offset_bytes, p.stored_bytes,
                     p.raw_bytes, p.content_bytes)
                    for p in places
                ],
            )  # fmt: skip
            self._connection.execute_many(
                "INSERT OR REPLACE INTO pack VALUES (?, ?)", list(pack_lengths.items())
            )

    def count_frames(self, frames: dict[int, tuple[int, int]]) -> None:
        """Add ``{kind: (frames, bytes)}`` to the totals."""
        self._connection.execute_many(
            "INSERT INTO frame_kind VALUES (?, ?, ?) ON CONFLICT (kind) DO UPDATE"
            " SET frames = frames + excluded.frames, bytes = bytes + excluded.bytes",
            [(kind, count, size) for kind, (count, size) in frames.items()],
        )

    # Keys

    # One statement for many keys: sqlite3 gives up the GIL at each step, and may wait for it
    # as long as some thread computes.

    def find_keys(self, table: str, keys: Sequence[int]) -> dict[int, int]:
        """``{key: number}`` of those that are known. Event loop's thread; slice long lists."""
        assert table in KEY_TABLES
        sql = f"SELECT t.key, t.no FROM json_each(?) JOIN {table} AS t ON t.key = value"  # noqa: S608
        return dict(self._connection.all(sql, (json.dumps(list(keys)),)))

    def add_keys(self, table: str, rows: Sequence[tuple[int, int]]) -> None:
        """Remember ``(key, number)`` pairs; the first number of a key stays."""
        assert table in KEY_TABLES
        sql = (
            f"INSERT OR IGNORE INTO {table}"  # noqa: S608 - as above
            " SELECT value ->> 0, value ->> 1 FROM json_each(?)"
        )
        self._connection.execute(sql, (json.dumps(rows),))

    # Extents

    def extents(self, ino: InodeNo, start: int, end: int) -> list[Extent]:
        """Extents of ``ino`` that touch bytes ``start`` to ``end``, in order."""
        rows = self._connection.all(
            "SELECT start, length, record, count FROM extent WHERE ino = ? AND start < ?"
            " AND start >= ifnull((SELECT max(start) FROM extent WHERE ino = ? AND start <= ?), 0)"
            " AND start + length > ? ORDER BY start",
            (ino, end, ino, start, start),
        )
        return [Extent(*row) for row in rows]

    def replace_extents(
        self, ino: InodeNo, start: int, end: int, extents: Sequence[Extent]
    ) -> None:
        """Put ``extents`` in place of those between ``start`` and ``end``."""
        with self._connection.transaction():
            self._connection.execute(
                "DELETE FROM extent WHERE ino = ? AND start >= ? AND start < ?", (ino, start, end)
            )
            self._connection.execute_many(
                "INSERT INTO extent VALUES (?, ?, ?, ?, ?)",
                [(ino, e.start, e.length, e.record, e.count) for e in extents],
            )

    def cut_extents(self, ino: InodeNo, size: int) -> None:
        """Forget what lies at and beyond byte ``size``."""
        with self._connection.transaction():
            straddling = self.extents(ino, max(size - 1, 0), size) if size else []
            self._connection.execute("DELETE FROM extent WHERE ino = ? AND start >= ?", (ino, size))
            for extent in straddling:
                if extent.end > size:
                    self._connection.execute(
                        "UPDATE extent SET length = ? WHERE ino = ? AND start = ?",
                        (size - extent.start, ino, extent.start),
                    )
