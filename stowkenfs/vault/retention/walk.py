"""Files of a folder and of those below it, some at a time, while all of that may change."""

import stat
from collections.abc import Callable, Generator, Sequence

from stowkenfs.errors import Corrupt, TreeError
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Dentry, Inode
from stowkenfs.vault.tree import Tree

PAGE_ROWS = 50
"""Looked up at once: half a millisecond."""

Page = Sequence[tuple[Dentry, Inode]]


def pages(
    tree: Tree,
    top: InodeNo,
    enters: Callable[[InodeNo], bool],
    damaged: Callable[[InodeNo, Corrupt], None],
) -> Generator[tuple[InodeNo, Page], None, None]:
    """Directory and entries, of ``top`` and of the directories below that ``enters`` says.

    Takes memory for a page of each level. ``damaged`` is told of directories of which not all
    can be listed. What changes between two pages may be told or not. Close it at the end.
    """
    waiting: list[tuple[InodeNo, int]] = []
    try:
        _enter(tree, waiting, top)
        while waiting:
            directory, after = waiting[-1]
            page = _page(tree, directory, after, damaged)
            if not page:
                waiting.pop()
                tree.listings.end(directory)
                continue
            waiting[-1] = (directory, page[-1][0].cookie)
            yield directory, page
            for _, inode in page:
                if stat.S_ISDIR(inode.mode) and enters(inode.ino):
                    _enter(tree, waiting, inode.ino)
    finally:
        for directory, _ in waiting:
            tree.listings.end(directory)


def _enter(tree: Tree, waiting: list[tuple[InodeNo, int]], directory: InodeNo) -> None:
    tree.listings.begin(directory)
    waiting.append((directory, 0))


def _page(
    tree: Tree, directory: InodeNo, after: int, damaged: Callable[[InodeNo, Corrupt], None]
) -> Page:
    try:
        return tree.page(directory, after, PAGE_ROWS)
    except Corrupt as error:
        damaged(directory, error)
        return ()


def is_below(tree: Tree, directory: InodeNo, top: InodeNo) -> bool:
    """Whether a directory is ``top`` or somewhere below it. Raises Corrupt."""
    while directory != top:
        if directory == ROOT_INODE:
            return False
        try:
            inode = tree.inode(directory)
        except TreeError:
            return False
        if not inode.nlink:
            return False
        directory = inode.parent
    return True
