"""A vault whose packs are checked against its index while it is in use."""

from stowkenfs.vault.collected import Collected
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.reindex.report import ReindexReport


class Reindexed(Collected):
    """What a vault in use can do about its index; for one that is lost, see ``Vault.open``."""

    async def reindex(self, progress: Progress = untold) -> ReindexReport:
        """Make the index anew from the packs, aside, and compare it with the one in use.

        That one is the truth about the tree: what packs tell otherwise is told there again, so
        that the index could be lost the next moment. Rows of blocks that it lacks are added,
        and totals corrected. The report says what differed and what is damaged. Others go on
        meanwhile; ``progress(done, total)`` is told bytes of packs. Cancelling it, or the
        process's end, leaves everything as it was. Raises OSError.
        """
        from stowkenfs.vault.reindex.live import LiveParts, LiveReindex

        async with self._maintenance:  # nothing is removed from packs meanwhile
            await self.sealer.seal_due(everything=True)
            await self.files.settle_all()
            parts = LiveParts(
                connection=self._connection,
                catalogue=self._catalogue,
                store=self._store,
                load=self._load_group,
                directory=self.directory,
                tell=self.write_namespace,
            )
            try:
                report = await LiveReindex(parts).run(progress)
            finally:  # it may have got rows back
                self._registry.forget()
            await self.load_registry()
            return report
