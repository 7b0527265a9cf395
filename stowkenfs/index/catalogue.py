"""Where things lie: blocks, packs, keys for deduplication, extents of documents."""

import threading
from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.extents import ExtentTable
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.hot_keys import HotKeys
from stowkenfs.index.rows import Extent

__all__ = ["BLOCK_COLUMNS", "BlockPlace", "Catalogue", "Extent"]

LOCATED_BLOCKS_MAX = 16384
_LOCATING = {
    "block": "kind, first",
    "key_block": "thing, run, low",
    "frozen_inode": "first",
    "frozen_name": "parent, name",
}
"""Tables that say where blocks lie, and their primary keys."""

BLOCK_COLUMNS = "kind, first, count, pack, offset, stored, raw, content, skip, layout, base, brings"
"""Of the table ``block``, in the order of BlockPlace."""


@dataclass(frozen=True, slots=True)
class BlockPlace:
    """A row of ``block``: things ``first`` to ``first + count - 1`` of a kind, in a pack.

    They are the block's things from position ``skip`` on. ``base``: number in the block, of
    the same kind, that is needed to unpack this one. ``brings_bytes``: share in stored bytes
    of what the block's records were the first to refer to.
    """

    kind: int
    first: int
    count: int
    pack: PackNo
    offset_bytes: int
    stored_bytes: int
    raw_bytes: int
    content_bytes: int
    skip: int = 0
    layout: int = 0
    base: int | None = None
    brings_bytes: int = 0


RECORDS = 1
"""The kind of block that leads to all others."""

COLLECTED = "collected"
"""A setting: since it was set no record went, and all that nothing referred to was gone."""


def _kept_name(kind: int) -> str:
    return f"next_{kind}"


class Catalogue:
    """Queries on blocks, keys and extents.

    Guarded by ``_lock``: ``_firsts`` and ``_places``, a cache of at most LOCATED_BLOCKS_MAX rows.
    Event loop's thread: ``_next_numbers``, ``_last_pack``. Numbers taken by what was never
    committed are given out again by the next opening only. Those of blocks that were dropped
    are never given out again: what was dropped may lie in its pack for long.
    """

    def __init__(self, connection: Connection, frozen: FrozenTree | None = None) -> None:
        self._connection = connection
        self._extents = ExtentTable(connection, frozen or FrozenTree(connection))
        self.keys = HotKeys(connection)
        self._lock = threading.Lock()
        self._firsts: defaultdict[int, list[int]] = defaultdict(list)  # {kind: sorted firsts}
        self._places: dict[tuple[int, int], BlockPlace] = {}  # {(kind, first): place}
        self._version = 0  # grows when places change
        self._next_numbers: dict[int, int] = {}  # {kind: one past the last that is taken}
        self._kept_packs: frozenset[PackNo] = frozenset()
        self._last_pack = 0  # the highest given out or dropped in this process

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
            version = self._version
        row = self._connection.read_one(
            f"SELECT {BLOCK_COLUMNS} FROM block"  # noqa: S608
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
            if version == self._version and (kind, place.first) not in self._places:
                self._places[kind, place.first] = place
                insort(self._firsts[kind], place.first)
        return place

    def next_number(self, kind: int) -> int:
        """One past the last number of ``kind`` that is taken."""
        found = self._next_numbers.get(kind)
        if found is None:
            row = self._connection.one(
                "SELECT max(ifnull((SELECT first + count FROM block WHERE kind = ?1"
                " ORDER BY first DESC LIMIT 1), 0),"
                " ifnull((SELECT value FROM setting WHERE name = ?2), 0))",
                (kind, _kept_name(kind)),
            )
            found = self._next_numbers[kind] = int(row[0]) if row else 0
        return found

    def keep_number(self, kind: int) -> None:
        """Let the next opening, too, give out no number of ``kind`` that is taken by now."""
        self._connection.execute(
            "INSERT INTO setting VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)",
            (_kept_name(kind), self.next_number(kind)),
        )

    def reserve(self, kind: int, count: int) -> int:
        """The first of ``count`` numbers of ``kind`` that nobody else gets."""
        first = self.next_number(kind)
        self._next_numbers[kind] = first + count
        return first

    def open_pack(self, tier: int) -> tuple[PackNo, int]:
        """Number and committed length of the pack of a tier that is being filled."""
        row = self._connection.one(
            "SELECT pack, length FROM pack WHERE tier = ? ORDER BY pack DESC LIMIT 1", (tier,)
        )
        if row is None or row[0] in self._kept_packs:
            return PackNo(0), 0
        return PackNo(row[0]), int(row[1])

    def keep_packs(self, packs: Collection[PackNo], last: PackNo) -> None:
        """Append to none of ``packs``, nor to any up to ``last`` that has no row."""
        self._kept_packs = frozenset(packs)
        self._last_pack = max(self._last_pack, last)

    def new_pack(self) -> PackNo:
        """A number above those of all packs."""
        row = self._connection.one("SELECT max(pack) FROM pack")
        self._last_pack = max(self._last_pack, (row and row[0]) or 0) + 1
        return PackNo(self._last_pack)

    def packs(self) -> dict[PackNo, int]:
        """Committed length in bytes of each pack."""
        rows = self._connection.all("SELECT pack, length FROM pack")
        return {PackNo(pack): length for pack, length in rows}

    def add_blocks(
        self, places: Sequence[BlockPlace], pack_lengths: dict[PackNo, int], tier: int = 0
    ) -> None:
        """Make written and synced blocks findable."""
        with self._connection.transaction():
            self._connection.execute_many(
                f"INSERT INTO block ({BLOCK_COLUMNS})"  # noqa: S608
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (p.kind, p.first, p.count, p.pack, p.offset_bytes, p.stored_bytes,
                     p.raw_bytes, p.content_bytes, p.skip, p.layout, p.base, p.brings_bytes)
                    for p in places
                ],
            )  # fmt: skip
            self.commit_packs(pack_lengths, tier)
        for place in places:
            end = place.first + place.count
            if end > self.next_number(place.kind):
                self._next_numbers[place.kind] = end

    def commit_packs(self, lengths: dict[PackNo, int], tier: int) -> None:
        """Let the first bytes of packs count."""
        self._connection.execute_many(
            "INSERT OR REPLACE INTO pack VALUES (?, ?, ?)",
            [(pack, length, tier) for pack, length in lengths.items()],
        )

    # What compaction asks

    def is_hot(self, kind: int, first: int, end: int) -> bool:
        """Whether a block that is not dense holds any of the numbers ``first`` to ``end`` - 1."""
        rows = self._connection.all(
            "SELECT layout, first + count FROM block WHERE kind = ? AND first < ?"
            " AND first >= ifnull((SELECT max(first) FROM block WHERE kind = ? AND first <= ?), 0)",
            (kind, end, kind, first),
        )
        return any(layout != 1 and stop > first for layout, stop in rows)

    def hot_ranges(self, kind: int, start: int = 0) -> list[tuple[int, int]]:
        """First number and the one past the last of each row of a kind that is not dense.

        Of rows that begin at ``start`` or behind it.
        """
        return self._connection.all(
            "SELECT first, first + count FROM block WHERE kind = ? AND first >= ? AND layout != 1",
            (kind, start),
        )

    def hot_ranges_page(self, kind: int, start: int, end: int, rows: int) -> list[tuple[int, int]]:
        """Up to ``rows`` of them that begin at ``start`` or behind, before ``end``. Any thread."""
        return self._connection.read_all(
            "SELECT first, first + count FROM block"
            " WHERE kind = ? AND first >= ? AND first < ? AND layout != 1 ORDER BY first LIMIT ?",
            (kind, start, end, rows),
        )

    def places(self, kind: int) -> list[BlockPlace]:
        """All rows of a kind of which there are few, by number. Any thread."""
        rows = self._connection.read_all(
            f"SELECT {BLOCK_COLUMNS} FROM block WHERE kind = ? ORDER BY first",  # noqa: S608
            (kind,),
        )
        return [BlockPlace(*row) for row in rows]

    def hot_places(self, kind: int, after: int, rows: int) -> list[BlockPlace]:
        """Up to ``rows`` rows of a kind that are not dense, behind number ``after``. Any thread."""
        found = self._connection.read_all(
            f"SELECT {BLOCK_COLUMNS} FROM block"  # noqa: S608
            " WHERE kind = ? AND first > ? AND layout != 1 ORDER BY first LIMIT ?",
            (kind, after, rows),
        )
        return [BlockPlace(*row) for row in found]

    def dense_below(self, kind: int, raw_bytes: int) -> list[BlockPlace]:
        """Rows of compacted blocks of a kind whose payload is shorter than ``raw_bytes``."""
        rows = self._connection.all(
            f"SELECT {BLOCK_COLUMNS} FROM block WHERE kind = ? AND layout = 1 AND raw < ?",  # noqa: S608
            (kind, raw_bytes),
        )
        return [BlockPlace(*row) for row in rows]

    def dense_from(self, kind: int, number: int) -> list[BlockPlace]:
        """Rows of compacted blocks of a kind that begin at ``number`` or above."""
        rows = self._connection.all(
            f"SELECT {BLOCK_COLUMNS} FROM block WHERE kind = ? AND first >= ? AND layout = 1",  # noqa: S608
            (kind, number),
        )
        return [BlockPlace(*row) for row in rows]

    def unfinished(self) -> dict[int, int] | None:
        """What ``set_unfinished`` was told last."""
        rows = self._connection.all(
            "SELECT name, value FROM setting WHERE name LIKE 'compacting %'"
        )
        return {int(name.split()[1]): value for name, value in rows} or None

    def set_unfinished(self, since: dict[int, int] | None) -> None:
        """Remember, or forget with None, the first numbers of a compaction, ``{kind: number}``."""
        with self._connection.transaction():
            self._connection.execute("DELETE FROM setting WHERE name LIKE 'compacting %'")
            self._connection.execute_many(
                "INSERT INTO setting VALUES (?, ?)",
                [(f"compacting {kind}", number) for kind, number in (since or {}).items()],
            )

    def bases(self, kind: int) -> set[int]:
        """Numbers by which blocks of a kind are referred to as bases."""
        rows = self._connection.all(
            "SELECT DISTINCT base FROM block WHERE kind = ? AND base IS NOT NULL", (kind,)
        )
        return {number for (number,) in rows}

    def newest(self, kind: int, rows: int) -> list[int]:
        """The highest numbers of a kind, up to ``rows``. Any thread."""
        found = self._connection.read_all(
            "SELECT first, count FROM block WHERE kind = ? ORDER BY first DESC LIMIT ?",
            (kind, rows),
        )
        numbers = [first + at for first, count in found for at in reversed(range(count))]
        return numbers[:rows]

    def stored_bytes(self) -> int:
        """Length of all blocks of numbered things, with their headers."""
        row = self._connection.one("SELECT ifnull(sum(stored), 0) FROM block WHERE skip = 0")
        return int(row[0]) if row else 0

    def hot_content_bytes(self) -> int:
        """Bytes of documents that the records stand for that are not dense, each once."""
        row = self._connection.one("SELECT ifnull(sum(content), 0) FROM block WHERE layout != 1")
        return int(row[0]) if row else 0

    def drop_blocks(self, kind: int, firsts: Sequence[int]) -> None:
        """Let nobody find these blocks any more."""
        self.keep_number(kind)
        if kind == RECORDS:
            self.set_setting(COLLECTED, None)
        self._connection.execute_many(
            "DELETE FROM block WHERE kind = ? AND first = ?", [(kind, first) for first in firsts]
        )
        self.refresh()

    def move_blocks(self, pack: PackNo, moved: Mapping[int, BlockPlace]) -> None:
        """Blocks of a pack lie elsewhere now: ``{offset in bytes: place}``.

        Their rows are looked for once, since no index leads from a place to them.
        """
        for table, key in _LOCATING.items():
            rows = self._connection.all(
                f"SELECT {key}, offset FROM {table} WHERE pack = ?",  # noqa: S608
                (pack,),
            )
            marks = ", ".join("?" * (key.count(",") + 1))
            self._connection.execute_many(
                f"UPDATE {table} SET pack = ?, offset = ? WHERE ({key}) = ({marks})",  # noqa: S608
                [
                    (moved[offset].pack, moved[offset].offset_bytes, *found)
                    for *found, offset in rows
                    if offset in moved
                ],
            )
        self.refresh()

    def live_blocks(self, pack: PackNo) -> list[tuple[int, int]]:
        """Offset and length in bytes of each block of a pack that something refers to."""
        tables = ("block", "key_block", "frozen_inode", "frozen_name")
        query = " UNION ".join(
            f"SELECT offset, stored FROM {table} WHERE pack = ?1"  # noqa: S608
            for table in tables
        )
        return self._connection.all(f"{query} ORDER BY offset", (pack,))

    def drop_pack(self, pack: PackNo) -> None:
        # Its number is not given out again while caches may remember its blocks by it.
        self._last_pack = max(self._last_pack, pack)
        self._connection.execute("DELETE FROM pack WHERE pack = ?", (pack,))

    def refresh(self) -> None:
        """Look again where blocks lie; also after the commit, until which others see old rows."""
        with self._lock:
            self._version += 1
            self._places.clear()
            self._firsts.clear()

    def count_frames(self, frames: dict[int, tuple[int, int]]) -> None:
        """Add ``{kind: (frames, bytes)}`` to the totals."""
        self._connection.execute_many(
            "INSERT INTO frame_kind VALUES (?, ?, ?) ON CONFLICT (kind) DO UPDATE"
            " SET frames = frames + excluded.frames, bytes = bytes + excluded.bytes",
            [(kind, count, size) for kind, (count, size) in frames.items()],
        )

    # Settings

    def setting(self, name: str) -> int | None:
        """A number that the vault remembers by name."""
        row = self._connection.one("SELECT value FROM setting WHERE name = ?", (name,))
        return None if row is None else int(row[0])

    def set_setting(self, name: str, value: int | None) -> None:
        """Remember a number by name, or forget it with None."""
        if value is None:
            self._connection.execute("DELETE FROM setting WHERE name = ?", (name,))
        else:
            self._connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))

    # Extents

    def extents(self, ino: InodeNo, start: int, end: int) -> list[Extent]:
        """Extents of ``ino`` that touch bytes ``start`` to ``end``, in order."""
        return self._extents.touching(ino, start, end)

    def has_extents(self, ino: InodeNo) -> bool:
        """Whether any byte of ``ino`` is in records."""
        return bool(self._extents.page(ino, 0, 1))

    def held_bytes(self, ino: InodeNo, size: int) -> int:
        """How many bytes of a file of ``size`` its records hold; see ``ExtentTable``."""
        return self._extents.held_bytes(ino, size)

    def replace_extents(
        self, ino: InodeNo, start: int, end: int, extents: Sequence[Extent]
    ) -> None:
        """Put ``extents`` in place of those between ``start`` and ``end``."""
        self._extents.replace(ino, start, end, extents)

    def cut_extents(self, ino: InodeNo, size: int) -> None:
        """Forget what lies at and beyond byte ``size``."""
        self._extents.cut(ino, size)
