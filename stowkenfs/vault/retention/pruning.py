"""Versions that no policy keeps any more go."""

from collections.abc import Awaitable, Callable

from stowkenfs.errors import TreeError
from stowkenfs.ids import InodeNo
from stowkenfs.vault.files import Clock
from stowkenfs.vault.retention.policies import Policies
from stowkenfs.vault.retention.version_tree import VersionTree
from stowkenfs.vault.tree import Tree

NANOSECONDS = 1_000_000_000


class Pruning:
    """One look through all versions."""

    def __init__(
        self, tree: Tree, policies: Policies, clock: Clock, pause: Callable[[], Awaitable[None]]
    ) -> None:
        self._tree = tree
        self._policies = policies
        self._clock = clock
        self._pause = pause
        self._versions = VersionTree(tree)

    async def run(self) -> None:
        """Remove what is kept no more: beyond the number, for its age, or without its file."""
        top = self._versions.find()
        if top is None:
            return
        for number, inode in self._versions.entries(top):
            folder = InodeNo(int(number))
            for name, directory in self._versions.entries(inode.ino):
                await self._pause()
                self._name(folder, name, directory.ino)
                self._remove_if_empty(inode.ino, name)
            self._remove_if_empty(top, number)

    def _name(self, folder: InodeNo, name: bytes, directory: InodeNo) -> None:
        kept = self._policies.versions_of(folder) if self._is_there(folder, name) else 0
        self._versions.prune(directory, kept)
        age = self._policies.max_age_of(folder)
        if not age:
            return
        before_ns = self._clock() - age * NANOSECONDS
        for number, inode in self._versions.entries(directory):
            if inode.mtime_ns < before_ns:
                self._tree.unlink(directory, number)

    def _is_there(self, folder: InodeNo, name: bytes) -> bool:
        try:
            return (
                self._tree.inode(folder).nlink > 0 and self._tree.lookup(folder, name) is not None
            )
        except TreeError:
            return False

    def _remove_if_empty(self, above: InodeNo, name: bytes) -> None:
        inode = self._tree.lookup(above, name)
        if inode is not None and not self._versions.entries(inode.ino):
            self._tree.rmdir(above, name)
