"""Bulk load: trees of a disk into a vault that is not mounted, as ``cp -a`` would."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import AlreadyExists, IsADirectory, StowkenError, TreeError
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.vault.assembly import Run
from stowkenfs.vault.ingest import Piece
from stowkenfs.vault.intake import (
    Attributes,
    Batch,
    Content,
    End,
    Enter,
    FurtherName,
    Item,
    Leave,
    Source,
    Special,
    Unreadable,
)
from stowkenfs.vault.sealer import extents_of
from stowkenfs.vault.sources import read_batches
from stowkenfs.vault.transfer import Progress, TransferReport
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.xattr_room import OWN_PREFIX

ITEMS_AT_ONCE = 16
"""Put in place in one transaction: some milliseconds of the event loop."""

INDEX_LOG_BYTES_MAX = 64 << 20
"""The index's WAL starts anew only after a pause, which an import makes when it is this long."""

_PERMISSIONS = 0o7777
_TYPE = 0o170000


async def import_trees(
    vault: Vault, sources: Sequence[Path], progress: Progress = lambda _: None
) -> TransferReport:
    """Put each of ``sources``, with all that is below it, in the vault's root.

    Modes, owners, times, links, holes and the user's attributes are kept. A file takes the
    place of an earlier one when all of it is stored, a directory is merged. What cannot be
    read is left out and reported. Everything is durable on return; when cancelled or
    interrupted, files are there whole or not at all. Raises OSError or Corrupt when the
    vault cannot take more.
    """
    importer = _Importer(vault, progress)
    await importer.run(sources)
    await vault.write_namespace()
    await vault.sync()
    return importer.report


class _Importer:
    """One import. Event loop's thread.

    ``_unfinished``: files of which some content is stored and which have no name yet.
    ``_error``: what stopped the import.
    """

    def __init__(self, vault: Vault, progress: Progress) -> None:
        self.report = TransferReport()
        self._vault = vault
        self._tree = vault.tree
        self._progress = progress
        self._unfinished: set[Source] = set()
        self._error: Exception | None = None
        self._in_flight = anyio.CapacityLimiter(max(vault.config.workers, 1) + 1)

    async def run(self, sources: Sequence[Path]) -> None:
        root = Source(None, b"", b"", ROOT_INODE)
        batches = read_batches(sources, root, self._vault.directory)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._vault.tidy)
                await self._store_all(batches)
                tasks.cancel_scope.cancel()
        finally:
            for source in self._unfinished:
                assert source.live is not None
                self._vault.files.release(source.live.inode.ino, writing=False)
        if self._error is not None:
            raise self._error

    async def _store_all(self, batches: Iterator[Batch]) -> None:
        """Read in a thread; encode some batches at a time; put them in place in order."""
        async with anyio.create_task_group() as tasks:
            before = anyio.Event()
            before.set()
            while True:
                token = object()
                await self._in_flight.acquire_on_behalf_of(token)
                batch = await anyio.to_thread.run_sync(next, batches, None)
                if batch is None:
                    break
                if self._vault.index_log_bytes > INDEX_LOG_BYTES_MAX:
                    await before.wait()
                    await self._vault.shorten_index_log()
                placed = anyio.Event()
                tasks.start_soon(self._store, batch, before, placed, tasks.cancel_scope, token)
                before = placed

    async def _store(
        self,
        batch: Batch,
        before: anyio.Event,
        placed: anyio.Event,
        scope: anyio.CancelScope,
        token: object,
    ) -> None:
        pieces = [
            Piece(unit, item.judged.vocabulary, item.judged.ids_vocabulary)
            for item in batch.items
            if isinstance(item, Content)
            for unit in item.units
        ]
        try:
            with self._vault.ingest.passages.enter():
                runs = iter(await self._vault.ingest.store(pieces) if pieces else [])
                await before.wait()
                items = iter(batch.items)
                while some := list(islice(items, ITEMS_AT_ONCE)):
                    with self._vault.transaction():
                        for item in some:
                            self._put(item, runs)
                    await anyio.lowlevel.checkpoint()
            self._progress(self.report)
        except (StowkenError, OSError) as error:
            self._error = self._error or error
            scope.cancel()
        finally:
            self._in_flight.release_on_behalf_of(token)
        placed.set()

    # Putting in place; no awaits from here on

    def _put(self, item: Item, runs: Iterator[list[Run]]) -> None:
        source = _source_of(item)
        of_item = [next(runs) for _ in item.units] if isinstance(item, Content) else []
        parent = source.parent
        if source.failed or parent is None or parent.ino is None:
            return  # reported already, with the folder if it is that
        try:
            match item:
                case Enter():
                    self._enter(source, parent.ino, item.attributes)
                case Leave():
                    if source.ino is not None:
                        self._set_attributes(source.ino, item.attributes)
                case Content():
                    self._content(source, item, of_item)
                case End():
                    self._end(source, parent.ino, item)
                case Special():
                    self._special(source, parent.ino, item)
                case FurtherName():
                    self._further_name(source, parent.ino, item.first)
                case Unreadable():
                    self._fail(source, item.reason)
        except TreeError as error:
            self._fail(source, str(error))

    def _fail(self, source: Source, reason: str) -> None:
        self.report.fail(source.path, reason)
        if source.ino is None:
            source.failed = True
        if source in self._unfinished:
            self._release(source)
            self.report.content_bytes -= source.content_bytes

    def _release(self, source: Source) -> InodeNo:
        """A file that has no name by now is gone after this."""
        assert source.live is not None
        self._unfinished.remove(source)
        ino = source.live.inode.ino
        source.live = None
        self._vault.files.release(ino, writing=False)
        return ino

    def _enter(self, folder: Source, parent: InodeNo, attributes: Attributes) -> None:
        inode = self._tree.lookup(parent, folder.name)
        if inode is None:
            inode = self._tree.create(
                parent, folder.name, attributes.mode, attributes.uid, attributes.gid
            )
        elif inode.mode & _TYPE != attributes.mode & _TYPE:
            raise AlreadyExists("the vault has something else than a directory of that name")
        folder.ino = inode.ino
        self.report.directories += 1

    def _content(self, file: Source, content: Content, runs: Sequence[Sequence[Run]]) -> None:
        if file.live is None:
            self._begin(file)
        assert file.live is not None
        start, length = content.units[0].start, sum(len(unit.content) for unit in content.units)
        self._vault.files.sealed(file.live, start, start + length, extents_of(start, runs))
        file.content_bytes += length
        self.report.content_bytes += length

    def _begin(self, file: Source) -> None:
        inode = self._tree.create_nameless(0o100600, 0, 0)
        file.live = self._vault.files.acquire(inode.ino, writing=False)
        self._unfinished.add(file)

    def _end(self, file: Source, parent: InodeNo, end: End) -> None:
        self._make_room(parent, file.name)
        if file.live is None:
            self._begin(file)
        assert file.live is not None
        ino = file.live.inode.ino
        self._tree.give_name(ino, parent, file.name)
        self._tree.set_attributes(ino, size=end.size)
        self._set_attributes(ino, end.attributes)
        self._vault.name_conversation(ino, end.judged.names)
        file.ino = self._release(file)
        self.report.files += 1

    def _special(self, source: Source, parent: InodeNo, special: Special) -> None:
        self._make_room(parent, source.name)
        attributes = special.attributes
        inode = self._tree.create(
            parent, source.name, attributes.mode, attributes.uid, attributes.gid,
            rdev=attributes.rdev, target=special.target,
        )  # fmt: skip
        self._set_attributes(inode.ino, attributes)
        source.ino = inode.ino
        self.report.others += 1

    def _further_name(self, source: Source, parent: InodeNo, first: Source) -> None:
        if first.ino is None:
            self._fail(source, "the same file was left out under its other name")
            return
        inode = self._tree.lookup(parent, source.name)
        if inode is None or inode.ino != first.ino:
            self._make_room(parent, source.name)
            self._tree.link(first.ino, parent, source.name)
        self.report.names += 1

    def _make_room(self, parent: InodeNo, name: bytes) -> None:
        inode = self._tree.lookup(parent, name)
        if inode is None:
            return
        if inode.mode & _TYPE == 0o040000:
            raise IsADirectory("the vault has a directory of that name")
        self._tree.unlink(parent, name)

    def _set_attributes(self, ino: InodeNo, attributes: Attributes) -> None:
        for name in self._tree.xattr_names(ino):
            if not name.startswith(OWN_PREFIX):
                self._tree.remove_xattr(ino, name)
        for name, value in attributes.xattrs:
            self._tree.set_xattr(ino, name, value, create=False, replace=False)
        self._tree.set_attributes(
            ino,
            mode=attributes.mode & _PERMISSIONS,
            uid=attributes.uid,
            gid=attributes.gid,
            atime_ns=attributes.atime_ns,
            mtime_ns=attributes.mtime_ns,
        )


def _source_of(item: Item) -> Source:
    match item:
        case Enter() | Leave():
            return item.folder
        case Content() | End():
            return item.file
        case _:
            return item.source
