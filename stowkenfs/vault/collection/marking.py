"""Finding what is in use: files lead to records, records to segments and templates.

What stays in a block is in use as well, whoever refers to it: a record that nobody reads any
more keeps its segments until it goes itself, so that everything in blocks can always be read.
"""

import logging
from collections.abc import Callable, Sequence

import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen import InodeGroup
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.varint import read_varint
from stowkenfs.vault.collection.damage import bounds_of
from stowkenfs.vault.collection.references import Referred, canonicals_of, referred_to
from stowkenfs.vault.collection.report import PROBLEMS_MAX
from stowkenfs.vault.collection.shelf import REMAINING, SHELF_COLUMNS, Fate, Integers, Shelf
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import Unpacked, decode_ranges

log = logging.getLogger(__name__)

SHELF_KINDS = (
    BlockKind.RECORDS,
    BlockKind.SEGMENTS,
    BlockKind.TEMPLATES,
    BlockKind.CODEBOOKS,
)

Done = Callable[[int], None]
"""Told how many stored bytes were looked at. Event loop's thread."""

_GROUPS_AT_ONCE = 16


class Marker:
    """The shelves of a vault and who is on them. Event loop's thread, but where it says so.

    ``_looked``: of each block of records how many of its things' references are marked.
    ``_with_codebook``: the dense blocks of segments whose codebooks are.
    """

    def __init__(self, connection: Connection, catalogue: Catalogue, reader: Reader) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._reader = reader
        self.shelves: dict[BlockKind, Shelf] = {}
        self.problems: list[str] = []
        self._looked: Integers = np.zeros(0, np.int64)
        self._with_codebook: set[int] = set()

    def problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)
            log.warning("collection: %s", text)

    async def load(self, below: dict[BlockKind, int]) -> None:
        """Take note of everything with numbers below these."""
        query = f"SELECT {SHELF_COLUMNS} FROM block WHERE kind = ? AND first < ? ORDER BY first"  # noqa: S608
        async with self._connection.scanner() as scan:
            for kind, end in below.items():
                batches = scan.batches(query, (kind, end))
                pieces = [np.array(rows, np.int64) async for rows in batches]
                pieces.append(np.zeros((0, 8), np.int64))
                rows = np.concatenate(pieces)
                self.shelves[kind] = await anyio.to_thread.run_sync(Shelf, kind, rows)
        self._looked = np.zeros(len(self.shelves[BlockKind.RECORDS]), np.int64)

    # Files to records

    async def mark_files(self) -> None:
        """Mark the records of all files. Nothing must be frozen meanwhile."""
        records = self.shelves[BlockKind.RECORDS]
        async with self._connection.scanner() as scan:
            # Before hot rows, where what is thawed meanwhile goes.
            query = "SELECT pack, offset, stored, first, last FROM frozen_inode ORDER BY first"
            async for groups in scan.batches(query, rows=_GROUPS_AT_ONCE):
                bad = await anyio.to_thread.run_sync(self._mark_frozen, groups)
                for error in bad:
                    self.problem(f"what was compacted stays, since files are unknown: {error}")
                    records.mark_dense()
        await self.mark_hot_files()

    def _mark_frozen(self, groups: Sequence[tuple[int, ...]]) -> list[str]:
        """Mark the records of frozen files; what is damaged. A thread's."""
        bad = []
        for pack, offset, stored, first, last in groups:
            try:
                group = InodeGroup(self._reader.payload(pack, offset, stored))
                self.shelves[BlockKind.RECORDS].mark_ranges(*group.record_ranges())
            except Corrupt as error:
                bad.append(str(error))
                continue
            if (group.first, group.last) != (first, last):
                bad.append(f"not the group of inodes {first} to {last}")
        return bad

    async def mark_hot_files(self) -> None:
        """Mark the records of files that have rows, as all that changed lately."""
        async with self._connection.scanner() as scan:
            async for rows in scan.batches("SELECT record, count FROM extent"):
                await anyio.to_thread.run_sync(self._mark_extents, np.array(rows, np.int64))

    def _mark_extents(self, extents: Integers) -> None:
        """A thread's. Records and counts: shape (n, 2)."""
        self.shelves[BlockKind.RECORDS].mark_ranges(extents[:, 0], extents[:, 1])

    # Records to segments and templates

    async def mark_references(self, done: Done) -> None:
        """Mark what the records that remain refer to, of blocks that were not looked at so far."""
        shelf = self.shelves[BlockKind.RECORDS]
        used = shelf.in_use()
        remaining = np.where(shelf.fates == Fate.STAYS, shelf.counts, used)
        for block in shelf.blocks(*REMAINING):
            if remaining[block] != self._looked[block]:
                await self._mark_block(block)
                # It may have become one that stays.
                self._looked[block] = (
                    shelf.counts[block] if shelf.fates[block] == Fate.STAYS else remaining[block]
                )
            done(int(shelf.stored[block]))

    async def _mark_block(self, block: int) -> None:
        shelf = self.shelves[BlockKind.RECORDS]
        try:
            await anyio.to_thread.run_sync(self._mark_bodies, block)
        except Corrupt as error:
            self.problem(f"records cannot be read, and what they may refer to stays: {error}")
            shelf.spare_block(block)
            self._mark_possible(BlockKind.RECORDS, max(shelf.lasts_of(block)))

    def _mark_bodies(self, block: int) -> None:
        """Mark the references of what remains in a block. A thread's. Raises Corrupt."""
        shelf = self.shelves[BlockKind.RECORDS]
        self._mark_referred(referred_to(self._unpacked(shelf, block), shelf.places_in(block)))

    def _unpacked(self, shelf: Shelf, block: int) -> Unpacked:
        return self._reader.unpacked(self._place(shelf, block))

    def _place(self, shelf: Shelf, block: int) -> BlockPlace:
        """Raises Corrupt."""
        place = self._catalogue.locate(shelf.kind, int(shelf.leads[block]))
        if place is None:
            raise Corrupt(f"no block holds {shelf.kind.name.lower()} {shelf.leads[block]}")
        return place

    def _mark_possible(self, kind: BlockKind, last: int) -> None:
        """Mark what damaged things up to number ``last`` may refer to."""
        if kind is BlockKind.SEGMENTS:  # others, which are older
            self.shelves[kind].mark_below(last)
            return
        bounds = bounds_of(self._connection, kind, last)
        self.shelves[BlockKind.SEGMENTS].mark_below(bounds.segments)
        self.shelves[BlockKind.TEMPLATES].mark_below(bounds.templates)

    async def mark_new(self, since: dict[BlockKind, int]) -> None:
        """Mark what records and segments refer to that are above these numbers, on no shelf."""
        await self._mark_rows(BlockKind.RECORDS, since, self._mark_new_records)
        if self.has_deltas():
            await self._mark_rows(BlockKind.SEGMENTS, since, self._mark_new_segments)

    async def _mark_rows(
        self, kind: BlockKind, since: dict[BlockKind, int], mark: Callable[[BlockPlace], None]
    ) -> None:
        rows = self._connection.all(
            "SELECT first, count FROM block WHERE kind = ? AND first >= ?", (kind, since[kind])
        )
        for first, count in rows:
            place = self._catalogue.locate(kind, first)
            if place is None:
                continue
            try:
                await anyio.to_thread.run_sync(mark, place)
            except Corrupt as error:
                self.problem(f"what they may refer to stays: {error}")
                self._mark_possible(kind, first + count - 1)

    def _mark_new_records(self, place: BlockPlace) -> None:
        """A thread's. Raises Corrupt."""
        self._mark_referred(referred_to(self._reader.unpacked(place), _places_of(place)))

    def _mark_new_segments(self, place: BlockPlace) -> None:
        """A thread's. Raises Corrupt."""
        numbers = canonicals_of(self._reader.unpacked(place), _places_of(place))
        self.shelves[BlockKind.SEGMENTS].mark(numbers)

    def _mark_referred(self, referred: Referred) -> None:
        self.shelves[BlockKind.TEMPLATES].mark(referred.templates)
        self.shelves[BlockKind.SEGMENTS].mark(referred.segments)

    # Segments to segments

    async def plan_segments(self) -> None:
        """Plan segments; those that others are told as differences from stay as these do.

        They have lower numbers, always. So blocks are looked at from the last to the first.
        """
        shelf = self.shelves[BlockKind.SEGMENTS]
        await anyio.to_thread.run_sync(shelf.plan)
        if not self.has_deltas():
            return
        for block in reversed(range(len(shelf))):
            if not shelf.is_dense[block]:
                shelf.revive(block)
                await self.mark_canonicals(block)

    async def mark_canonicals(self, block: int) -> None:
        """Mark what the frames that remain in a block are differences from.

        These may lie in the same block, and be differences from others in it.
        """
        shelf = self.shelves[BlockKind.SEGMENTS]
        if shelf.fates[block] == Fate.DROPPED:
            return
        try:
            await anyio.to_thread.run_sync(self._mark_canonicals, block)
        except Corrupt as error:
            self.problem(f"segments cannot be read, and what they may refer to stays: {error}")
            shelf.spare_block(block)
            self._mark_possible(BlockKind.SEGMENTS, max(shelf.lasts_of(block)))

    def _mark_canonicals(self, block: int) -> None:
        shelf = self.shelves[BlockKind.SEGMENTS]
        unpacked, marked = self._unpacked(shelf, block), -1
        while marked != len(places := shelf.places_in(block)):
            marked = len(places)
            shelf.mark(canonicals_of(unpacked, places))

    def has_deltas(self) -> bool:
        """Whether there may be frames that others are needed for."""
        row = self._connection.one("SELECT sum(frames) FROM frame_kind WHERE kind IN (4, 7)")
        return bool(row and row[0])

    # Segments to codebooks

    async def mark_codebooks(self, done: Done) -> None:
        """Mark the codebooks of dense segments that remain."""
        segments, codebooks = self.shelves[BlockKind.SEGMENTS], self.shelves[BlockKind.CODEBOOKS]
        for block in segments.blocks(Fate.STAYS, Fate.REWRITTEN):
            if not segments.is_dense[block] or block in self._with_codebook:
                continue
            self._with_codebook.add(block)
            try:
                await anyio.to_thread.run_sync(self._mark_codebook, block)
            except Corrupt as error:
                self.problem(f"segments cannot be read, so all codebooks stay: {error}")
                codebooks.mark_below(int(np.iinfo(np.int64).max))
                return
            done(int(segments.stored[block]))

    def _mark_codebook(self, block: int) -> None:
        """A thread's. Raises Corrupt."""
        shelf = self.shelves[BlockKind.SEGMENTS]
        content = self._reader.read_block(self._place(shelf, block))
        assert content.layout is Layout.DENSE
        number, _ = read_varint(content.payload, decode_ranges(content)[1])
        if number:
            self.shelves[BlockKind.CODEBOOKS].mark(np.array([number - 1], np.int64))


def _places_of(row: BlockPlace) -> Integers:
    return np.arange(row.skip, row.skip + row.count)
