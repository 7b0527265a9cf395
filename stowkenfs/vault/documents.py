"""Documents of a vault as a whole: written, read and walked without a mount."""

import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.split import units_of
from stowkenfs.errors import IsADirectory
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.catalogue import Extent
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.assembly import Tally
from stowkenfs.vault.ingest import Piece
from stowkenfs.vault.inspect import DocumentSummary, summarize
from stowkenfs.vault.reindexed import Reindexed
from stowkenfs.vault.sealer import extents_of

WALK_ROWS = 500
READ_BYTES = 1 << 20
APPEND_BYTES = 1 << 17
"""Written at a time, in the event loop's thread."""

NO_ATTRIBUTES: Mapping[bytes, bytes | None] = MappingProxyType({})


class Documents(Reindexed):
    """Files by path or inode, whatever they hold."""

    async def write_document(
        self,
        path: bytes,
        content: bytes,
        *,
        mode: int = 0o644,
        mtime_ns: int | None = None,
        tally: Tally | None = None,
        attributes: Mapping[bytes, bytes | None] = NO_ATTRIBUTES,
    ) -> InodeNo:
        """Put ``content`` at ``path``, making its directories; readable on return.

        ``tally`` is added what is new. ``attributes`` are extended attributes that the file has
        from then on, None those that it has no more. Content and attributes change together.
        """
        judged = await anyio.to_thread.run_sync(about, content[:HEAD_BYTES])
        units = await anyio.to_thread.run_sync(units_of, content, judged.shape)
        pieces = [Piece(unit, judged.vocabulary, judged.ids_vocabulary) for unit in units]
        with self.ingest.passages.enter():
            extents = extents_of(0, await self.ingest.store(pieces, tally))
            parent = self.make_directories(path.rpartition(b"/")[0])
            name = path.rpartition(b"/")[2]
            inode = self.tree.lookup(parent, name)
            if inode is not None and not stat.S_ISREG(inode.mode):
                raise IsADirectory(f"{path!r} is there already and is no file")
            if inode is not None:
                self.versions.keep(parent, name, inode)
            with self._connection.transaction():
                if inode is None:
                    inode = self.tree.create(
                        parent, name, stat.S_IFREG | mode, os.getuid(), os.getgid()
                    )
                self.place(inode.ino, len(content), extents, mtime_ns=mtime_ns)
                self._inodes.name_conversation(inode.ino, judged.names)
                for name, value in attributes.items():
                    self._set_attribute(inode.ino, name, value)
        return inode.ino

    def _set_attribute(self, ino: InodeNo, name: bytes, value: bytes | None) -> None:
        if value is not None:
            self.tree.set_xattr(ino, name, value, create=False, replace=False)
        elif name in self.tree.xattr_names(ino):
            self.tree.remove_xattr(ino, name)

    async def append_document(self, ino: InodeNo, at: int, content: bytes) -> None:
        """Make a file its first ``at`` bytes and ``content``; on return it survives a power cut.

        ``at`` is at most the file's size. If this is cut short, there may be less of
        ``content``. Costs what is appended, whatever the file's size; sealed as what a mount
        writes is.
        """
        if self.directory is None:  # which has no drafts
            whole = await self.read_file(ino)
            path = self.tree.path_of(ino)
            assert path is not None, "a file with a name"
            await self.write_document(path, whole[:at] + content)
            return
        live = self.files.acquire(ino, writing=True)
        try:
            assert at <= live.inode.size, f"{at} is behind the end of the file"
            if at < live.inode.size:
                self.files.truncate(ino, at)
            for start in range(0, len(content), APPEND_BYTES):
                self.files.write(ino, at + start, content[start : start + APPEND_BYTES])
                await anyio.lowlevel.checkpoint()
            await self.sync_file(ino)
        finally:
            self.files.release(ino, writing=True)

    def place(
        self, ino: InodeNo, size: int, extents: Sequence[Extent], *, mtime_ns: int | None = None
    ) -> None:
        """Make ``extents`` the whole content of a file, in one transaction."""
        with self._connection.transaction():
            self.files.truncate(ino, 0)
            self._catalogue.replace_extents(ino, 0, size, extents)
            now = self._clock()
            inode = self.files.inode(ino)
            inode.size = size
            inode.mtime_ns = now if mtime_ns is None else mtime_ns
            inode.ctime_ns = now
            self._inodes.update(inode)

    def make_directories(self, path: bytes, mode: int = 0o755) -> InodeNo:
        """The directory at ``path``, made with those above it where they are absent."""
        at = ROOT_INODE
        for name in path.split(b"/"):
            if not name:
                continue
            inode = self.tree.lookup(at, name)
            if inode is None:
                inode = self.tree.create(at, name, stat.S_IFDIR | mode, os.getuid(), os.getgid())
            at = inode.ino
        return at

    async def read_file(self, ino: InodeNo) -> bytes:
        """The whole content of a file. Raises Corrupt."""
        pieces = [piece async for piece in self.read_pieces(ino)]
        return b"".join(pieces)

    async def read_pieces(self, ino: InodeNo) -> AsyncIterator[bytes]:
        """The content of a file in pieces of up to READ_BYTES."""
        live = self.files.acquire(ino, writing=False)
        try:
            at = 0
            while piece := await self.files.read(live, at, READ_BYTES):
                at += len(piece)
                yield piece
        finally:
            self.files.release(ino, writing=False)

    def transaction(self) -> AbstractContextManager[None]:
        """Changes of the tree made inside happen together or not at all; no ``await`` in it."""
        return self._connection.transaction()

    def name_conversation(self, ino: InodeNo, ids: Sequence[str]) -> None:
        """Let a file be found by the ids that it gives itself."""
        self._inodes.name_conversation(ino, ids)

    def extents_of_file(
        self, ino: InodeNo, start: int = 0, end: int | None = None
    ) -> Sequence[Extent]:
        """Where the sealed content of a file lies, or the part of it that touches a range."""
        end = max(self.files.inode(ino).size, 1) if end is None else end
        return self._catalogue.extents(ino, start, end)

    async def summarize(self, ino: InodeNo) -> DocumentSummary:
        """What a file consists of, and what is stored for it. Raises NotFound, Corrupt."""
        with self.readers.enter():
            extents = self.extents_of_file(ino)
            size, unsealed = self.files.inode(ino).size, self.files.unsealed_bytes(ino)
            return await anyio.to_thread.run_sync(summarize, self.reader, extents, size, unsealed)

    async def walk(self, directory: InodeNo = ROOT_INODE) -> AsyncIterator[tuple[bytes, Inode]]:
        """Path and inode of everything below ``directory``, parents first."""
        for at, entry in enumerate(self._walk_all(directory)):
            yield entry
            if at % WALK_ROWS == 0:
                await anyio.lowlevel.checkpoint()

    def _walk_all(self, directory: InodeNo = ROOT_INODE) -> Iterator[tuple[bytes, Inode]]:
        waiting = [(b"", directory)]
        while waiting:
            path, at = waiting.pop()
            cookie = 0
            with self.tree.listings.of(at):
                while page := self.tree.page(at, cookie, WALK_ROWS):
                    for dentry, inode in page:
                        below = path + b"/" + dentry.name
                        yield below, inode
                        if stat.S_ISDIR(inode.mode):
                            waiting.append((below, inode.ino))
                        cookie = dentry.cookie

    def ids_page(self, after: str, rows: int) -> Sequence[tuple[str, InodeNo]]:
        """Ids that files give themselves, in order, behind ``after``."""
        return self._inodes.conversation_page(after, rows)
