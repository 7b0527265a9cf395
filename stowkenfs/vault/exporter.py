"""Everything in a vault that is not mounted, as files of a disk again."""

import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import Corrupt, TreeError
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault import outlet
from stowkenfs.vault.live import LiveFile
from stowkenfs.vault.names import check_name
from stowkenfs.vault.transfer import Progress, TransferReport, reason_of
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.xattr_room import OWN_PREFIX

READ_BYTES = 1 << 20
PROBE_BYTES = 64 << 20
"""Extents are looked up for so much of a file at a time; holes are probed faster."""

PAGE_ROWS = 500


async def export_tree(
    vault: Vault, destination: Path, progress: Progress = lambda _: None
) -> TransferReport:
    """Write every file of the vault below ``destination``, an absent or empty directory.

    Modes, times, links, holes and the user's attributes are kept, owners when root exports.
    A file with damaged content is left out whole and reported; the rest goes on.
    Raises what ``prepare_destination`` raises, and OSError when the disk is full.
    """
    prepare = outlet.prepare_destination
    made = await anyio.to_thread.run_sync(prepare, destination, vault.directory)
    await vault.sealer.seal_due(everything=True)  # what a crash left as drafts
    exporter = _Exporter(vault, progress)
    await exporter.tree(os.fsencode(destination))
    if made:  # an existing directory is as its owner wants it
        await exporter.finish_directory(os.fsencode(destination), vault.tree.inode(ROOT_INODE))
    return exporter.report


class _Exporter:
    """One export. ``_linked``: files with names still to come, where the first is, and how many."""

    def __init__(self, vault: Vault, progress: Progress) -> None:
        self.report = TransferReport()
        self._vault = vault
        self._progress = progress
        self._linked: dict[InodeNo, tuple[bytes, int]] = {}

    async def tree(self, destination: bytes) -> None:
        """Everything below the root; a deep tree does not recurse."""
        levels = [(destination, self._vault.tree.inode(ROOT_INODE), self._entries(ROOT_INODE))]
        while levels:
            above, directory, entries = levels[-1]
            for name, inode in entries:
                path = above + b"/" + name
                if await self._entry(path, name, inode):
                    levels.append((path, inode, self._entries(inode.ino)))
                    break
            else:
                levels.pop()
                if levels:
                    await self.finish_directory(above, directory)

    def _entries(self, directory: InodeNo) -> Iterator[tuple[bytes, Inode]]:
        cookie = 0
        while page := self._vault.tree.page(directory, cookie, PAGE_ROWS):
            for dentry, inode in page:
                yield dentry.name, inode
                cookie = dentry.cookie

    async def _entry(self, path: bytes, name: bytes, inode: Inode) -> bool:
        """Write what one name stands for; whether it is a directory to go into."""
        try:
            check_name(name)
            if stat.S_ISDIR(inode.mode):
                await anyio.to_thread.run_sync(outlet.make_directory, path)
                self.report.directories += 1
                return True
            if not await self._further_name(path, inode):
                await self._first_name(path, inode)
        except (TreeError, Corrupt) as error:
            self.report.fail(path, reason_of(error))
        except OSError as error:
            if outlet.is_hopeless(error):
                raise
            self.report.fail(path, reason_of(error))
        self._progress(self.report)
        return False

    async def _further_name(self, path: bytes, inode: Inode) -> bool:
        if inode.ino not in self._linked:
            return False
        first, left = self._linked.pop(inode.ino)
        if left > 1:
            self._linked[inode.ino] = (first, left - 1)
        await anyio.to_thread.run_sync(outlet.make_name, first, path)
        self.report.names += 1
        return True

    async def _first_name(self, path: bytes, inode: Inode) -> None:
        if stat.S_ISREG(inode.mode):
            problem = await self._file(path, inode)
            self.report.files += 1
        else:
            problem = await anyio.to_thread.run_sync(outlet.make_special, path, inode)
            self.report.others += 1
        if inode.nlink > 1:
            self._linked[inode.ino] = (path, inode.nlink - 1)
        if problem is not None:
            self.report.fail(path, problem)

    async def finish_directory(self, path: bytes, inode: Inode) -> None:
        finish = outlet.finish_directory
        try:
            problem = await anyio.to_thread.run_sync(finish, path, inode, self._xattrs(inode.ino))
        except OSError as error:
            problem = reason_of(error)
        if problem is not None:
            self.report.fail(path, problem)

    def _xattrs(self, ino: InodeNo) -> list[tuple[bytes, bytes]]:
        tree = self._vault.tree
        names = [name for name in tree.xattr_names(ino) if not name.startswith(OWN_PREFIX)]
        return [(name, tree.xattr(ino, name)) for name in names]

    # Content

    async def _file(self, path: bytes, inode: Inode) -> str | None:
        """Write a file; what of its attributes could not be kept, or None."""
        xattrs = self._xattrs(inode.ino)
        live = self._vault.files.acquire(inode.ino, writing=False)
        output = outlet.OutputFile(path)
        written = 0
        try:
            async for start, piece in self._pieces(live):
                await anyio.to_thread.run_sync(output.write, start, piece)
                written += len(piece)
                self.report.content_bytes += len(piece)
                self._progress(self.report)
            return await anyio.to_thread.run_sync(output.finish, inode, xattrs)
        except BaseException:
            self.report.content_bytes -= written
            output.discard()
            raise
        finally:
            self._vault.files.release(inode.ino, writing=False)

    async def _pieces(self, live: LiveFile) -> AsyncIterator[tuple[int, bytes]]:
        """The content with its holes left out."""
        for start, end in self._data_ranges(live):
            at = start
            while at < end:
                piece = await self._vault.files.read(live, at, min(READ_BYTES, end - at))
                if not piece:
                    return
                yield at, piece
                at += len(piece)
                await anyio.lowlevel.checkpoint()

    def _data_ranges(self, live: LiveFile) -> Iterator[tuple[int, int]]:
        size = live.inode.size
        if live.draft is not None:
            yield 0, size
            return
        at, probe = 0, PROBE_BYTES
        while at < size:
            end = min(at + probe, size)
            extents = self._vault.extents_of_file(live.inode.ino, at, end)
            yield from _joined((max(e.start, at), min(e.end, end)) for e in extents)
            probe = PROBE_BYTES if extents else probe * 2
            at = end


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Neighbouring ranges as one, so that many small records are read together."""
    pending: tuple[int, int] | None = None
    for start, end in ranges:
        if pending is not None and pending[1] == start:
            pending = (pending[0], end)
            continue
        if pending is not None:
            yield pending
        pending = (start, end)
    if pending is not None:
        yield pending
