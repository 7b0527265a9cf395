"""Where earlier versions of files are: in a part of the tree that nobody is shown.

``/.stowken/versions/FOLDER/NAME/NUMBER``: FOLDER is the inode number of a folder, and a higher
NUMBER a later version. They are files like any other, so that all that is done for files is
done for them, too.
"""

import os
import stat
from collections.abc import Generator
from typing import Final

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.names import HIDDEN_NAME
from stowkenfs.vault.tree import Tree

_VERSIONS: Final = b"versions"
_PAGE_ROWS: Final = 100
_DIGITS: Final = 12

Entry = tuple[bytes, Inode]


class VersionTree:
    """Event loop's thread; nothing here waits."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def find(self, *names: bytes) -> InodeNo | None:
        """The directory of all versions, of a folder's, or of one name's in it, if there is."""
        at: InodeNo = ROOT_INODE
        for name in (HIDDEN_NAME, _VERSIONS, *names):
            inode = self._tree.lookup(at, name)
            if inode is None or not stat.S_ISDIR(inode.mode):
                return None
            at = inode.ino
        return at

    def make(self, folder: InodeNo, name: bytes) -> InodeNo:
        """The directory of the versions of a name in a folder, made if there is none."""
        at: InodeNo = ROOT_INODE
        for part in (HIDDEN_NAME, _VERSIONS, b"%d" % folder, name):
            inode = self._tree.lookup(at, part)
            if inode is None:
                mode = stat.S_IFDIR | 0o700
                inode = self._tree.create(at, part, mode, os.getuid(), os.getgid())
            at = inode.ino
        return at

    def pages(self, directory: InodeNo | None) -> Generator[list[Entry], None, None]:
        """What is in a directory, some of it at a time; others may change it. Close it."""
        if directory is None:
            return
        cookie = 0
        with self._tree.listings.of(directory):
            while page := self._tree.page(directory, cookie, _PAGE_ROWS):
                cookie = page[-1][0].cookie
                yield [(dentry.name, inode) for dentry, inode in page]

    def versions(self, directory: InodeNo | None) -> list[Entry]:
        """All versions of one name, of which there are not many; the oldest first."""
        found = [
            (name, inode)
            for page in self.pages(directory)
            for name, inode in page
            if name.isdigit() and stat.S_ISREG(inode.mode)  # as all are that were made here
        ]
        return sorted(found, key=lambda entry: entry[0])

    def next_number(self, directory: InodeNo) -> bytes:
        """The name of one more version."""
        entries = self.versions(directory)
        last = int(entries[-1][0]) if entries else 0
        return b"%0*d" % (_DIGITS, last + 1)

    def prune(self, directory: InodeNo, kept: int) -> None:
        """Remove all but the latest ``kept`` versions."""
        versions = self.versions(directory)
        for name, _ in versions[: max(len(versions) - kept, 0)]:
            self._tree.unlink(directory, name)
