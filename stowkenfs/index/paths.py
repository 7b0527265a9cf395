"""Paths of many files at once. Names are found by directory, so looking for files reads them all.

``Inodes.path_of`` does that for one file, for messages; here nobody waits for it.
"""

from collections.abc import Iterable, Sequence

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection, Scanner
from stowkenfs.index.frozen_tree import FrozenTree

INODES_AT_ONCE = 10_000
"""Of one query, of at most 32,766."""

Names = dict[InodeNo, tuple[InodeNo, bytes]]
"""A directory and a name in it, for files that have one."""


async def paths_of(
    scan: Scanner, frozen: FrozenTree, inodes: Iterable[InodeNo]
) -> dict[InodeNo, bytes]:
    """One path from the root for each of ``inodes`` that has a name.

    Reads the names as often as directories are deep.
    """
    wanted = set(inodes)
    names = Names()
    missing = wanted - {ROOT_INODE}
    while missing:
        found = await names_of(scan, frozen, sorted(missing))
        names |= found
        missing = {parent for parent, _ in found.values()} - names.keys() - {ROOT_INODE}
    return await anyio.to_thread.run_sync(_paths, wanted, names)


async def names_of(scan: Scanner, frozen: FrozenTree, inodes: Sequence[InodeNo]) -> Names:
    """Where ``inodes`` are, of those that have a name: all names are gone through."""
    names = Names()
    for start in range(0, len(inodes), INODES_AT_ONCE):
        some = inodes[start : start + INODES_AT_ONCE]
        marks = ",".join("?" * len(some))
        query = f"SELECT ino, parent, name FROM dentry WHERE ino IN ({marks})"  # noqa: S608
        async for rows in scan.batches(query, some):
            names |= {InodeNo(ino): (InodeNo(parent), name) for ino, parent, name in rows}
    for ino in inodes:
        if frozen.has_names and ino not in names:
            place = frozen.name_of(ino)
            if place is not None:
                names[ino] = place
            await anyio.lowlevel.checkpoint()
    return names


def _paths(inodes: Iterable[InodeNo], names: Names) -> dict[InodeNo, bytes]:
    paths = {ino: _path(ino, names) for ino in inodes}
    return {ino: path for ino, path in paths.items() if path is not None}


def _path(ino: InodeNo, names: Names) -> bytes | None:
    parts: list[bytes] = []
    while ino != ROOT_INODE:
        # As long as that only where directories were moved while they were read.
        if ino not in names or len(parts) == len(names):
            return None
        ino, name = names[ino]
        parts.append(name)
    return b"/" + b"/".join(reversed(parts))


def name_in(
    connection: Connection, frozen: FrozenTree, directory: InodeNo, ino: InodeNo
) -> bytes | None:
    """The name of ``ino`` in ``directory``, whose names are gone through for it."""
    row = connection.one("SELECT name FROM dentry WHERE parent = ? AND ino = ?", (directory, ino))
    if row is not None:
        return bytes(row[0])
    place = frozen.name_of(ino)
    return place[1] if place is not None and place[0] == directory else None
