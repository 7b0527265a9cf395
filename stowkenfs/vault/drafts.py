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
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.ids import InodeNo
from stowkenfs.index.drafts import DraftTable, Region
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.spools import Spools

SPOOLED_BYTES_MAX = 128 << 10
"""A first write up to this size goes to the spool: what the kernel sends in one request."""

DEAD_BYTES_MAX = 4 << 20
MOVED_BYTES_MAX = 1 << 20
"""A file with this many sealed bytes is left, if no more than that many others are in it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What is left of a draft's file, on its way to a new one."""

    generation: int
    path: Path
    contents: list[bytes]

    def write(self) -> None:
        """Write the new file, synced: rows that refer to it may survive a power cut. Blocks."""
        with self.path.open("wb") as file:
            file.writelines(self.contents)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(self.path.parent)


class Draft:
    """The unsealed bytes of one document. Event loop's thread.

    ``_regions`` is sorted by ``start``, disjoint, and never has two that could be one.
    ``_tail``, the one that ends where the file ends, is the only one that grows.
    """

    def __init__(
        self,
        path: Path,
        table: DraftTable,
        spools: Spools,
        ino: InodeNo,
        generation: int,
        regions: list[Region],
    ) -> None:
        self._directory = path
        self._table = table
        self._spools = spools
        self._ino = ino
        self._generation = generation
        self._regions = regions
        self._fd: int | None = None
        self._tail: Region | None = None
        on_disk = self._length_on_disk()
        for region in regions:
            if region.length is None:
                region.length = max(on_disk - region.file_start, 0)
                self._tail = region
        # After a power cut the file may be shorter than its rows say: nothing new goes there.
        ends = (r.file_start + (r.length or 0) for r in regions if not r.spool)
        self._file_length = max(on_disk, *ends, 0)
        self._starts = [region.start for region in regions]
        if self._tail is not None and not self._tail.length:
            self._keep([(0, self.end)])

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
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._fd

    def release_file(self) -> None:
        """Close the descriptor; it is opened again when needed."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def files_to_sync(self) -> list[int]:
        """Descriptors of the files that hold the draft, for ``sync_files``."""
        files = self._spools.duplicates(self._spools_used())
        return [*files, os.dup(self._open())] if self._file_length else files

    @property
    def modified_ns(self) -> int:
        """When the files were last written: the document's mtime if the daemon died."""
        paths = [self._path, *map(self._spools.path, self._spools_used())]
        return max((path.stat().st_mtime_ns for path in paths if path.exists()), default=0)

    def _spools_used(self) -> set[int]:
        return {region.spool for region in self._regions if region.spool}

    # What is where

    @property
    def is_empty(self) -> bool:
        return not self._regions

    @property
    def end(self) -> int:
        """One past the last byte of the document that is here."""
        if not self._regions:
            return 0
        last = self._regions[-1]
        return last.start + (last.length or 0)

    @property
    def live_bytes(self) -> int:
        return sum(region.length or 0 for region in self._regions)

    def spans(self) -> list[tuple[int, int]]:
        """``(start, end)`` of each range of the document that is here, neighbours joined."""
        joined: list[tuple[int, int]] = []
        for region in self._regions:
            end = region.start + (region.length or 0)
            if joined and joined[-1][1] == region.start:
                joined[-1] = (joined[-1][0], end)
            elif region.length:
                joined.append((region.start, end))
        return joined

    def _overlapping(self, start: int, end: int) -> Iterator[Region]:
        at = max(bisect_right(self._starts, start) - 1, 0)
        for region in self._regions[at:]:
            if region.start >= end:
                break
            if region.start + (region.length or 0) > start:
                yield region

    def _pieces(self, start: int, end: int) -> list[Region]:
        """What is here of a range, in order."""
        found = []
        for region in self._overlapping(start, end):
            low = max(region.start, start)
            high = min(region.start + (region.length or 0), end)
            position = region.file_start + low - region.start
            found.append(Region(low, position, high - low, region.spool))
        return found

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
                tail.length = (tail.length or 0) + len(content)
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
            else:
                self._pwrite(part, piece.file_start)
            at = high
        if at < end:
            self._new_region(at, content[at - start :])

    def _spool(self, start: int, content: bytes) -> None:
        """The first region, in the current spool."""
        spool, position = self._spools.append(content)
        region = Region(start, position, len(content), spool)
        self._table.put_region(self._ino, region)
        self._spools.refer((), (spool,))
        self._regions, self._starts = [region], [start]

    def _new_region(self, start: int, content: bytes) -> None:
        """Append ``content`` to the file as a region that becomes the tail.

        The order matters: the earlier tail's length is fixed before bytes that are not
        its own follow it, and a row never promises bytes that are not there.
        """
        tail = self._tail
        if tail is not None and tail.start + (tail.length or 0) == start:
            self._append(content)
            tail.length = (tail.length or 0) + len(content)
            return
        if tail is not None:
            self._table.put_region(self._ino, tail)
            self._tail = None
        region = Region(start, self._file_length, None)
        self._append(content)
        self._table.put_region(self._ino, region)
        region.length = len(content)
        at = bisect_right(self._starts, start)
        self._regions.insert(at, region)
        self._starts.insert(at, start)
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
        while view:
            written = os.pwrite(fd, view, position)
            if written == 0:
                raise OSError(errno.EIO, "the draft takes no more bytes")
            view, position = view[written:], position + written

    def truncate(self, size: int) -> None:
        """Forget bytes at and beyond ``size``."""
        if size < self.end:
            self._keep([(0, size)])

    def drop(self, start: int, end: int) -> None:
        """Forget ``start`` to ``end``, which are records now.

        The bytes stay in the file until it is left, see ``has_outgrown``, or removed.
        """
        self._keep([(0, start), (end, self.end)])

    def _keep(self, ranges: list[tuple[int, int]]) -> None:
        before = self._spools_used()
        kept = [
            piece
            for low, high in ranges
            if high > low
            for piece in self._pieces(low, high)
            if piece.length
        ]
        self._set_regions(kept)
        self._tail = None
        self._table.put(self._ino, self._generation, kept)
        self._spools.refer(before, self._spools_used())

    def _set_regions(self, regions: list[Region]) -> None:
        self._regions = regions
        self._starts = [region.start for region in regions]

    @property
    def has_outgrown(self) -> bool:
        """Whether the own file is mostly dead, and what is left of it short."""
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
        self._spools.refer(self._spools_used(), ())
        self._set_regions([])
        self.release_file()
        return self._path


def sync_files(files: list[int], directory: Path) -> None:
    """Return when ``files`` and their names survive a power cut; closes them. Blocks."""
    try:
        for fd in files:
            os.fdatasync(fd)
    finally:
        for fd in files:
            os.close(fd)
    sync_directory(directory)


def sync_drafts(directory: Path) -> None:
    """Return when all drafts survive a power cut. Blocks."""
    for path in directory.iterdir():
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fdatasync(fd)
        finally:
            os.close(fd)
    sync_directory(directory)


def draft_path(directory: Path, ino: InodeNo, generation: int) -> Path:
    return directory / f"{ino:x}.{generation:x}"


def parse_draft_name(name: str) -> tuple[InodeNo, int] | None:
    """Inode and generation of a file under ``drafts/``; None for anything else."""
    ino, dot, generation = name.partition(".")
    try:
        return (InodeNo(int(ino, 16)), int(generation, 16)) if dot else None
    except ValueError:
        return None


def new_draft(directory: Path, table: DraftTable, spools: Spools, ino: InodeNo) -> Draft:
    """An empty draft; it has a row and no file yet."""
    generation = spools.next_generation()
    table.put(ino, generation, [])
    return Draft(directory, table, spools, ino, generation, [])


def load_draft(directory: Path, table: DraftTable, spools: Spools, ino: InodeNo) -> Draft | None:
    """The draft that ``ino`` had when it was last in memory, or None."""
    generation = table.generation(ino)
    if generation is None:
        return None
    return Draft(directory, table, spools, ino, generation, table.regions(ino))
