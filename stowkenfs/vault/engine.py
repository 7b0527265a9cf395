"""The parts of an opened vault, wired up, and the work that it does by itself."""

import logging
import os
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.changes import ChangeLog
from stowkenfs.index.connection import CHECKPOINT_BYTES, Connection
from stowkenfs.index.inodes import InodeTable
from stowkenfs.store.api import PackStore
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.drafts import sync_drafts, sync_files
from stowkenfs.vault.files import Clock, FileTable
from stowkenfs.vault.ingest import Ingest
from stowkenfs.vault.lock import Holder, VaultLock
from stowkenfs.vault.namespace import encode_changes
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.sealer import Sealer
from stowkenfs.vault.stats import VaultStats, collect_stats
from stowkenfs.vault.tree import Tree
from stowkenfs.vault.verify import Progress, VerifyReport, verify_vault

log = logging.getLogger(__name__)

CHANGES_AT_ONCE = 500
CHANGE_PAGES_AT_ONCE = 20
TIDY_SECONDS = 2.0


class Engine:
    """What every vault consists of; ``Documents`` and ``Vault`` build on it.

    The parts are public for the layers above: ``tree`` (names), ``files`` (content in use),
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
        self._lock: VaultLock | None = None  # a vault in memory needs none
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

    # Reports

    async def stats(self) -> VaultStats:
        """Totals of the vault."""
        await self.files.settle_all()
        return await collect_stats(self._connection, self.directory)

    async def verify(self, progress: Progress = lambda _done, _total: None) -> VerifyReport:
        """Read everything and check every checksum and hash; see VerifyReport."""
        return await verify_vault(self._connection, self.reader, self.tree.path_of, progress)
