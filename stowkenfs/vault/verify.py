"""Reading everything that is stored and checking every checksum and hash."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, cast

import anyio
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import BLOCK_COLUMNS, BlockPlace
from stowkenfs.index.connection import Connection, Scanner
from stowkenfs.index.frozen import InodeGroup, NameGroup
from stowkenfs.index.frozen_scan import all_extents
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.keys import decode_keys
from stowkenfs.index.rows import Extent
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.codebooks import decode_entry
from stowkenfs.vault.namespace import decode_changes
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.registry_blocks import REGISTRY_KINDS, RegistryItems, check_entry
from stowkenfs.vault.unpacked import Records, Segments, Templates, Unpacked
from stowkenfs.vault.verify_report import DAMAGES_MAX, DamagedRange, VerifyReport
from stowkenfs.vault.verify_unused import check_unused

__all__ = ["DamagedRange", "Progress", "VerifyReport", "verify_vault"]

ROWS_AT_ONCE = 16

PathOf = Callable[[InodeNo], bytes | None]
Range = tuple[int, int]
"""First and last number."""


async def verify_vault(
    connection: Connection,
    frozen: FrozenTree,
    reader: Reader,
    path_of: PathOf,
    progress: Progress,
    store: PackStore,
) -> VerifyReport:
    """Check every block, segment, record and key, then name the files that damage touches.

    Blocks that nothing needs are looked at, too: damage in them costs nothing yet, but tells of
    the disk that they are on.

    ``progress(done, total)`` is told bytes of blocks. Memory grows with what is damaged only.
    Nothing must be compacted meanwhile.
    """
    check = _Check(reader)
    async with connection.scanner() as scan:
        lengths = await scan.all("SELECT pack, length FROM pack")
        total = await _total_bytes(scan)
        # In the order of the packs: blocks lie behind what they refer to.
        query = f"SELECT {BLOCK_COLUMNS} FROM block ORDER BY pack, offset, skip"  # noqa: S608
        async for rows in scan.batches(query, rows=ROWS_AT_ONCE):
            places = [BlockPlace(*row) for row in rows]
            await anyio.to_thread.run_sync(check.blocks, places)
            progress(check.report.stored_bytes, total)
        for table, columns in _PACKED.items():
            query = f"SELECT {columns} FROM {table} ORDER BY pack, offset"  # noqa: S608
            async for rows in scan.batches(query, rows=ROWS_AT_ONCE):
                await anyio.to_thread.run_sync(check.packed, table, rows)
                progress(check.report.stored_bytes, total)
        await check_unused(scan, store, dict(lengths), check.report)
        await _name_files(scan, frozen, check, path_of)
    return check.report


_PACKED = {
    "key_block": "pack, offset, stored, count, thing",
    "frozen_inode": "pack, offset, stored, count, first, last",
    "frozen_name": "pack, offset, stored, count, parent, name",
}
"""Tables that locate blocks without numbered things, and what is asked of them."""

_THINGS = {
    BlockKind.RECORDS: "records",
    BlockKind.SEGMENTS: "segments",
    BlockKind.TEMPLATES: "templates",
}


async def _total_bytes(scan: Scanner) -> int:
    tables = " UNION ".join(
        f"SELECT pack, offset, stored FROM {table}"  # noqa: S608
        for table in ("block", *_PACKED)
    )
    ((total,),) = await scan.all(f"SELECT ifnull(sum(stored), 0) FROM ({tables})")  # noqa: S608
    return int(total)


class _Check:
    """Looks into blocks and notes what is wrong with them. One thread's at a time.

    ``_bad``: ranges of records that do not read. ``_last``: the place last looked into; a
    block that was merged has several rows, and counts once.
    """

    def __init__(self, reader: Reader) -> None:
        self.report = VerifyReport()
        self._reader = reader
        self._bad: list[Range] = []
        self._last: Range | None = None

    def bad(self) -> list[Range]:
        """Ranges of records that do not read, sorted and joined."""
        joined: list[Range] = []
        for first, last in sorted(self._bad):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = joined[-1][0], max(last, joined[-1][1])
            else:
                joined.append((first, last))
        return joined

    def _count(self, pack: int, offset_bytes: int, stored_bytes: int) -> None:
        if self._last != (pack, offset_bytes):
            self._last = pack, offset_bytes
            self.report.blocks += 1
            self.report.stored_bytes += stored_bytes

    # Blocks of numbered things

    def blocks(self, places: Sequence[BlockPlace]) -> None:
        for (pack, offset), rows in groupby(places, lambda row: (row.pack, row.offset_bytes)):
            some = list(rows)
            self._count(pack, offset, some[0].stored_bytes)
            try:
                self._block(some)
            except Corrupt as error:
                self.report.add(f"{error}; {_has(some)}")
                if some[0].kind == BlockKind.RECORDS:
                    self._bad += [(row.first, row.first + row.count - 1) for row in some]

    def _block(self, rows: Sequence[BlockPlace]) -> None:
        kind = rows[0].kind
        if kind == BlockKind.NAMESPACE:
            for _ in decode_changes(self._reader.read_block(rows[0]).payload):
                pass
            return
        unpacked = self._reader.unpacked(rows[0])
        for row in rows:
            if not unpacked.holds(row.first, row.count, row.skip):
                raise Corrupt(f"no block holds {BlockKind(kind).name.lower()} {row.first}")
            if kind == BlockKind.SEGMENTS:
                self._segments(unpacked, row)
            elif kind == BlockKind.RECORDS:
                self._records(unpacked, row)
        if isinstance(unpacked.items, RegistryItems):
            for at in range(len(unpacked.items)):
                check_entry(kind, unpacked.items.entry(at))
        elif kind == BlockKind.CODEBOOKS:
            entries = cast("Templates", unpacked.items)
            for at in range(len(entries)):
                decode_entry(entries.items.templates[at])

    def _segments(self, unpacked: Unpacked, row: BlockPlace) -> None:
        items = cast("Segments", unpacked.items)
        self.report.segments += row.count
        for at in range(row.count):
            try:
                items.verified(row.skip + at)
            except Corrupt as error:
                self.report.add(f"segment {row.first + at}: {error}")

    def _records(self, unpacked: Unpacked, row: BlockPlace) -> None:
        items = cast("Records", unpacked.items)
        self.report.records += row.count
        for at in range(row.count):
            try:
                self._reader.render(items, row.skip + at)
            except Corrupt as error:
                number = row.first + at
                self.report.add(f"record {number}: {error}")
                self._bad.append((number, number))

    # Keys, and the tree

    def packed(self, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
        for pack, offset, stored, count, *about in rows:
            self._count(pack, offset, stored)
            try:
                payload = self._reader.payload(pack, offset, stored, count)
                if table == "key_block":
                    decode_keys(payload, count)
                elif table == "frozen_inode":
                    self._inodes(payload, (count, *about))
                else:
                    self._names(payload, (count, *about))
            except Corrupt as error:
                self.report.add(f"{_told(table, about)}: {error}")

    @staticmethod
    def _inodes(payload: bytes, expected: tuple[int, ...]) -> None:
        group = InodeGroup(payload)
        if (group.count, group.first, group.last) != expected:
            raise Corrupt("another group than indexed")
        group.rows()

    @staticmethod
    def _names(payload: bytes, expected: tuple[Any, ...]) -> None:
        group = NameGroup(payload)
        if (group.count, group.parents[0], group.names[0]) != expected:
            raise Corrupt("another group than indexed")

    # Files

    def touched(
        self, extents: Sequence[tuple[InodeNo, Extent]], bad: Sequence[Range]
    ) -> list[tuple[InodeNo, Extent]]:
        """Those of ``extents`` of which some record is in ``bad``, or missing."""
        lasts = [last for _, last in bad]
        return [(ino, extent) for ino, extent in extents if self._is_touched(extent, bad, lasts)]

    def _is_touched(self, extent: Extent, bad: Sequence[Range], lasts: Sequence[int]) -> bool:
        first, last = extent.record, extent.record + extent.count - 1
        if not (self._reader.knows_record(first) and self._reader.knows_record(last)):
            self.report.add(f"records {first} to {last} are in no block")
            return True
        at = bisect_left(lasts, first)
        return at < len(bad) and bad[at][0] <= last


def _has(rows: Sequence[BlockPlace]) -> str:
    """Which things a block has, for people."""
    what = BlockKind(rows[0].kind).name.lower()
    if rows[0].kind == BlockKind.NAMESPACE:
        return "it has statements of the tree, which 'reindex' writes again"
    if rows[0].kind in REGISTRY_KINDS:
        what = f"registry: {what}"
    return f"it has {what} {rows[0].first} to {rows[-1].first + rows[-1].count - 1}"


def _told(table: str, about: Sequence[Any]) -> str:
    """What a block without numbered things is of, for people."""
    if table == "key_block":
        return f"keys of {_THINGS.get(about[0], 'things')}, by which what comes twice is found"
    if table == "frozen_inode":
        return f"inodes {about[0]} to {about[1]}, whose files cannot be opened"
    name = about[1].decode("utf-8", "backslashreplace")
    return f"names in directory {about[0]} from {name!r} on, which are not listed"


async def _name_files(scan: Scanner, frozen: FrozenTree, check: _Check, path_of: PathOf) -> None:
    """Ranges of files whose records are damaged or missing."""
    report, bad = check.report, check.bad()
    # What is damaged of the tree itself was told when its blocks were looked into.
    async for extents in all_extents(scan, frozen, lambda _: None):
        for ino, extent in await anyio.to_thread.run_sync(check.touched, extents, bad):
            path = path_of(ino) or f"inode {ino}".encode()
            name = path.decode("utf-8", "backslashreplace")
            if len(report.files) < DAMAGES_MAX:
                report.files.append(DamagedRange(name, extent.start, extent.end))
            else:
                report.omitted += 1
