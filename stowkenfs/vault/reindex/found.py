"""The list of all blocks of all packs, in a database beside the index that is being made.

Its rows are in the order in which blocks lie. ``ranges`` are those of a dense or sparse block,
as its payload has them; NULL until its base is known, and of plain blocks.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.ids import PackNo
from stowkenfs.index.connection import Connection
from stowkenfs.store.block import HEADER_BYTES, BlockKind, base_of
from stowkenfs.store.local import private
from stowkenfs.vault.reindex.scan import Whole

ROWS_AT_ONCE = 200

TREE_KINDS = (BlockKind.NAMESPACE, BlockKind.INODES, BlockKind.NAMES)

_COLUMNS = "pack, offset, stored, raw, kind, codec, layout, first, count, base, ranges"


@dataclass(frozen=True, slots=True)
class FoundBlock:
    """A row: where a block lies, and what its header says."""

    pack: PackNo
    offset_bytes: int
    stored_bytes: int
    raw_bytes: int
    kind: int
    codec: int
    layout: int
    first: int
    count: int
    base: int | None
    ranges: bytes | None


class FoundBlocks:
    """Queries on the list. The thread's that rebuilds."""

    def __init__(self, connection: Connection, path: Path | None) -> None:
        self._connection = connection
        if path is not None:  # before SQLite makes it, which would let others read it
            os.close(private(path, os.O_RDWR | os.O_CREAT))
        connection.execute("ATTACH DATABASE ? AS scan", (str(path) if path else ":memory:",))
        connection.execute("PRAGMA scan.journal_mode = OFF")
        connection.execute("PRAGMA scan.synchronous = OFF")
        connection.execute(
            "CREATE TABLE scan.found (pack, offset, stored, raw, kind, codec, layout, first,"
            " count, base, ranges, PRIMARY KEY (pack, offset)) WITHOUT ROWID"
        )
        connection.execute("CREATE INDEX scan.by_number ON found (kind, first, pack, offset)")

    def add(self, block: Whole, ranges: bytes | None) -> None:
        head = block.head
        self._connection.execute(
            f"INSERT INTO scan.found ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                block.pack, block.offset_bytes, HEADER_BYTES + head.stored_bytes, head.raw_bytes,
                head.kind, head.codec, head.layout, head.first, head.count,
                base_of(block.content), ranges,
            ),
        )  # fmt: skip

    def in_packs(self, condition: str = "true") -> Iterator[FoundBlock]:
        """All that meet an SQL condition, in the order in which they lie."""
        at = (0, -1)
        while rows := self._connection.all(
            f"SELECT {_COLUMNS} FROM scan.found"  # noqa: S608
            f" WHERE (pack, offset) > (?, ?) AND ({condition}) ORDER BY pack, offset LIMIT ?",
            (*at, ROWS_AT_ONCE),
        ):
            yield from (FoundBlock(*row) for row in rows)
            at = rows[-1][:2]

    def by_number(self, kind: int, *, descending: bool = False) -> Iterator[FoundBlock]:
        """Blocks of a kind by their first numbers; of copies the one that lies last."""
        order, compare = ("DESC", "<") if descending else ("", ">")
        at = 1 << 63 if descending else -1
        while rows := self._connection.all(
            f"SELECT first, max(pack) FROM scan.found WHERE kind = ? AND first {compare} ?"  # noqa: S608
            f" GROUP BY first ORDER BY first {order} LIMIT ?",
            (kind, min(at, (1 << 63) - 1), ROWS_AT_ONCE),
        ):
            for first, _ in rows:
                (row,) = self._connection.all(
                    f"SELECT {_COLUMNS} FROM scan.found WHERE kind = ? AND first = ?"  # noqa: S608
                    " ORDER BY pack DESC, offset DESC LIMIT 1",
                    (kind, first),
                )
                yield FoundBlock(*row)
            at = rows[-1][0]

    def statements(self) -> Iterator[FoundBlock]:
        """What tells of the tree, by number; of copies the one that lies last."""
        streams = [self.by_number(kind) for kind in TREE_KINDS]
        waiting = [next(stream, None) for stream in streams]
        while found := [block for block in waiting if block is not None]:
            block = min(found, key=lambda one: one.first)
            at = waiting.index(block)
            yield block
            waiting[at] = next(streams[at], None)

    def highest(self) -> dict[int, int]:
        """One past the highest number that headers have, by kind; groups are statements."""
        statements = ", ".join(str(int(kind)) for kind in TREE_KINDS[1:])
        rows = self._connection.all(
            "SELECT kind, max(first + count) FROM scan.found WHERE layout = 0"  # noqa: S608
            f" AND kind NOT IN ({statements}) GROUP BY kind"
            f" UNION ALL SELECT {int(BlockKind.NAMESPACE)}, max(first) + 1 FROM scan.found"
            f" WHERE kind IN ({statements}) HAVING max(first) IS NOT NULL"
        )
        highest: dict[int, int] = {}
        for kind, number in rows:
            highest[kind] = max(number, highest.get(kind, 0))
        return highest

    def kinds_of_packs(self) -> dict[PackNo, set[tuple[int, int]]]:
        """``{pack: {(kind, layout), ...}}``."""
        kinds: dict[PackNo, set[tuple[int, int]]] = {}
        for pack, kind, layout in self._connection.all(
            "SELECT DISTINCT pack, kind, layout FROM scan.found"
        ):
            kinds.setdefault(pack, set()).add((kind, layout))
        return kinds

    def close(self) -> None:
        self._connection.execute("DETACH DATABASE scan")
