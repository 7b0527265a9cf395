"""What jobs on the registry work on."""

from dataclasses import dataclass

from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.store.api import PackStore
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.registry import Registry


@dataclass(frozen=True, slots=True)
class TrainingParts:
    """The parts of a vault that such a job works on; it has the vault's maintenance to itself.

    ``reader`` is the job's own, so that what others have in their caches stays there. ``writers``
    and ``readers``: who refers to what is stored, and who reads it.
    """

    connection: Connection
    catalogue: Catalogue
    frozen: FrozenTree
    store: PackStore
    reader: Reader
    registry: Registry
    writers: Passages
    readers: Passages
    workers: int
    level: int

    async def drain(self) -> None:
        """Return when nobody uses any more what nobody finds any more."""
        await self.writers.drain()
        await self.readers.drain()
