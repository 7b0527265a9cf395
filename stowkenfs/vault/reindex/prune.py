"""The last rule of the tree: no names without inodes, no inodes without names."""

import stat
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree, NamePlace
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Inode
from stowkenfs.vault.reindex.bits import Bits
from stowkenfs.vault.reindex.directories import Directories, Numbers
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.reindex.told import Told

ROWS_AT_ONCE = 2000

_TYPE = 0o170000  # of a mode


def _columns(rows: Sequence[tuple[int, int]]) -> tuple[Numbers, Numbers]:
    table = np.array(rows, np.int64).reshape(-1, 2)
    return table[:, 0].copy(), table[:, 1].copy()


def _is_first(numbers: Numbers) -> npt.NDArray[np.bool_]:
    """Which of ``numbers`` do not come before."""
    is_first = np.zeros(len(numbers), np.bool_)
    is_first[np.unique(numbers, return_index=True)[1]] = True
    return is_first


class Pruner:
    """Goes through all names and inodes once. The thread's that rebuilds."""

    def __init__(
        self, connection: Connection, inodes: InodeTable, told: Told, report: ReindexReport
    ) -> None:
        self._report = report
        self._connection = connection
        self._inodes = inodes
        self._frozen: FrozenTree = inodes.frozen
        self._told = told

    def drop_names(self) -> int:
        """Let go of names that lead nowhere; how many names there are then."""
        there = Bits(self._told.next_ino)
        for inos in self._all_inodes():
            there.add(inos)
        directories = Directories(self._directories(), self._name_columns())
        for ino in directories.cyclic.tolist():
            self._report.add(self._report.problems, f"directory {ino} is said to be in itself")
        seen = Bits(self._told.next_ino)

        def leads_nowhere(inos: Numbers, parents: Numbers) -> npt.NDArray[np.bool_]:
            nowhere = ~there.holds(inos) | directories.misplaced(inos, parents)
            # A second name beside the first one, in the same directory.
            twice = directories.are_directories(inos) & (seen.holds(inos) | ~_is_first(inos))
            return nowhere | twice

        at = (0, b"")
        while places := self._frozen.name_places(at, 1):
            (place,) = places
            at = (place.parent, place.name)
            group = self._frozen.name_group(place)
            inos, parents = np.array(group.inos, np.int64), np.array(group.parents, np.int64)
            if leads_nowhere(inos, parents).any():
                self._told.thaw_names(NamePlace(*place))
            else:
                seen.add(inos)
        for rows in self._hot_names():
            inos = np.array([ino for _, _, ino in rows], np.int64)
            parents = np.array([parent for parent, _, _ in rows], np.int64)
            bad = leads_nowhere(inos, parents)
            seen.add(inos[~bad])
            gone = np.flatnonzero(bad).tolist()
            self._connection.execute_many(
                "DELETE FROM dentry WHERE parent = ? AND name = ?", [rows[at][:2] for at in gone]
            )
            self._connection.execute_many(
                "INSERT OR REPLACE INTO dirty_dentry (parent, name) VALUES (?, ?)",
                [rows[at][:2] for at in gone],
            )
        (count,) = self._connection.all(
            "SELECT (SELECT count(*) FROM dentry) + (SELECT ifnull(sum(count), 0) FROM frozen_name)"
        )[0]
        return int(count)

    def nameless(self) -> Iterator[Inode]:
        """Inodes that no name leads to, but for the root."""
        named = Bits(self._told.next_ino)
        named.add(np.array([ROOT_INODE], np.int64))
        for rows in self._hot_names():
            named.add(np.array([ino for _, _, ino in rows], np.int64))
        at = (0, b"")
        while places := self._frozen.name_places(at, 1):
            at = (places[0].parent, places[0].name)
            named.add(np.array(self._frozen.name_group(places[0]).inos, np.int64))
        for inos in self._all_inodes():
            for ino in inos[~named.holds(inos)].tolist():
                inode = self._inodes.get(InodeNo(ino))
                if inode is not None:
                    yield inode

    def _name_columns(self) -> Iterator[tuple[Numbers, Numbers]]:
        """Inodes and parents of all names."""
        at = (0, b"")
        while places := self._frozen.name_places(at, 1):
            at = (places[0].parent, places[0].name)
            group = self._frozen.name_group(places[0])
            yield np.array(group.inos, np.int64), np.array(group.parents, np.int64)
        for rows in self._hot_names():
            yield (
                np.array([ino for _, _, ino in rows], np.int64),
                np.array([parent for parent, _, _ in rows], np.int64),
            )

    def _directories(self) -> Iterator[tuple[Numbers, Numbers]]:
        """Inodes of directories, and the parent that each says it has."""
        first = InodeNo(-1)
        while places := self._frozen.inode_places(first, 1):
            first = places[0].first
            rows = [row.inode for row in self._frozen.inode_group(places[0]).rows()]
            yield _columns([(one.ino, one.parent) for one in rows if stat.S_ISDIR(one.mode)])
        at = -1
        while found := self._connection.all(
            "SELECT ino, parent FROM inode WHERE ino > ? AND mode & ? = ? ORDER BY ino LIMIT ?",
            (at, _TYPE, stat.S_IFDIR, ROWS_AT_ONCE),
        ):
            yield _columns(found)
            at = found[-1][0]

    def _hot_names(self) -> Iterator[list[tuple[int, bytes, int]]]:
        at: tuple[int, bytes] = (0, b"")
        while rows := self._connection.all(
            "SELECT parent, name, ino FROM dentry WHERE (parent, name) > (?, ?)"
            " ORDER BY parent, name LIMIT ?",
            (*at, ROWS_AT_ONCE),
        ):
            yield [(parent, name, ino) for parent, name, ino in rows]
            at = rows[-1][:2]

    def _all_inodes(self) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
        first = InodeNo(-1)
        while places := self._frozen.inode_places(first, 1):
            first = places[0].first
            yield np.array(
                [row.inode.ino for row in self._frozen.inode_group(places[0]).rows()], np.int64
            )
        at = -1
        while rows := self._connection.all(
            "SELECT ino FROM inode WHERE ino > ? ORDER BY ino LIMIT ?", (at, ROWS_AT_ONCE)
        ):
            yield np.array(rows, np.int64).reshape(-1)
            at = rows[-1][0]
