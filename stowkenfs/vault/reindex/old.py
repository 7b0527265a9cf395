"""What an old index, damaged or not, knows and packs do not.

Drafts, the last changes, and which dictionary new frames use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.errors import IndexDamaged, UnknownFormat
from stowkenfs.ids import InodeNo, PackNo
from stowkenfs.index.changes import Change, DentryChange, InodeChange
from stowkenfs.index.connection import Connection, Row, read_index
from stowkenfs.index.journal import NAME as JOURNAL
from stowkenfs.index.journal import has_entries
from stowkenfs.index.rows import Extent, Inode
from stowkenfs.vault.closed import LOG_MARK, ClosedMark
from stowkenfs.vault.opened import why_not
from stowkenfs.vault.registry import ACTIVE_DICTIONARY

_INODE = "ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns, parent, target"


@dataclass(frozen=True, slots=True)
class OldIndex:
    """Rows of ``draft`` and ``draft_region``, and what was not yet told in packs.

    ``active``: number of the active dictionary. ``packs``: their lengths. ``is_whole``: whether
    it is known to be what it was, with all that it says of the tree.
    """

    drafts: Sequence[Row]
    regions: Sequence[Row]
    changes: Sequence[Change]
    active: int | None
    packs: Mapping[PackNo, int]
    is_whole: bool


def read_old_index(directory: Path) -> OldIndex | None:
    """All of it; None if not all can be read, or it does not go with the packs.

    Memory: as much as changed since it was told.
    """
    path, closed = directory / "index.db", ClosedMark(directory)
    if not path.exists() or not path.stat().st_size:
        return None
    try:
        closed.check()
        closed.is_due = closed.is_whole()
        closed.forget()  # reading it copies its log
        (directory / LOG_MARK).unlink(missing_ok=True)
        _take_journal(path, directory / JOURNAL)
        old = _read(directory, path, is_whole=closed.is_due)
    except (IndexDamaged, UnknownFormat, OSError, TypeError, ValueError):
        return None
    closed.write()
    return old


def _read(directory: Path, path: Path, *, is_whole: bool) -> OldIndex | None:
    with read_index(path) as rows:
        settings = dict(rows("SELECT name, value FROM setting"))
        if why_not(directory, settings) is not None:
            return None
        return OldIndex(
            rows("SELECT * FROM draft"),
            rows("SELECT ino, start, file_start, length, spool FROM draft_region"),
            [
                *_inodes(
                    rows("SELECT ino FROM dirty_inode"),
                    rows(f"SELECT {_INODE} FROM inode JOIN dirty_inode USING (ino)"),  # noqa: S608
                    rows("SELECT ino, name, value FROM xattr JOIN dirty_inode USING (ino)"),
                    rows(
                        "SELECT ino, start, length, record, count"
                        " FROM extent JOIN dirty_inode USING (ino) ORDER BY ino, start"
                    ),
                ),
                *(
                    DentryChange(*row)
                    for row in rows(
                        "SELECT parent, name, ino FROM dirty_dentry"
                        " LEFT JOIN dentry USING (parent, name)"
                    )
                ),
            ],
            settings.get(ACTIVE_DICTIONARY),
            {PackNo(pack): length for pack, length in rows("SELECT pack, length FROM pack")},
            is_whole,
        )


def _take_journal(path: Path, journal: Path) -> None:
    """Have in the index what its journal tells. Raises IndexDamaged, UnknownFormat, OSError."""
    if has_entries(journal):
        Connection(path, create=False, journal=journal).close()


def _inodes(
    numbers: Sequence[Row], inodes: Sequence[Row], xattrs: Sequence[Row], extents: Sequence[Row]
) -> list[Change]:
    there = {row[0]: Inode(*row) for row in inodes}
    of: dict[int, tuple[list[tuple[bytes, bytes]], list[Extent]]] = {
        n: ([], []) for (n,) in numbers
    }
    for ino, name, value in xattrs:
        of[ino][0].append((bytes(name), bytes(value)))
    for ino, *extent in extents:
        of[ino][1].append(Extent(*extent))
    changes: list[Change] = []
    for ino, (attributes, places) in of.items():
        inode = there.get(ino)
        if inode is None:
            changes.append(InodeChange(InodeNo(ino), None))
        else:
            changes.append(InodeChange(inode.ino, inode, tuple(attributes), 0, tuple(places)))
    return changes
