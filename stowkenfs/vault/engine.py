"""The parts of an opened vault, wired up, and what makes its changes durable."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.canonicals import CanonicalTable
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.changes import ChangeLog
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.key_runs import KeyRuns
from stowkenfs.index.recent import RecentRows
from stowkenfs.index.space import FULL, free_bytes, giving_room
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.dedup import Dedup
from stowkenfs.vault.draft_files import sync_drafts
from stowkenfs.vault.due import Due
from stowkenfs.vault.durability import Durability
from stowkenfs.vault.files import Clock, FileTable
from stowkenfs.vault.ingest import Ingest
from stowkenfs.vault.lock import Holder, VaultLock
from stowkenfs.vault.namespace import encode_changes
from stowkenfs.vault.near import NearIndex
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.registry import Registry
from stowkenfs.vault.sealer import Sealer
from stowkenfs.vault.tree import Tree

log = logging.getLogger(__name__)

CHANGES_AT_ONCE = 500
LOG_BYTES_MAX = 64 << 20
"""A WAL that is longer is worth some milliseconds in which nobody is answered."""


class Engine:
    """What every vault consists of; ``Documents`` and ``Vault`` build on it.

    The parts are public for the layers above: ``tree`` (names), ``files`` (content in use),
    ``sealer`` (drafts to records), ``reader`` (records to bytes), ``readers`` (enter it while
    numbers of records are in use).
    """

    def __init__(
        self,
        connection: Connection,
        store: PackStore,
        config: VaultConfig,
        directory: Path | None,
        clock: Clock,
        *,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self.config = config
        self.directory = directory
        self._connection = connection
        self._clock = clock
        self._frozen = FrozenTree(connection, self._load_group)
        self._catalogue = Catalogue(connection, self._frozen)
        self._inodes = InodeTable(connection, self._frozen, RecentRows())
        self._changes = ChangeLog(connection, self._inodes)
        self._namespace_lock = anyio.Lock()
        self._maintenance = anyio.Lock()
        self._lock: VaultLock | None = None  # a vault in memory needs none
        self.reader = Reader(
            store,
            self._catalogue,
            record_cache_bytes=config.record_cache_bytes,
            block_cache_bytes=config.block_cache_bytes,
        )
        self.readers = Passages()
        drafts = directory / "drafts" if directory else None
        self.files = FileTable(
            connection,
            self._inodes,
            self._catalogue,
            self.reader,
            self.readers,
            drafts,
            clock,
            read_only=read_only,
        )
        self.tree = Tree(connection, self._inodes, self.files, clock)
        self._store = store
        self._runs = KeyRuns(connection, self.reader.payload)
        self._dedup = Dedup(self._catalogue, self._runs, self.reader)
        self._near = NearIndex(
            CanonicalTable(connection),
            self.reader,
            lambda number: self._dedup.is_leaving(BlockKind.SEGMENTS, number),
            config.near_dedup_threshold,
        )
        self._committer = Committer(
            connection, self._catalogue, self._dedup, store, config.compression_level, self._near
        )
        self._durability = Durability(self.files, connection, drafts)
        self._registry = Registry(connection, self._catalogue, self.reader, store, clock)
        self.ingest = Ingest(
            self._dedup,
            self._committer,
            self.reader,
            workers=config.workers,
            level=config.compression_level,
            choices=self._registry.choices,
            with_bands=self._near.is_on,
        )
        self.sealer = Sealer(
            self.files,
            self._inodes,
            self._catalogue,
            self.ingest,
            self._committer,
            clock=clock,
            due=Due(clock, config.seal_after_seconds, self._free_bytes),
            side_by_side=max(config.workers, 1) + 1,
            transaction=connection.transaction,
        )

    def _free_bytes(self) -> int:
        return free_bytes(self.directory) if self.directory is not None else 0

    def _load_group(self, pack: PackNo, offset_bytes: int, stored_bytes: int) -> bytes:
        return self.reader.payload(pack, offset_bytes, stored_bytes)

    def _recover(self, store: LocalStore) -> None:
        """Undo what a crash left half done; quick, whatever the vault's size."""
        if self.read_only:
            if not self._connection.is_settled():  # it is a copy
                self.files.recover()
                self._connection.end_writing()
            return
        self._cut_packs(store)
        with giving_room():
            drafts = self.files.recover()
        for ino in drafts:
            self.sealer.due.left(ino)

    def _has_leftovers(self, store: LocalStore) -> bool:
        """Whether there is what ``_recover`` might take away."""
        if self.read_only or self.directory is None:
            return False
        committed = self._catalogue.packs()
        surplus = any(size > committed.get(pack, -1) for pack, size in store.packs())
        return surplus or any((self.directory / "drafts").iterdir())

    def _cut_packs(self, store: LocalStore) -> None:
        """Cut off what an interrupted commit left, and remove packs that nobody names.

        Where a pack is shorter than it was, or gone, that is no crash: what is too long may be
        another one, with what is missing, and is left as it is.
        """
        committed, there = self._catalogue.packs(), dict(store.packs())
        short = sorted(pack for pack in committed if there.get(pack, 0) < committed[pack])
        surplus = {pack for pack, size in there.items() if size > committed.get(pack, -1)}
        if short and surplus:
            self._catalogue.keep_packs(surplus, max(there))
        for pack in surplus:
            length = committed.get(pack)
            if short:
                log.error("pack %d is longer than it was, pack %d shorter: left", pack, short[0])
            elif length is None:
                store.remove(pack)
            else:
                store.truncate(pack, length)

    def announce(self, mountpoint: str, *, leaving: bool = False) -> None:
        """Tell others where the vault is mounted, and when it is about to be free."""
        if self._lock is not None:
            self._lock.announce(Holder(os.getpid(), mountpoint, leaving))

    async def _finish(self) -> None:
        if self.read_only:
            return
        with unless_full("sizes and times of files come from their drafts the next time"):
            await self.files.settle_all()
        self.files.finish()
        with giving_room(), unless_full("the index has changes that packs do not tell yet"):
            await self.write_namespace()
        if self.directory is not None:
            await anyio.to_thread.run_sync(sync_drafts, self.directory / "drafts")
        await self.sync()
        await self.sealer.remove_stale()

    # Durability

    async def sync(self) -> None:
        """Return when everything stored so far survives a power cut; drafts have their own."""
        await self._committer.sync()

    async def sync_file(self, ino: InodeNo) -> None:
        """Return when the content and name of a file survive a power cut."""
        await self._durability.sync_file(ino)

    async def write_namespace(self) -> None:
        """Write what changed in the tree into the packs, from which the index can be rebuilt.

        What changes while this goes on may be left for the next time.
        """
        while await self._write_changes():
            pass

    async def _write_changes(self) -> bool:
        """Write one block of changes; whether there may be more."""
        async with self._namespace_lock:  # two at once could settle what neither has written
            changes = self._changes.page(CHANGES_AT_ONCE)
            if changes:
                payload, entries = encode_changes(change for change, _ in changes)
                await self._committer.store_namespace(payload, entries)
                self._changes.settle(changes)
            return not self._changes.are_all(changes, CHANGES_AT_ONCE)

    @property
    def index_log_bytes(self) -> int:
        """Length of the index's WAL, which grows as long as writes go on without a pause."""
        return self._connection.wal_bytes()

    async def shorten_index_log(self) -> None:
        """Make the WAL start anew with the next write, if none comes before this returns.

        Where writes come without a pause, and it has grown long: with the next one all the same.
        """
        await self.sync()
        await anyio.to_thread.run_sync(self._connection.checkpoint)
        if self.index_log_bytes > LOG_BYTES_MAX:
            await anyio.to_thread.run_sync(self._connection.checkpoint)  # what came meanwhile
            self._connection.restart_log()

    def _refresh_places(self) -> None:
        """Blocks may lie elsewhere now."""
        self._catalogue.refresh()
        self._runs.refresh()
        self._frozen.refresh()


@contextmanager
def unless_full(left: str) -> Iterator[None]:
    """Go on after what failed for want of room; ``left`` says what is left for when there is."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        log.warning("the disk is full: %s", left)
