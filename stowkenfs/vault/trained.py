"""A vault that learns: substrings and dictionaries, which make frames smaller.

As in the other modules whose methods are jobs, what does the work is imported by the first one
that is done: a mount is to be ready at once.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from stowkenfs.ids import PackNo
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.maintenance import Maintained
from stowkenfs.vault.packs import PackWriter, Tier
from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.registry import DictionaryInfo, SubstringInfo

if TYPE_CHECKING:
    from stowkenfs.vault.training.parts import TrainingParts
    from stowkenfs.vault.training.reports import (
        ActivationReport,
        DictionaryTrainingReport,
        SubstringCollection,
        SubstringCompaction,
        SubstringTraining,
    )


class Trained(Maintained):
    """A vault with a registry. Each method is a job, of which one is done at a time.

    ``progress(done, total)`` is told bytes. Cancelling a job, or the end of the process, leaves
    everything readable. All raise OSError.
    """

    async def load_registry(self) -> None:
        """Look at all of the registry, off the loop, so that the lists of it are at hand."""
        await self._registry.load()

    # Substrings

    async def train_substrings(
        self, samples: int = 500, min_occurrences: int = 5, progress: Progress = untold
    ) -> list[SubstringInfo]:
        """Look for runs of tokens that recur, and keep those that pay; see SubstringTraining."""
        report = await self.substring_training(samples, min_occurrences, progress)
        return list(report.promoted)

    async def substring_training(
        self, samples: int = 500, min_occurrences: int = 5, progress: Progress = untold
    ) -> "SubstringTraining":
        """As ``train_substrings``, with all figures.

        Looks at up to ``samples`` segments, for what occurs ``min_occurrences`` times or more in
        them. What was written and is not sealed yet is sealed first. Frames that are stored stay
        as they are; new ones, and those that ``compact_substrings`` writes, use what was found.
        Raises ValueError.
        """
        if samples < 1 or min_occurrences < 1:
            raise ValueError("samples and min_occurrences are 1 or more")
        from stowkenfs.vault.training.substrings import train

        async with self._maintenance:
            await self._seal_all()
            return await train(self._parts(), samples, min_occurrences, progress)

    def list_substrings(self) -> list[SubstringInfo]:
        """All of the registry, in the order in which they were found."""
        return self._registry.substrings()

    async def compact_substrings(self, progress: Progress = untold) -> "SubstringCompaction":
        """Write frames anew with what is in the registry where that makes the vault smaller.

        No token changes, and numbers stay. A second run writes nothing.
        """
        from stowkenfs.vault.training.rewriting import SubstringCompactor

        async with self._maintenance:
            await self._seal_all()
            parts = self._parts()
            compactor = SubstringCompactor(parts, progress)
            report = await compactor.run()
            if report.kept:
                # Blocks became a little smaller: only without the old ones is there less.
                await self._give_back(parts, compactor.left_packs)
            return report

    async def gc_substrings(self, progress: Progress = untold) -> "SubstringCollection":
        """Let go of the substrings that no frame refers to."""
        from stowkenfs.vault.training.collecting import collect_registry
        from stowkenfs.vault.training.reports import SubstringCollection

        async with self._maintenance:
            kind, parts = BlockKind.SUBSTRINGS, self._parts()
            found = await collect_registry(parts, [kind], progress)
            before, dropped = found.before[kind], found.dropped[kind]
            if dropped:
                await self._give_back(parts)
            return SubstringCollection(
                before, before - dropped, dropped, found.freed_bytes[kind], found.problems
            )

    # Dictionaries

    async def train_dictionary(
        self, samples: int = 200, *, activate: bool = False, progress: Progress = untold
    ) -> "DictionaryTrainingReport":
        """Train a dictionary on up to ``samples`` segments, and keep it if it pays.

        ``activate``: let new frames use it, where that makes the vault smaller. Raises ValueError.
        """
        if samples < 1:
            raise ValueError("samples is 1 or more")
        from stowkenfs.vault.training.dictionaries import train

        async with self._maintenance:
            await self._seal_all()
            return await train(self._parts(), samples, progress, activate=activate)

    def list_dictionaries(self) -> list[DictionaryInfo]:
        """The oldest first."""
        return self._registry.dictionaries()

    async def activate_dictionary(
        self, dictionary_id: str | None, *, force: bool = False
    ) -> "ActivationReport":
        """Let new frames use a dictionary, by its id or how it begins; none with None.

        Frames that are stored keep theirs. Raises NotFound, and ActivationRefused with the figures
        where the vault would become larger, unless ``force``.
        """
        from stowkenfs.vault.training.dictionaries import activate

        async with self._maintenance:
            return await activate(self._parts(), dictionary_id, force=force)

    # For jobs

    async def _give_back(self, parts: "TrainingParts", also: Collection[PackNo] = ()) -> None:
        """Remove packs that are mostly unused now, and those of ``also`` in any case."""
        writer = PackWriter(self._catalogue, self._store, Tier.DENSE)
        await self._tidier(self._sweeper(parts.reader, writer)).give_back(also)

    def _parts(self) -> "TrainingParts":
        from stowkenfs.vault.training.parts import TrainingParts

        return TrainingParts(
            connection=self._connection,
            catalogue=self._catalogue,
            frozen=self._frozen,
            store=self._store,
            reader=self._passing_reader(),
            registry=self._registry,
            writers=self.ingest.passages,
            readers=self.readers,
            workers=self.config.workers,
            level=self.config.compression_level,
        )
