"""Paths of folders by their inode numbers, quickly: whatever else the vault holds."""

from cachetools import LRUCache

from stowkenfs.errors import NotFound
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.paths import name_in
from stowkenfs.vault.tree import Tree

NAMES_MAX = 8192


class FolderPaths:
    """Event loop's thread. ``_names``: what folders were called when they were looked for last.

    Names are found by directory, and a directory says which one it is in. So only the first
    time, and after a renaming, the names of one directory are gone through.
    """

    def __init__(self, connection: Connection, inodes: InodeTable, tree: Tree) -> None:
        self._connection = connection
        self._inodes = inodes
        self._tree = tree
        self._names: LRUCache[InodeNo, bytes] = LRUCache(NAMES_MAX)

    def path(self, folder: InodeNo) -> bytes | None:
        """From the root, with a slash before each name; None for one that is gone.

        Raises Corrupt.
        """
        names: list[bytes] = []
        while folder != ROOT_INODE:
            try:
                inode = self._tree.inode(folder)
            except NotFound:
                return None
            name = self._name(inode.parent, folder) if inode.nlink else None
            if name is None:
                return None
            names.append(name)
            folder = inode.parent
        return b"/" + b"/".join(reversed(names))

    def _name(self, parent: InodeNo, folder: InodeNo) -> bytes | None:
        name = self._names.get(folder)
        if name is None or self._inodes.find(parent, name) != folder:
            name = name_in(self._connection, self._inodes.frozen, parent, folder)
            if name is not None:
                self._names[folder] = name
        return name
