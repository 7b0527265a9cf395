"""How large groups are, and what makes small ones larger: to be thawed and frozen together."""

from collections.abc import Iterator
from itertools import pairwise

from stowkenfs.errors import Corrupt
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import (
    INODE_PLACE,
    NAME_PLACE,
    FrozenTree,
    InodePlace,
    NamePlace,
)

GROUP_ROWS = 256
"""Twice as many are some tenth smaller, and take twice as long to thaw for one change."""
GROUP_EXTENTS = 1024
GROUP_ATTRIBUTE_BYTES = 64 << 10
"""A file with more of either stays hot: its group would hold the loop for too long."""
SMALL_ROWS = GROUP_ROWS // 4
SMALL_GROUPS_MAX = 8
"""More groups than that with fewer than SMALL_ROWS are frozen anew, together."""
MERGED_AT_ONCE = 1000


def thaw_whole(frozen: FrozenTree, place: InodePlace | NamePlace) -> bool:
    """Whether the group could be thawed; a damaged one stays, with what is around it."""
    try:
        if isinstance(place, InodePlace):
            frozen.thaw_inodes(place)
        else:
            frozen.thaw_names(place)
    except Corrupt:
        return False
    return True


def merge_inodes(connection: Connection, frozen: FrozenTree) -> Iterator[None]:
    """Thaw small groups beside each other, if there are many and they fit together."""
    rows = connection.all(
        f"{INODE_PLACE} WHERE count < ? ORDER BY first LIMIT ?", (SMALL_ROWS, MERGED_AT_ONCE)
    )
    if len(rows) <= SMALL_GROUPS_MAX:
        return
    for one, other in pairwise(InodePlace(*row) for row in rows):
        between = connection.one(
            "SELECT 1 FROM inode WHERE ino > ?1 AND ino < ?2 UNION ALL"
            " SELECT 1 FROM frozen_inode WHERE first > ?1 AND first < ?2 LIMIT 1",
            (one.last, other.first),
        )
        if between is None and _fit_together(frozen, one, other):
            for place in (one, other):
                if frozen.inode_place(place.first) == place:  # not thawed just now
                    thaw_whole(frozen, place)
        yield None


def _fit_together(frozen: FrozenTree, *places: InodePlace) -> bool:
    try:
        groups = [frozen.inode_group(place) for place in places]
    except Corrupt:
        return False
    return (
        sum(group.extent_count for group in groups) <= GROUP_EXTENTS
        and sum(group.attribute_bytes for group in groups) <= GROUP_ATTRIBUTE_BYTES
    )


def merge_names(connection: Connection, frozen: FrozenTree) -> Iterator[None]:
    """As ``merge_inodes``."""
    rows = connection.all(
        f"{NAME_PLACE} WHERE count < ? ORDER BY parent, name LIMIT ?",
        (SMALL_ROWS, MERGED_AT_ONCE),
    )
    if len(rows) <= SMALL_GROUPS_MAX:
        return
    for one, other in pairwise(NamePlace(*row) for row in rows):
        span = (*one[2:4], *other[:2])
        between = connection.one(
            # The next name of each: with two bounds SQLite would go through whole directories.
            " UNION ALL ".join(
                f"SELECT 1 FROM (SELECT parent, name FROM {table}"  # noqa: S608
                " WHERE (parent, name) > (?1, ?2) ORDER BY parent, name LIMIT 1)"
                " WHERE (parent, name) < (?3, ?4)"
                for table in ("dentry", "frozen_name")
            ),
            span,
        )
        if between is None:
            for place in (one, other):
                if frozen.name_place(*place[:2]) == place:
                    thaw_whole(frozen, place)
        yield None
