"""A vault that looks after itself: background work, compaction, reports."""

import logging
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import CHECKPOINT_BYTES
from stowkenfs.index.keys import Grain
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.complaints import complain_of
from stowkenfs.vault.dedup import TABLES
from stowkenfs.vault.engine import Engine, unless_full
from stowkenfs.vault.files import FILE_BYTES_MAX
from stowkenfs.vault.packs import PackWriter, Tier
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.reader import Reader

if TYPE_CHECKING:
    from stowkenfs.vault.compaction.batch import CompactOptions
    from stowkenfs.vault.compaction.compactor import CompactReport
    from stowkenfs.vault.compaction.keys import KeyCollector
    from stowkenfs.vault.compaction.sweep import Sweeper
    from stowkenfs.vault.compaction.tidying import Tidier
    from stowkenfs.vault.stats import VaultStats
    from stowkenfs.vault.verify import VerifyReport

log = logging.getLogger(__name__)

CHANGE_PAGES_AT_ONCE = 20
TIDY_SECONDS = 2.0
FLUSHED_KEYS_MIN = 50_000
FLUSHED_WHEN_ADDED = 200_000
"""New keys after which a long-lived vault does not wait for its end to move them."""
INDEX_PAGES_AT_ONCE = 100
PASSING_CACHE_BYTES = 12 << 20
"""Of blocks that a job reads which goes through them in their order."""


class Maintained(Engine):
    """An engine and the work on all of it, of which one thing is done at a time."""

    async def _finish(self) -> None:
        if not self.read_only:
            with unless_full("keys stay in the index"):
                await self._flush_keys()
        await super()._finish()

    async def tidy(self) -> None:
        """Background work of a long-lived vault: seal, note names, keep the WAL short."""
        if self.read_only:
            return
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
            # While a job is at work, its end has to do: the log must not wait for it.
            is_due = self._catalogue.keys.added >= FLUSHED_WHEN_ADDED
            if is_due and not self._maintenance.statistics().locked:
                await self._flush_keys()
        except OSError as error:
            complain_of(log, error, "background work failed, and is tried again")

    async def compact(
        self,
        options: "CompactOptions | None" = None,
        progress: Progress = untold,
    ) -> "CompactReport":
        """Rewrite what was stored since the last time so that it takes less room.

        What was written and is not sealed yet is sealed first, as far as it is whole.
        Files can be read and written meanwhile; those that change are left for the next
        time. Cancelling it, or the process's end, leaves everything readable. Raises
        OSError, and Corrupt for records that cannot be read.
        """
        from stowkenfs.vault.compaction.batch import CompactOptions
        from stowkenfs.vault.compaction.compactor import Compactor, Parts
        from stowkenfs.vault.compaction.merge import Merger
        from stowkenfs.vault.compaction.resume import Resumption

        async with self._maintenance:
            await self._seal_all()
            options = options or CompactOptions(threads=max(self.config.workers, 1))
            reader = self._passing_reader()
            writer = PackWriter(self._catalogue, self._store, Tier.DENSE)
            keys = self._key_collector(reader)
            sweeper = self._sweeper(reader, writer)
            parts = Parts(
                connection=self._connection,
                catalogue=self._catalogue,
                reader=reader,
                dedup=self._dedup,
                committer=self._committer,
                ingest=self.ingest,
                sealer=self.sealer,
                files=self.files,
                tree=self.tree,
                keys=keys,
                merger=Merger(
                    self._connection, self._catalogue, reader, writer, self._store, options
                ),
                sweeper=sweeper,
                near=self._near,
                resumption=Resumption(self._catalogue, self._runs, reader, keys),
                writer=writer,
                tidier=self._tidier(sweeper),
                workers=self.config.workers,
            )
            return await Compactor(parts, options).run(progress)

    def _sweeper(self, reader: Reader, writer: PackWriter) -> "Sweeper":
        from stowkenfs.index.frozen_collect import Freezer
        from stowkenfs.vault.compaction.sweep import Sweeper

        return Sweeper(
            self._connection,
            self._catalogue,
            self._store,
            reader,
            self.readers,
            self.ingest.passages,
            Freezer(
                self._connection,
                self._inodes,
                is_busy=self._is_busy,
                is_open=self.tree.listings.__contains__,
            ),
            writer,
        )

    def _tidier(self, sweeper: "Sweeper") -> "Tidier":
        from stowkenfs.vault.compaction.emptying import Emptier
        from stowkenfs.vault.compaction.tidying import Tidier

        return Tidier(
            self._catalogue,
            self._committer,
            sweeper,
            Emptier(
                self._connection,
                self._catalogue,
                self._store,
                self.readers,
                self.ingest.passages,
                sweeper.writer,
                self._refresh_places,
            ),
            self._namespace_lock,
            self.write_namespace,
        )

    async def _seal_all(self) -> None:
        """Seal what is not sealed yet, as far as it is whole."""
        await self.sealer.seal_due(everything=True)
        await self.ingest.passages.drain()  # what is being sealed at the moment

    def _passing_reader(self) -> Reader:
        """For a job that goes through everything: others keep what they have in their caches."""
        return Reader(
            self._store,
            self._catalogue,
            record_cache_bytes=0,
            block_cache_bytes=PASSING_CACHE_BYTES,
        )

    def _key_collector(self, reader: Reader) -> "KeyCollector":
        from stowkenfs.vault.compaction.keys import KeyCollector

        return KeyCollector(self._connection, self._catalogue, self._runs, reader)

    async def _flush_keys(self) -> None:
        """Move keys from the index, where each takes 14 bytes, to packs, where it takes 6."""
        async with self._maintenance:
            keys = self._key_collector(self.reader)
            writer = PackWriter(self._catalogue, self._store, Tier.KEYS)
            async with self._committer.between_rounds():  # each has its keys in the tables
                below = {kind: self._catalogue.next_number(kind) for kind in TABLES}
                self._catalogue.keys.added = 0
            if await keys.flush_hot(writer, FLUSHED_KEYS_MIN, below):
                await keys.merge(writer, Grain.EXACT)
                while self._connection.shrink(INDEX_PAGES_AT_ONCE):
                    await anyio.lowlevel.checkpoint()

    def _is_busy(self, ino: InodeNo) -> bool:
        """Whether an inode is better not frozen: it is in use, or not compacted yet."""
        if self.files.live(ino) is not None:
            return True
        try:
            extents = self._catalogue.extents(ino, 0, FILE_BYTES_MAX)
        except Corrupt:  # the group that it would be in
            return True
        return any(
            self._catalogue.is_hot(BlockKind.RECORDS, extent.record, extent.record + extent.count)
            for extent in extents
        )

    # Reports

    async def stats(self) -> "VaultStats":
        """Totals of the vault."""
        from stowkenfs.vault.stats import collect_stats

        await self.files.settle_all()
        return await collect_stats(self._connection, self.reader.payload, self.directory)

    async def verify(self, progress: Progress = untold) -> "VerifyReport":
        """Read everything and check every checksum and hash; see VerifyReport."""
        from stowkenfs.vault.verify import verify_vault

        async with self._maintenance:  # nothing moves meanwhile
            return await verify_vault(
                self._connection,
                self._frozen,
                self.reader,
                self.tree.path_of,
                progress,
                self._store,
            )
