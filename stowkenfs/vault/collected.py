"""A vault that gives back the room of what was deleted."""

from dataclasses import replace
from typing import TYPE_CHECKING

import anyio.to_thread

from stowkenfs.index.space import giving_room
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.alike import Alike
from stowkenfs.vault.packs import PackWriter, Tier
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.reader import Reader

if TYPE_CHECKING:
    from stowkenfs.vault.collection.collector import Parts
    from stowkenfs.vault.collection.report import GcReport
    from stowkenfs.vault.training.collecting import RegistryCollection

REGISTRY_KINDS = (BlockKind.SUBSTRINGS, BlockKind.DICTIONARIES)


class Collected(Alike):
    """The work on what nothing refers to any more."""

    async def gc(
        self,
        dry_run: bool = False,
        progress: Progress = untold,
    ) -> "GcReport":
        """Let go of what no file refers to, and give its room back to the disk; see GcReport.

        Then of substrings and dictionaries that no frame refers to. Files that were removed
        and are open count as files, and what is being written stays. Files can be read and
        written meanwhile; what is stored meanwhile stays. ``progress(done, total)`` is told
        bytes of blocks. Cancelling it, or the process's end, leaves everything readable; the
        next run goes on. ``dry_run``: only look, and change nothing. Raises OSError.
        """
        async with self._maintenance:
            with giving_room():
                return await self._gc(dry_run, progress)

    async def _gc(self, dry_run: bool, progress: Progress) -> "GcReport":
        from stowkenfs.vault.collection.collector import Collector

        reader = self._passing_reader()
        writer = PackWriter(self._catalogue, self._store, Tier.DENSE)
        collector = Collector(self._collection_parts(reader, writer), progress)
        if dry_run:
            return _with_registry(await collector.look(), await self._registry_collection(True))
        if self._connection.is_short_of_room:
            await anyio.to_thread.run_sync(self._connection.checkpoint)
            self._connection.empty_log()
        tidier = self._tidier(self._sweeper(reader, writer))
        # Blocks of packs that are about to go have no say in what others may replace.
        removed = await tidier.drop_packs(self._committer.open_pack)
        report = await collector.run()
        report = _with_registry(report, await self._registry_collection(False))
        if report.blocks_dropped + report.blocks_rewritten and collector.has_dense:
            await tidier.tell_tree()  # of a compacted vault; others keep their tree in rows
        removed += await tidier.give_back()
        while self._connection.is_short_of_room:
            # What went, and what the index gave back, may be the room that copies need.
            more = await tidier.give_back()
            removed += more
            if not more:
                break
        return replace(
            report,
            packs_removed=removed,
            stored_bytes_after=collector.stored_bytes(),
        )

    def _collection_parts(self, reader: Reader, writer: PackWriter) -> "Parts":
        from stowkenfs.vault.collection.collector import Parts
        from stowkenfs.vault.collection.rewriting import Levels
        from stowkenfs.vault.compaction.batch import CompactOptions

        return Parts(
            connection=self._connection,
            catalogue=self._catalogue,
            store=self._store,
            reader=reader,
            runs=self._runs,
            dedup=self._dedup,
            near=self._near,
            committer=self._committer,
            writers=self.ingest.passages,
            readers=self.readers,
            writer=writer,
            levels=Levels(self.config.compression_level, CompactOptions().level),
            workers=self.config.workers,
        )

    async def _registry_collection(self, dry_run: bool) -> "RegistryCollection | None":
        from stowkenfs.vault.training.collecting import collect_registry

        await self._registry.load()
        if not any(self._registry.entries(kind) for kind in REGISTRY_KINDS):
            return None
        return await collect_registry(self._parts(), REGISTRY_KINDS, untold, dry_run=dry_run)


def _with_registry(report: "GcReport", found: "RegistryCollection | None") -> "GcReport":
    """A report with what was found of the registry."""
    if found is None:
        return report
    from stowkenfs.vault.collection.report import KIND_NAMES, PROBLEMS_MAX, KindCount

    candidates, freed = dict(report.candidates), dict(report.freed)
    for kind in REGISTRY_KINDS:
        name = KIND_NAMES[kind]
        candidates[name] = KindCount(found.candidates[kind], found.candidate_bytes[kind])
        freed[name] = KindCount(found.dropped[kind], found.freed_bytes[kind])
    return replace(
        report,
        candidates=candidates,
        freed=freed,
        estimated_bytes=report.estimated_bytes + sum(found.candidate_bytes.values()),
        problems=(*report.problems, *found.problems)[:PROBLEMS_MAX],
    )
