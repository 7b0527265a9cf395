"""A vault that finds what is nearly the same in it."""

from typing import TYPE_CHECKING

from stowkenfs.vault.progress import Progress, untold
from stowkenfs.vault.trained import Trained

if TYPE_CHECKING:
    from stowkenfs.vault.near_clusters import NearCluster


class Alike(Trained):
    """The work on what is alike; what is stored as differences is ``vault.near``'s."""

    async def find_near_duplicates(
        self,
        threshold: float = 0.85,
        min_refs: int = 1,
        limit: int = 100,
        progress: Progress = untold,
    ) -> "list[NearCluster]":
        """Clusters of segments whose sets of tokens are alike, the largest first.

        All texts of at least 16 tokens that files refer to are compared, however they are
        stored. ``min_refs``: how many others a cluster must have beside its first one;
        ``limit``: how many clusters are told. ``progress(done, total)`` is told bytes of
        blocks. Raises ValueError for a ``threshold`` that is not above 0 and up to 1.
        """
        from stowkenfs.vault.near_clusters import Search

        search = Search(
            self._connection,
            self._frozen,
            self._passing_reader(),
            threshold,
            min_refs,
            limit,
        )
        async with self._maintenance:  # nothing moves meanwhile
            return await search.run(progress)
