"""The vault: what people import."""

import contextlib
import logging
import os
import stat
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.split import Splitter
from stowkenfs.errors import ConversationNotFound, IndexDamaged, IsADirectory, TreeError
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.changes import ChangeLog
from stowkenfs.index.connection import CHECKPOINT_BYTES, Connection
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.store.api import PackStore
from stowkenfs.store.local import LocalStore, sync_directory
from stowkenfs.store.memory import MemoryStore
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.conversation import (
    SUFFIX,
    Conversation,
    parse_conversation,
    path_of_id,
    render_conversation,
)
from stowkenfs.vault.drafts import sync_files
from stowkenfs.vault.files import Clock, FileTable
from stowkenfs.vault.ingest import Ingest, Piece
from stowkenfs.vault.inspect import DocumentSummary, conversation_segments, summarize
from stowkenfs.vault.lock import Holder, VaultLock
from stowkenfs.vault.namespace import encode_changes
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.sealer import Sealer, extents_of
from stowkenfs.vault.stats import VaultStats, collect_stats
from stowkenfs.vault.superblock import Superblock, read_superblock, write_superblock
from stowkenfs.vault.tree import Tree
from stowkenfs.vault.verify import Progress, VerifyReport, verify_vault

log = logging.getLogger(__name__)

CHANGES_AT_ONCE = 500
CHANGE_PAGES_AT_ONCE = 20
READ_BYTES = 1 << 20
TIDY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What storing one conversation did. Sizes in bytes.

    ``stored`` is what the vault grew by for it, shared block headers not counted.
    """

    id: str
    segments: int
    deduplicated_segments: int
    bytes_in: int
    stored: int


class Vault:
    """Everything stored in one directory, or in memory. Open it with ``Vault.open``.

    One event loop uses it at a time; its methods may be called from many tasks. The parts
    are public for the layers above: ``tree`` (names), ``files`` (content in use),
    ``sealer`` (drafts to records), ``reader`` (records to bytes).
    """

    def __init__(
        self,
        connection: Connection,
        store: PackStore,
        config: VaultConfig,
        directory: Path | None,
        clock: Clock,
    ) -> None:
        self.config = config
        self.directory = directory
        self._connection = connection
        self._clock = clock
        self._catalogue = Catalogue(connection)
        self._inodes = InodeTable(connection)
        self._changes = ChangeLog(connection, self._inodes)
        self._namespace_lock = anyio.Lock()
        self.reader = Reader(
            store,
            self._catalogue,
            record_cache_bytes=config.record_cache_bytes,
            block_cache_bytes=config.block_cache_bytes,
        )
        drafts = directory / "drafts" if directory else None
        self.files = FileTable(
            connection, self._inodes, self._catalogue, self.reader, drafts, clock
        )
        self.tree = Tree(connection, self._inodes, self.files, clock)
        self._committer = Committer(connection, self._catalogue, store, config.compression_level)
        self.ingest = Ingest(
            self._catalogue,
            self._committer,
            self.reader,
            workers=config.workers,
            level=config.compression_level,
        )
        self.sealer = Sealer(
            self.files,
            self._inodes,
            self._catalogue,
            self.ingest,
            self._committer,
            clock=clock,
            after_seconds=config.seal_after_seconds,
            side_by_side=max(config.workers, 1) + 1,
        )

    # Opening

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        path: str | os.PathLike[str],
        config: VaultConfig | None = None,
        *,
        clock: Clock = time.time_ns,
    ) -> AsyncIterator["Vault"]:
        """The vault in a directory, made there if it is absent or empty; locked until the end.

        Raises NotAVault, UnknownFormat, SuperblockCorrupt, IndexDamaged, or VaultLocked, which
        says by whom.
        """
        config = config or VaultConfig()
        directory = Path(path).absolute()  # the process may change its directory later
        lock = await anyio.to_thread.run_sync(_prepare, directory, config, clock)
        try:
            store = LocalStore(directory / "packs")
            connection = _open_index(directory / "index.db", store)
            vault = cls(connection, store, config, directory, clock)
            vault._lock = lock
            try:
                vault._recover(store)
                yield vault
            finally:
                with anyio.CancelScope(shield=True), contextlib.ExitStack() as closing:
                    closing.callback(connection.close)
                    closing.callback(store.close)
                    closing.callback(vault.files.close)
                    await vault._finish()
        finally:
            lock.release()

    _lock: VaultLock | None = None

    @classmethod
    @asynccontextmanager
    async def memory(
        cls, config: VaultConfig | None = None, *, clock: Clock = time.time_ns
    ) -> AsyncIterator["Vault"]:
        """A vault without a disk, gone at the end; used like one from ``open``."""
        connection = Connection(None)
        try:
            yield cls(connection, MemoryStore(), config or VaultConfig(), None, clock)
        finally:
            connection.close()

    def _recover(self, store: LocalStore) -> None:
        """Undo what a crash left half done; quick, whatever the vault's size."""
        last, length = self._catalogue.last_pack()
        for pack, size in store.packs():
            if pack == last and size > length:
                store.truncate(pack, length)
            elif pack > last:
                store.truncate(pack, 0)
        for ino in self.files.recover():
            self.sealer.note(ino)

    def announce(self, mountpoint: str, *, leaving: bool = False) -> None:
        """Tell others where the vault is mounted, and when it is about to be free."""
        if self._lock is not None:
            self._lock.announce(Holder(os.getpid(), mountpoint, leaving))

    async def _finish(self) -> None:
        await self.files.settle_all()
        self.files.finish()
        await self.write_namespace()
        await self.sync()
        await self.sealer.remove_stale()

    # Durability

    async def sync(self) -> None:
        """Return when everything stored so far survives a power cut; drafts have their own."""
        await self._committer.sync()

    async def sync_file(self, ino: InodeNo) -> None:
        """Return when the content and name of a file survive a power cut."""
        live = self.files.live(ino)
        if live is not None:
            self.files.settle(live)
            if live.draft is not None and self.directory is not None:
                files = live.draft.files_to_sync()
                await anyio.to_thread.run_sync(sync_files, files, self.directory / "drafts")
        await self.sync()

    async def write_namespace(self) -> None:
        """Write what changed in the tree into the packs, from which the index can be rebuilt."""
        while await self._write_changes():
            pass

    async def _write_changes(self) -> bool:
        """Write one block of changes; whether there were any."""
        async with self._namespace_lock:  # two at once could settle what neither has written
            changes = self._changes.page(CHANGES_AT_ONCE)
            if changes:
                payload, entries = encode_changes(change for change, _ in changes)
                await self._committer.store_namespace(payload, entries)
                self._changes.settle(changes)
            return bool(changes)

    @property
    def index_log_bytes(self) -> int:
        """Length of the index's WAL, which grows as long as writes go on without a pause."""
        return self._connection.wal_bytes()

    async def shorten_index_log(self) -> None:
        """Make the WAL start anew with the next write, if none comes before this returns."""
        await self.sync()
        await anyio.to_thread.run_sync(self._connection.checkpoint)

    async def tidy(self) -> None:
        """Background work of a long-lived vault: seal, note names, keep the WAL short."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.sealer.run)
            while True:
                await anyio.sleep(TIDY_SECONDS)
                await self._tidy_once()

    async def _tidy_once(self) -> None:
        try:
            # While writes go on there are always changes; the WAL must get its turn.
            for _ in range(CHANGE_PAGES_AT_ONCE):
                if self.sealer.waiting or not await self._write_changes():
                    break
            if self.index_log_bytes > CHECKPOINT_BYTES:
                await self.shorten_index_log()
        except OSError:
            log.exception("background work failed; it is tried again")

    # Conversations

    async def store(self, conversation: Conversation) -> StoreResult:
        """Keep ``conversation``; on return it survives a power cut.

        One with the same id is replaced. Without an id it gets a random one.
        Raises InvalidId.
        """
        if conversation.id is None:
            conversation.id = str(uuid.uuid4())
        path = path_of_id(conversation.id)
        content = render_conversation(conversation)
        before = self.summary_numbers()
        ino = await self.write_document(path, content)
        await self.sync()
        after = self.summary_numbers()
        summary = await self.summarize(ino)
        new = after[0] - before[0]
        return StoreResult(
            id=conversation.id,
            segments=summary.segments,
            deduplicated_segments=max(summary.segments - new, 0),
            bytes_in=len(content),
            stored=after[1] - before[1],
        )

    def summary_numbers(self) -> tuple[int, int]:
        """Segments stored so far, and bytes of packs."""
        return self._catalogue.totals()

    async def retrieve(self, conversation_id: str) -> Conversation:
        """The conversation whole, its ``segments`` filled.

        An id is that of a stored conversation, the path of any file with or without its
        ``.json``, or an id that a file gives itself. Raises ConversationNotFound, InvalidId,
        NotAConversation, Corrupt.
        """
        inode = self.find_conversation(conversation_id)
        content = await self.read_file(inode.ino)
        conversation = await anyio.to_thread.run_sync(parse_conversation, content)
        conversation.segments = await anyio.to_thread.run_sync(conversation_segments, content)
        if conversation.id is None:
            conversation.id = conversation_id
        return conversation

    def find_conversation(self, conversation_id: str) -> Inode:
        """The file of a conversation. Raises ConversationNotFound or InvalidId."""
        path = path_of_id(conversation_id)
        for candidate in (path, path.removesuffix(SUFFIX.encode())):
            with contextlib.suppress(TreeError):
                inode = self.tree.resolve(candidate)
                if stat.S_ISREG(inode.mode):
                    return inode
        ino = self._inodes.conversation(conversation_id)
        if ino is None:
            raise ConversationNotFound(conversation_id)
        return self.tree.inode(ino)

    async def delete(self, conversation_id: str) -> None:
        """Remove a conversation's file; on return that survives a power cut.

        Segments that others share stay. Raises ConversationNotFound.
        """
        inode = self.find_conversation(conversation_id)
        path = self.tree.path_of(inode.ino)
        if path is None:
            raise ConversationNotFound(conversation_id)
        parent, _, name = path.rpartition(b"/")
        self.tree.unlink(self.tree.resolve(parent).ino, name)
        await self.sync()

    def list(self, prefix: str = "") -> Sequence[str]:
        """Ids of all conversations that begin with ``prefix``, sorted.

        An id is the path of a file without its ``.json``. All at once, some 20 us a file;
        ``walk`` goes through a vault of any size step by step.
        """
        paths = (path for path, inode in self._walk_all() if stat.S_ISREG(inode.mode))
        names = (os.fsdecode(path[1:]).removesuffix(SUFFIX) for path in paths)
        return sorted(name for name in names if name.startswith(prefix))

    def ids_page(self, after: str, rows: int) -> Sequence[tuple[str, InodeNo]]:
        """Ids that files give themselves, in order, behind ``after``."""
        return self._inodes.conversation_page(after, rows)

    # Documents

    async def write_document(
        self, path: bytes, content: bytes, *, mode: int = 0o644, mtime_ns: int | None = None
    ) -> InodeNo:
        """Put ``content`` at ``path``, making its directories; readable on return."""
        judged = await anyio.to_thread.run_sync(about, content[:HEAD_BYTES])
        extents = await self.store_content(content)
        parent = self.make_directories(path.rpartition(b"/")[0])
        name = path.rpartition(b"/")[2]
        inode = self.tree.lookup(parent, name)
        if inode is not None and not stat.S_ISREG(inode.mode):
            raise IsADirectory(f"{path!r} is there already and is no file")
        with self._connection.transaction():
            if inode is None:
                inode = self.tree.create(
                    parent, name, stat.S_IFREG | mode, os.getuid(), os.getgid()
                )
            self.place(inode.ino, len(content), extents, mtime_ns=mtime_ns)
            self._inodes.name_conversation(inode.ino, judged.names)
        return inode.ino

    async def store_content(self, content: bytes) -> Sequence[Extent]:
        """``content`` as records that nothing refers to yet."""
        judged = await anyio.to_thread.run_sync(about, content[:HEAD_BYTES])
        units = await anyio.to_thread.run_sync(Splitter(judged.shape).feed, content, True)
        pieces = [Piece(unit, judged.vocabulary, judged.ids_vocabulary) for unit in units]
        return extents_of(0, await self.ingest.store(pieces))

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
        extents = self.extents_of_file(ino)
        size = self.files.inode(ino).size
        return await anyio.to_thread.run_sync(summarize, self.reader, extents, size)

    async def walk(self, directory: InodeNo = ROOT_INODE) -> AsyncIterator[tuple[bytes, Inode]]:
        """Path and inode of everything below ``directory``, parents first."""
        for at, entry in enumerate(self._walk_all(directory)):
            yield entry
            if at % CHANGES_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    def _walk_all(self, directory: InodeNo = ROOT_INODE) -> Iterator[tuple[bytes, Inode]]:
        waiting = [(b"", directory)]
        while waiting:
            path, at = waiting.pop()
            cookie = 0
            while page := self.tree.page(at, cookie, CHANGES_AT_ONCE):
                for dentry, inode in page:
                    below = path + b"/" + dentry.name
                    yield below, inode
                    if stat.S_ISDIR(inode.mode):
                        waiting.append((below, inode.ino))
                    cookie = dentry.cookie

    # Reports

    async def stats(self) -> VaultStats:
        """Totals of the vault."""
        await self.files.settle_all()
        return await collect_stats(self._connection, self.directory)

    async def verify(self, progress: Progress = lambda _done, _total: None) -> VerifyReport:
        """Read everything and check every checksum and hash; see VerifyReport."""
        return await verify_vault(self._connection, self.reader, self.tree.path_of, progress)


def _prepare(directory: Path, config: VaultConfig, clock: Clock) -> VaultLock:
    """The directory as a vault that this process has locked."""
    read_superblock(directory)  # refuse early what is something else
    made = not directory.exists()
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = VaultLock(directory, wait_seconds=config.lock_wait_seconds)
    try:
        superblock = read_superblock(directory)
        if superblock is None:
            write_superblock(directory, Superblock(uuid.uuid4(), clock()))
            if made:
                sync_directory(directory.parent)
        (directory / "drafts").mkdir(mode=0o700, exist_ok=True)
    except BaseException:
        lock.release()
        raise
    return lock


def _open_index(path: Path, store: LocalStore) -> Connection:
    """The index; where packs are and it is not, recovery would take them for leftovers."""
    has_packs = any(length for _, length in store.packs())
    if has_packs and not path.exists():
        raise IndexDamaged(path, "it is not there")
    connection = Connection(path)
    if has_packs and connection.is_new:
        connection.close()
        path.unlink()  # made just now; the next opening must not believe it
        raise IndexDamaged(path, "it is empty")
    return connection
