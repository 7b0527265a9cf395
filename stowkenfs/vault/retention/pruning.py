"""Versions that no policy keeps any more go."""

import stat
from collections.abc import Awaitable, Callable
from contextlib import closing
from itertools import chain

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
        with closing(self._versions.pages(top)) as folders:
            for number, inode in chain.from_iterable(folders):
                if stat.S_ISDIR(inode.mode) and number.isdigit():  # as all are that were made here
                    await self._folder(InodeNo(int(number)), inode.ino)
                    self._remove_if_empty(top, number)

    async def _folder(self, folder: InodeNo, versions: InodeNo) -> None:
        with closing(self._versions.pages(versions)) as names:
            for name, directory in chain.from_iterable(names):
                await self._pause()
                if stat.S_ISDIR(directory.mode):
                    self._name(folder, name, directory.ino)
                    self._remove_if_empty(versions, name)

    def _name(self, folder: InodeNo, name: bytes, directory: InodeNo) -> None:
        kept = self._policies.versions_of(folder) if self._is_there(folder, name) else 0
        self._versions.prune(directory, kept)
        age = self._policies.max_age_of(folder)
        if not age:
            return
        before_ns = self._clock() - age * NANOSECONDS
        for number, inode in self._versions.versions(directory):
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
        if inode is not None and not self._tree.page(inode.ino, 0, 1):
            self._tree.rmdir(above, name)
