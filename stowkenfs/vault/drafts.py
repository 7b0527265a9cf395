"""Drafts: bytes that were written and are not yet records (docs/DESIGN.md, "Drafts").

A draft is a list of regions that say which bytes of the document lie where: the first
write in a spool that many drafts share, further ones in a file of the draft's own. The
bytes are in the kernel's hands when a write returns, so they survive the daemon.
Appending to the region at the own file's end touches nothing but that file: its length
tells how far the region goes. Any other new region gets a row once its bytes are there.
"""

import errno
import os
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import replace
from pathlib import Path

from stowkenfs.ids import InodeNo
from stowkenfs.index.drafts import DraftTable, Region
from stowkenfs.store.local import private
from stowkenfs.vault.draft_files import Move, draft_path
from stowkenfs.vault.spools import Spools

SPOOLED_BYTES_MAX = 128 << 10
"""A first write up to this size goes to the spool: what the kernel sends in one request."""

OWN_FILE = 0
"""In place of a spool's number."""

DEAD_BYTES_MAX = 4 << 20
MOVED_BYTES_MAX = 1 << 20
"""A file with this many sealed bytes is left, if no more than that many others are in it."""


class Draft:
    """The unsealed bytes of one document. Event loop's thread.

    ``_regions`` is sorted by ``start``, disjoint, and never has two that could be one. There
    may be many, of a file that is written here and there: nothing but ``finish_move`` looks at
    all of them, nor states all of their rows.
    ``_tail``, the one that ends where the file ends, is the only one that grows without a row.
    ``_used``: how many regions are in each spool, of those that have any. ``_unsynced``: spools
    that it wrote to since it was last synced, and OWN_FILE.
    """

    def __init__(
        self,
        path: Path,
        table: DraftTable,
        spools: Spools,
        ino: InodeNo,
        generation: int,
        regions: list[Region],
        *,
        is_new: bool = False,
    ) -> None:
        self._directory = path
        self._table = table
        self._spools = spools
        self._ino = ino
        self._generation = generation
        self._regions = regions
        self._starts = [region.start for region in regions]
        self._used = Counter(region.spool for region in regions if region.spool)
        self._fd: int | None = None
        self._sync_failed = False
        self._unsynced = {OWN_FILE, *self._used}
        self._tail: Region | None = None
        on_disk = 0 if is_new else self._length_on_disk()
        for region in regions:
            if region.length is None:
                region.length = max(on_disk - region.file_start, 0)
                self._tail = region
        # After a power cut the file may be shorter than its rows say: nothing new goes there.
        ends = (r.file_start + (r.length or 0) for r in regions if not r.spool)
        self._file_length = max(on_disk, *ends, 0)
        self._live_bytes = sum(region.length or 0 for region in regions)
        if self._tail is not None and not self._tail.length:
            at = regions.index(self._tail)
            self._replace(at, at + 1, [])

    # Files

    @property
    def _path(self) -> Path:
        return draft_path(self._directory, self._ino, self._generation)

    def _length_on_disk(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:
            return 0

    def _open(self) -> int:
        if self._fd is None:
            if not self._file_length:
                self._spools.names_made += 1
            self._fd = private(self._path, self._spools.open_flags)
        return self._fd

    def release_file(self) -> None:
        """Close the descriptor; it is opened again when needed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def take_unsynced(self) -> list[tuple[Path, int]]:
        """Paths and descriptors of the files that were written since this was called last."""
        unsynced, self._unsynced = self._unsynced, set()
        files = self._spools.files(unsynced & self._used.keys())
        if self._file_length and OWN_FILE in unsynced:
            files.append((self._path, self._open()))
        return files

    def check_trusted(self) -> None:
        """Raise OSError once a sync of the files has failed.

        What the kernel could not write it may take for written from then on, so only bytes that
        were written anew count, as records.
        """
        if self._sync_failed or self._spools.has_failed(self._used):
            raise OSError(errno.EIO, f"draft {self._path.name}: a sync failed before")

    def note_failed_sync(self) -> None:
        """Do not trust any later sync of the files."""
        self._sync_failed = True
        self._spools.note_failed_sync(self._used)

    @property
    def modified_ns(self) -> int:
        """When the files were last written: the document's mtime if the daemon died."""
        paths = [self._path, *map(self._spools.path, self._used)]
        return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)

    # What is where

    @property
    def is_empty(self) -> bool:
        return not self._regions

    @property
    def end(self) -> int:
        """One past the last byte of the document that is here."""
        return self._regions[-1].end if self._regions else 0

    @property
    def live_bytes(self) -> int:
        return self._live_bytes

    def next_span(self, at: int) -> tuple[int, int] | None:
        """The first range of the document behind byte ``at`` that is here, neighbours joined."""
        low, _ = self._overlapping(at, self.end)
        if low == len(self._regions):
            return None
        start, end = max(self._regions[low].start, at), self._regions[low].end
        while low + 1 < len(self._regions) and self._regions[low + 1].start == end:
            low += 1
            end = self._regions[low].end
        return start, end

    def _overlapping(self, start: int, end: int) -> tuple[int, int]:
        """Between which positions of the list regions have bytes of a range."""
        low = bisect_right(self._starts, start)
        if low and self._regions[low - 1].end > start:
            low -= 1
        return low, max(bisect_left(self._starts, end), low)

    def _pieces(self, start: int, end: int) -> list[Region]:
        """What is here of a range, in order."""
        low, high = self._overlapping(start, end)
        return [region.part(start, end) for region in self._regions[low:high]]

    def read(self, start: int, end: int) -> list[tuple[int, int, bytes]]:
        """``(start, end, bytes)`` of what is here of a range, in order."""
        return [
            (piece.start, piece.start + (piece.length or 0), self._content(piece))
            for piece in self._pieces(start, end)
        ]

    def _content(self, piece: Region) -> bytes:
        length = piece.length or 0
        if piece.spool:
            content = self._spools.read_at(piece.spool, piece.file_start, length)
        else:
            content = os.pread(self._open(), length, piece.file_start)
        # A file that lost its unsynced end in a power cut reads as the hole that it has.
        return content.ljust(length, b"\0")

    # Changes

    def write(self, start: int, content: bytes) -> None:
        """Put ``content`` at ``start`` of the document; safe from the daemon's death on return.

        Raises OSError, after which the bytes there are the old ones or the new ones.
        """
        tail, end = self._tail, start + len(content)
        if tail is not None and start == tail.start + (tail.length or 0):
            following = bisect_left(self._starts, start)
            if following == len(self._starts) or self._starts[following] >= end:
                self._append(content)
                self._grow(tail, len(content))
                return
        if not self._regions and not self._file_length and len(content) <= SPOOLED_BYTES_MAX:
            self._spool(start, content)
            return
        at = start
        for piece in self._pieces(start, end):
            low, high = piece.start, piece.start + (piece.length or 0)
            if low > at:
                self._new_region(at, content[at - start : low - start])
            part = content[low - start : high - start]
            if piece.spool:
                self._spools.write_at(piece.spool, piece.file_start, part)
                self._unsynced.add(piece.spool)
            else:
                self._pwrite(part, piece.file_start)
            at = high
        if at < end:
            self._new_region(at, content[at - start :])

    def _spool(self, start: int, content: bytes) -> None:
        """A region in the current spool; one that it continues becomes longer."""
        spool, position = self._spools.append(content)
        self._unsynced.add(spool)
        before = self._region_before(start)
        if before is not None and before.spool == spool and before.file_end == position:
            longer = replace(before, length=(before.length or 0) + len(content))
            self._table.put_region(self._ino, longer)
            self._grow(before, len(content))
            return
        region = Region(start, position, len(content), spool)
        self._table.put_region(self._ino, region)
        if spool not in self._used:
            self._spools.refer((), (spool,))
        self._insert(region)

    def _region_before(self, start: int) -> Region | None:
        """The region that ends at ``start``."""
        at = bisect_left(self._starts, start) - 1
        before = self._regions[at] if at >= 0 else None
        return before if before and before.end == start else None

    def _insert(self, region: Region) -> None:
        at = bisect_right(self._starts, region.start)
        self._regions.insert(at, region)
        self._starts.insert(at, region.start)
        self._live_bytes += region.length or 0
        if region.spool:
            self._used[region.spool] += 1

    def _grow(self, region: Region, added: int) -> None:
        region.length = (region.length or 0) + added
        self._live_bytes += added

    def _new_region(self, start: int, content: bytes) -> None:
        """Put ``content`` where nothing is yet: to the own file only if it continues what is there.

        The tail's length is that of the file, and a power cut may take back any row that is not
        synced. So bytes of another place never follow a tail: they would be taken for its own.
        """
        before = self._region_before(start)
        if before is not None and not before.spool and before.file_end == self._file_length:
            self._append(content)
            if before is not self._tail:
                self._table.put_region(self._ino, replace(before, length=None))
                self._tail = before
            self._grow(before, len(content))
        elif self._file_length:
            self._spool(start, content)
        else:
            self._append(content)
            region = Region(start, 0, None)
            self._table.put_region(self._ino, region)
            region.length = len(content)
            self._insert(region)
            self._tail = region

    def _append(self, content: bytes) -> None:
        try:
            self._pwrite(content, self._file_length)
        except OSError:
            # Part of it may be there; the length of the file counts, so take that part back.
            os.ftruncate(self._open(), self._file_length)
            raise
        self._file_length += len(content)

    def _pwrite(self, content: bytes, position: int) -> None:
        fd, view = self._open(), memoryview(content)
        self._unsynced.add(OWN_FILE)
        while view:
            written = os.pwrite(fd, view, position)
            if written == 0:
                raise OSError(errno.EIO, "the draft takes no more bytes")
            view, position = view[written:], position + written

    def truncate(self, size: int) -> None:
        """Forget bytes at and beyond ``size``."""
        self.drop(size, self.end)

    def drop(self, start: int, end: int) -> None:
        """Forget ``start`` to ``end``, which are records now.

        The bytes stay in the file until it is left, see ``has_outgrown``, or removed.
        """
        low, high = self._overlapping(start, end)
        kept = [
            region.part(*side)
            for region in self._regions[low:high]
            for side in ((region.start, start), (end, region.end))
            if side[0] < side[1]
        ]
        self._replace(low, high, kept)

    def _replace(self, low: int, high: int, kept: list[Region]) -> None:
        """Put parts of the regions at ``low`` to ``high`` of the list in place of them."""
        gone = self._regions[low:high]
        if not gone:
            return
        self._table.replace(self._ino, gone[0].start, gone[-1].start, kept)
        self._regions[low:high] = kept
        self._starts[low:high] = [region.start for region in kept]
        self._live_bytes += sum(r.length or 0 for r in kept) - sum(r.length or 0 for r in gone)
        if any(region is self._tail for region in gone):
            self._tail = None
        self._used.update(region.spool for region in kept if region.spool)
        self._used.subtract(region.spool for region in gone if region.spool)
        left = {region.spool for region in gone if region.spool and not self._used[region.spool]}
        for spool in left:
            del self._used[spool]
        self._spools.refer(left, ())

    @property
    def has_outgrown(self) -> bool:
        """Whether the own file is mostly dead, and what is left of it short."""
        if self._file_length < DEAD_BYTES_MAX:
            return False
        live = sum(region.length or 0 for region in self._own())
        return live <= MOVED_BYTES_MAX and self._file_length - live >= DEAD_BYTES_MAX

    def _own(self) -> list[Region]:
        return [region for region in self._regions if not region.spool]

    def begin_move(self) -> "Move":
        """The rest of the own file, to be written to a new one with ``Move.write``."""
        generation = self._spools.next_generation()
        path = draft_path(self._directory, self._ino, generation)
        return Move(generation, path, [self._content(region) for region in self._own()])

    def finish_move(self, move: "Move") -> Path:
        """Use the new file, which is synced; the old one's path, stale when this is synced.

        Only if nothing was written since ``begin_move``. Inside the caller's transaction.
        """
        old = self._path
        self.release_file()
        self._generation = move.generation
        self._sync_failed = False
        self._file_length = 0
        for region, content in zip(self._own(), move.contents, strict=True):
            region.file_start = self._file_length
            self._file_length += len(content)
        self._tail = None
        self._table.put(self._ino, self._generation, self._regions)
        return old

    def forget(self) -> Path:
        """Delete the rows; the path of the file, to be removed once that is synced."""
        self._table.delete(self._ino)
        self._spools.refer(self._used, ())
        self._regions, self._starts, self._live_bytes = [], [], 0
        self._used.clear()
        self._tail = None
        self.release_file()
        return self._path


def new_draft(directory: Path, table: DraftTable, spools: Spools, ino: InodeNo) -> Draft:
    """An empty draft; it has a row and, its generation being new, no file yet."""
    generation = spools.next_generation()
    table.put(ino, generation, [])
    return Draft(directory, table, spools, ino, generation, [], is_new=True)


def load_draft(directory: Path, table: DraftTable, spools: Spools, ino: InodeNo) -> Draft | None:
    """The draft that ``ino`` had when it was last in memory, or None."""
    generation = table.generation(ino)
    if generation is None:
        return None
    return Draft(directory, table, spools, ino, generation, table.regions(ino))
