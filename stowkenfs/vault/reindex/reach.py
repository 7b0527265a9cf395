"""What the tree leads to: which blocks are in use, and what the index says of their things."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from stowkenfs.documents.body import Body, References
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.codec import DELTA_KINDS, references_of
from stowkenfs.index.catalogue import BLOCK_COLUMNS, BlockPlace
from stowkenfs.index.connection import Connection
from stowkenfs.index.keys import Grain
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.reindex.bits import Bits
from stowkenfs.vault.reindex.keys import KeyShelf, KeyWriter
from stowkenfs.vault.reindex.places import insert_rows, part_of
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.unpacked import (
    PackedSegments,
    PlainRecords,
    PlainSegments,
    Records,
    Templates,
    Unpacked,
)

Numbers = npt.NDArray[np.int64]

LINKED = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES, BlockKind.CODEBOOKS)
"""Kinds of which only what something leads to gets rows, in the order of the links."""
KEYED = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)
NUMBER_MAX = 1 << 62


class Reach:
    """Follows links from records on. The thread's that rebuilds.

    ``wanted``: numbers that something leads to, by kind; whoever starts adds records.
    ``present``: those that some block holds. ``highest``: the highest number named, by kind.
    ``bad_records``: numbers of records that refer to what is not there.
    ``frames``: totals by frame kind. ``keeps_all``: whether blocks of what records refer to
    stay although nothing that can be read refers to them: maybe what is damaged did, and a copy
    of it can be brought back.
    """

    def __init__(
        self, connection: Connection, reader: Reader, next_numbers: dict[int, int],
        report: ReindexReport, progress: Progress,
    ) -> None:  # fmt: skip
        self._connection = connection
        self._reader = reader
        self._report = report
        self._progress = progress
        self.next_numbers = next_numbers
        self.wanted = {kind: Bits(next_numbers.get(kind, 0)) for kind in LINKED}
        self.present = {kind: Bits(next_numbers.get(kind, 0)) for kind in LINKED}
        self.highest: dict[BlockKind, int] = dict.fromkeys(LINKED, -1)
        self.bad_records = Bits(next_numbers.get(BlockKind.RECORDS, 0))
        self.frames: dict[int, tuple[int, int]] = {}
        self.keeps_all = bool(report.damages)
        connection.execute("CREATE TABLE scan.used (pack, offset, PRIMARY KEY (pack, offset))")
        self._bases = np.array(
            connection.all("SELECT DISTINCT base FROM block WHERE kind = 1 AND base IS NOT NULL"),
            np.int64,
        ).reshape(-1)
        self._seen_bytes = 0
        self._averages: dict[BlockKind, float] = {}

    def follow(self, keys_path: Path, writer: KeyWriter) -> int:
        """Go through all that is in use, note keys, and drop rows of the rest; how many blocks."""
        for kind in LINKED:
            self._note_present(kind)
        dropped = 0
        for kind in LINKED:
            shelves = self._shelves(kind, keys_path)
            while self._pass(kind, shelves):
                pass  # what was looked into may lead to others of its kind
            dropped += self._drop_rest(kind)
            for shelf in shelves.values():
                writer.write(shelf)
                shelf.path.unlink(missing_ok=True)
        return dropped

    def _note_present(self, kind: BlockKind) -> None:
        stored = count = 0
        for rows in self._blocks(kind):
            stored += rows[0].stored_bytes
            for row in rows:
                count += row.count
                self.present[kind].add_range(row.first, row.first + row.count)
        self._averages[kind] = stored / max(count, 1)

    def _blocks(self, kind: BlockKind) -> Iterator[list[BlockPlace]]:
        """The rows of each block of a kind, in the order in which blocks lie."""
        cursor = self._connection.execute(
            f"SELECT {BLOCK_COLUMNS} FROM block WHERE kind = ? ORDER BY pack, offset, skip",  # noqa: S608
            (kind,),
        )
        rows = (BlockPlace(*row) for row in cursor)
        for _, some in groupby(rows, lambda row: (row.pack, row.offset_bytes)):
            yield list(some)

    def _shelves(self, kind: BlockKind, path: Path) -> dict[bool, KeyShelf]:
        """Where keys go, of what is dense and of what is not."""
        if kind not in KEYED:
            return {}
        counts: dict[bool, int] = dict(
            self._connection.all(
                "SELECT layout = 1, sum(count) FROM block WHERE kind = ? GROUP BY layout = 1",
                (kind,),
            )
        )
        grains = {False: Grain.EXACT, True: Grain.BLOCK}
        return {
            is_dense: KeyShelf(
                kind, grain, counts.get(is_dense, 0), path.with_name(f"{path.name}.{grain:d}")
            )
            for is_dense, grain in grains.items()
        }

    def _pass(self, kind: BlockKind, shelves: dict[bool, KeyShelf]) -> bool:
        """Look into blocks that are wanted and were not looked into; whether there were any."""
        wanted, found = self.wanted[kind], False
        for rows in self._blocks(kind):
            is_wanted = any(wanted.any_between(row.first, row.first + row.count) for row in rows)
            if not is_wanted and (kind is BlockKind.RECORDS or not self.keeps_all):
                continue
            place = (rows[0].pack, rows[0].offset_bytes)
            noted = self._connection.execute("INSERT OR IGNORE INTO scan.used VALUES (?, ?)", place)
            if not noted.rowcount:
                continue
            found = True
            self._seen_bytes += rows[0].stored_bytes
            self._progress(self._seen_bytes, 0)
            if rows[0].base is not None:
                self._want(kind, np.array([rows[0].base], np.int64))
            try:
                self._look(kind, self._reader.unpacked(rows[0]), rows, shelves)
            except Corrupt as error:
                if is_wanted:
                    self._report.add(self._report.problems, str(error))
                if kind is BlockKind.RECORDS:
                    self.keeps_all = True
                    for row in rows:
                        self.bad_records.add_range(row.first, row.first + row.count)
        return found

    def _look(
        self,
        kind: BlockKind,
        unpacked: Unpacked,
        rows: Sequence[BlockPlace],
        shelves: dict[bool, KeyShelf],
    ) -> None:
        is_dense = rows[0].layout == Layout.DENSE
        for row in rows:
            if not unpacked.holds(row.first, row.count, row.skip):
                raise Corrupt(f"no block holds {kind.name.lower()} {row.first}")
        if kind is BlockKind.RECORDS and is_dense:
            items = cast("Records", unpacked.items)
            rows = [part for row in rows for part in self._without_collected(items, row)]
        for row in rows:
            if kind is BlockKind.RECORDS:
                keys = self._records(cast("Records", unpacked.items), row)
            elif kind is BlockKind.SEGMENTS:
                keys = self._segments(unpacked.items, row)
            elif kind is BlockKind.TEMPLATES:
                templates = cast("Templates", unpacked.items).items.templates
                keys = _keys(content_key(templates[row.skip + at]) for at in range(row.count))
            else:
                continue
            values = (
                np.full(len(keys), row.first, np.int64)
                if is_dense
                else np.arange(row.first, row.first + row.count, dtype=np.int64)
            )
            if len(keys) == row.count:
                shelves[is_dense].add(keys, values)

    def _want(self, kind: BlockKind, numbers: Numbers) -> int:
        """Something refers to ``numbers``; how many were not known to be referred to."""
        if not len(numbers):
            return 0
        top = int(numbers.max())
        if top > NUMBER_MAX:
            raise Corrupt(f"refers to {kind.name.lower()} {top}")
        self._note_named(kind, numbers)
        return self.wanted[kind].add(numbers)

    def _note_named(self, kind: BlockKind, numbers: Numbers) -> None:
        """Some record names ``numbers``, in use or not."""
        self.highest[kind] = max(self.highest[kind], int(numbers.max(initial=-1)))

    # Records

    def _records(self, items: Records, row: BlockPlace) -> Numbers:
        places = range(row.skip, row.skip + row.count)
        pieces = items.pieces(places)
        templates, segments = [pieces.templates], [pieces.parts]
        for at in pieces.alone:
            try:
                some_templates, some_segments = _named_by(items.body(row.skip + at))
            except Corrupt as error:
                self._report.add(self._report.problems, f"record {row.first + at}: {error}")
                self.bad_records.add_range(row.first + at, row.first + at + 1)
                continue
            templates.append(some_templates)
            segments.append(some_segments)
        named = {
            BlockKind.TEMPLATES: np.concatenate(templates),
            BlockKind.SEGMENTS: np.concatenate(segments),
        }
        is_whole = all(self.present[kind].holds(some).all() for kind, some in named.items())
        brings = sum(self._want(kind, some) * self._averages[kind] for kind, some in named.items())
        content = sum(items.lengths(row.skip, row.skip + row.count))
        self._connection.execute(
            "UPDATE block SET content = ?, brings = ? WHERE kind = ? AND first = ?",
            (content, round(brings), row.kind, row.first),
        )
        if not is_whole:
            self._note_bad(items, row)
        if isinstance(items, PlainRecords):
            return items.items.keys[row.skip : row.skip + row.count].astype(np.int64)
        if not is_whole:
            return np.empty(0, np.int64)
        return _keys(content_key(one) for one in self._reader.render_all(items, places))

    def _without_collected(self, items: Records, row: BlockPlace) -> list[BlockPlace]:
        """The row without what no file has and whose parts are gone, which then has no row.

        A collection leaves such records in blocks that others were compressed against. Those by
        which a block is found, as a base or to be counted, stay.
        """
        pieces = items.pieces(range(row.skip, row.skip + row.count))
        if not pieces.alone and self._has_all(pieces.templates, pieces.parts):
            return [row]
        numbers = np.arange(row.first, row.first + row.count)
        wanted = self.wanted[BlockKind.RECORDS].holds(numbers) | np.isin(numbers, self._bases)
        wanted[0] |= row.skip == 0
        stays = wanted | ~self._refer_to_gone(items, row)
        if stays.all():
            return [row]
        self._connection.execute(
            "DELETE FROM block WHERE kind = ? AND first = ?", (row.kind, row.first)
        )
        edges = np.flatnonzero(np.diff(stays.astype(np.int8), prepend=0, append=0)).tolist()
        parts = [
            part_of(row, row.first + start, row.first + end)
            for start, end in zip(edges[::2], edges[1::2], strict=True)
        ]
        insert_rows(self._connection, "block", parts)
        return parts

    def _has_all(self, templates: Numbers, segments: Numbers) -> bool:
        return bool(
            self.present[BlockKind.TEMPLATES].holds(templates).all()
            and self.present[BlockKind.SEGMENTS].holds(segments).all()
        )

    def _refer_to_gone(self, items: Records, row: BlockPlace) -> npt.NDArray[np.bool_]:
        """Which records of a row refer to what is in no block: shape (count,)."""
        bad = np.zeros(row.count, np.bool_)
        for at in range(row.count):
            try:
                templates, segments = _named_by(items.body(row.skip + at))
            except Corrupt:
                continue
            bad[at] = not self._has_all(templates, segments)
            # Nothing new may get the numbers of what it refers to.
            self._note_named(BlockKind.TEMPLATES, templates)
            self._note_named(BlockKind.SEGMENTS, segments)
        return bad

    def _note_bad(self, items: Records, row: BlockPlace) -> None:
        for at in np.flatnonzero(self._refer_to_gone(items, row)).tolist():
            self.bad_records.add_range(row.first + at, row.first + at + 1)

    # Segments

    def _segments(self, items: object, row: BlockPlace) -> Numbers:
        if isinstance(items, PackedSegments):
            number = items.items.codebook_no
            if number is not None:
                self._want(BlockKind.CODEBOOKS, np.array([number], np.int64))
            segments = (items.segment(row.skip + at) for at in range(row.count))
            return _keys(segment_key(segment_hash(s.tokens), s.vocabulary) for s in segments)
        plain = cast("PlainSegments", items).items
        for at in range(row.skip, row.skip + row.count):
            frame = plain.frames[at]
            try:
                needed = references_of(frame)
            except FrameCorrupt as error:
                number = row.first + at - row.skip
                self._report.add(self._report.problems, f"segment {number}: {error}")
                continue
            if needed.kind in DELTA_KINDS:
                self._want(BlockKind.SEGMENTS, np.array(needed.numbers, np.int64))
            frames, size = self.frames.get(needed.kind, (0, 0))
            self.frames[needed.kind] = frames + 1, size + len(frame)
        return plain.keys[row.skip : row.skip + row.count].astype(np.int64)

    # What nothing leads to

    def _drop_rest(self, kind: BlockKind) -> int:
        condition = (
            "kind = ? AND NOT EXISTS (SELECT 1 FROM scan.used AS used"
            " WHERE used.pack = block.pack AND used.offset = block.offset)"
        )
        ((count,),) = self._connection.all(
            f"SELECT count(*) FROM (SELECT DISTINCT pack, offset FROM block WHERE {condition})",  # noqa: S608
            (kind,),
        )
        if count:
            self._connection.execute(f"DELETE FROM block WHERE {condition}", (kind,))  # noqa: S608
        return int(count)


def _named_by(body: Body) -> tuple[Numbers, Numbers]:
    """Templates and segments of a record."""
    segments = [
        number
        for value in body.values
        if isinstance(value, References)
        for number in value.segments
    ]
    if max([*body.templates, *segments], default=0) > NUMBER_MAX:
        raise Corrupt("refers to what cannot be")
    return np.array(body.templates, np.int64), np.array(segments, np.int64)


def _keys(keys: Iterator[int]) -> Numbers:
    return np.fromiter(keys, np.int64)
