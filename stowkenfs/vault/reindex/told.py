"""The tree from what packs tell of it (FORMAT.md, "The tree from packs alone").

Statements become rows. A group stays frozen as long as nothing that comes after it is about
what is in it; else it becomes rows first, and these are noted as changed: the group is about
to be let go of.
"""

import json
import stat
from collections.abc import Callable, Sequence

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.changes import Change, DentryChange
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen import FrozenInode, InodeGroup, NameGroup
from stowkenfs.index.frozen_tree import INODE_PLACE, NAME_PLACE, FrozenTree, InodePlace, NamePlace
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Inode
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.namespace import Checkpoint, decode_changes
from stowkenfs.vault.reindex.found import FoundBlock, FoundBlocks
from stowkenfs.vault.reindex.holes import Holes
from stowkenfs.vault.reindex.report import ReindexReport

Load = Callable[[FoundBlock], bytes]
"""The payload of a block. Raises Corrupt."""

STATEMENTS_AT_ONCE = 50
INODES_MAX = 1 << 62


class Told:
    """Makes the rows of the tree. The thread's that rebuilds.

    ``next_ino``: one past the highest inode that anything tells of, void or not.
    ``last_record``: the highest record that the tree refers to.
    """

    def __init__(
        self,
        connection: Connection,
        found: FoundBlocks,
        inodes: InodeTable,
        load: Load,
        report: ReindexReport,
    ) -> None:
        self._connection = connection
        self._found = found
        self._inodes = inodes
        self._frozen: FrozenTree = inodes.frozen
        self._load = load
        self._report = report
        self._holes = Holes(connection)
        self.next_ino = 1
        self.last_record = -1

    def apply(self) -> int:
        """Read all that counts; the number from which on statements do."""
        checkpoint = self._last_checkpoint()
        groups = set(checkpoint.groups)
        missing = set(groups)
        waiting: list[tuple[FoundBlock, bytes]] = []
        following = checkpoint.since
        for block in self._found.statements():
            missing.discard(block.first)
            if block.first > following:
                self._note_gap(waiting)
                self._report.add(
                    self._report.problems,
                    f"statements of the tree {following} to {block.first - 1} are in no pack",
                )
            if block.first >= checkpoint.since:
                is_group = block.kind != BlockKind.NAMESPACE
                following = max(following, block.first + (1 if is_group else block.count))
            try:
                payload = self._load(block)
                if block.first < checkpoint.since and block.first not in groups:
                    self._pass_over(block, payload)
                    continue
                waiting.append((block, payload))
            except Corrupt as error:
                self._note_gap(waiting)
                self._report.add(self._report.problems, str(error))
            if len(waiting) >= STATEMENTS_AT_ONCE:
                self._tell(waiting)
        self._tell(waiting)
        for number in sorted(missing):
            self._report.add(
                self._report.problems,
                f"a part of the tree, which was told as number {number}, is not there",
            )
        return checkpoint.since

    def add(self, changes: Sequence[Change]) -> None:
        """Apply what no pack tells of yet."""
        with self._connection.transaction():
            for change in changes:
                if isinstance(change, DentryChange):
                    self._name(change)
                    self._connection.execute(
                        "INSERT OR REPLACE INTO dirty_dentry (parent, name) VALUES (?, ?)",
                        (change.parent, change.name),
                    )
                else:
                    self._inode(change)
                    self._connection.execute(
                        "INSERT OR REPLACE INTO dirty_inode (ino, extents_from) VALUES (?, 0)",
                        (change.ino,),
                    )

    def _last_checkpoint(self) -> Checkpoint:
        for block in self._found.by_number(BlockKind.NAMESPACE, descending=True):
            if block.count == 1:
                try:
                    (said,) = decode_changes(self._load(block))
                except (Corrupt, ValueError):  # told when its turn comes
                    continue
                if isinstance(said, Checkpoint):
                    return said
        return Checkpoint(0, ())

    def _note_gap(self, waiting: list[tuple[FoundBlock, bytes]]) -> None:
        """Something was told behind ``waiting``, and is lost."""
        self._tell(waiting)
        self._holes.note_gap()

    def doubt_holes(self, record: int) -> bool:
        """Let holes that may be none refer to ``record``; whether there are any."""
        return self._holes.doubt(record)

    def _tell(self, waiting: list[tuple[FoundBlock, bytes]]) -> None:
        with self._connection.transaction():
            for block, payload in waiting:
                try:
                    self._tell_block(block, payload)
                except (Corrupt, OverflowError) as error:
                    self._holes.note_gap()
                    self._report.add(
                        self._report.problems,
                        f"byte {block.offset_bytes} of pack {block.pack}: {error}",
                    )
        waiting.clear()

    def _tell_block(self, block: FoundBlock, payload: bytes) -> None:
        if block.kind == BlockKind.INODES:
            self._inode_group(block, payload)
        elif block.kind == BlockKind.NAMES:
            self._name_group(block, payload)
        else:
            # All of it first: what cannot be read to its end says nothing.
            for change in list(decode_changes(payload)):
                if isinstance(change, DentryChange):
                    self._name(change)
                elif not isinstance(change, Checkpoint):
                    self._inode(change)

    def _pass_over(self, block: FoundBlock, payload: bytes) -> None:
        """Of what counts no more, only which numbers it gave out."""
        if block.kind == BlockKind.INODES:
            self._raise(InodeGroup(payload).last)
        elif block.kind == BlockKind.NAMES:
            self._raise(max(NameGroup(payload).inos))
        else:
            for change in decode_changes(payload):
                if not isinstance(change, Checkpoint):
                    self._raise(change.ino or 0)

    def _raise(self, ino: int) -> None:
        if ino > INODES_MAX:
            raise Corrupt(f"an inode {ino}")
        self.next_ino = max(self.next_ino, ino + 1)

    # Inodes

    def _inode(self, change: Change) -> None:
        assert not isinstance(change, DentryChange)
        ino = change.ino
        self._raise(ino)
        self._thaw_inode(ino)
        if change.inode is None and change.extents_from is None:
            for table in ("inode", "xattr", "extent", "conversation"):
                self._connection.execute(f"DELETE FROM {table} WHERE ino = ?", (ino,))  # noqa: S608
            return
        if change.inode is not None:
            self._put_inode(change.inode, change.xattrs)
        self._holes.note(ino, is_all=change.extents_from == 0)
        if change.extents_from is not None:
            self._connection.execute(
                "DELETE FROM extent WHERE ino = ? AND start >= ?", (ino, change.extents_from)
            )
            # Writers tell anew what reaches beyond; whoever else wrote this, no two may overlap.
            self._connection.execute(
                "UPDATE extent SET length = ?2 - start WHERE ino = ?1 AND start + length > ?2",
                (ino, change.extents_from),
            )
            rows = [(ino, e.start, e.length, e.record, e.count) for e in change.extents]
            self._connection.execute_many(
                "INSERT OR REPLACE INTO extent VALUES (?, ?, ?, ?, ?)", rows
            )
            self.last_record = max(
                self.last_record, *(e.record + e.count - 1 for e in change.extents), -1
            )

    def _put_inode(self, inode: Inode, xattrs: Sequence[tuple[bytes, bytes]]) -> None:
        self._connection.execute("DELETE FROM inode WHERE ino = ?", (inode.ino,))
        self._connection.execute("DELETE FROM xattr WHERE ino = ?", (inode.ino,))
        self._inodes.insert(inode)
        self._connection.execute_many(
            "INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)",
            [(inode.ino, name, value) for name, value in xattrs],
        )

    def _thaw_inode(self, ino: InodeNo) -> None:
        place = self._frozen.inode_place(ino)
        if place is not None and self._frozen.inode_group(place).position(ino) is not None:
            self._thaw_inodes(place)

    def _thaw_inodes(self, place: InodePlace) -> None:
        rows = self._frozen.inode_group(place).rows()
        self._connection.execute_many(
            "INSERT OR REPLACE INTO dirty_inode (ino, extents_from) VALUES (?, 0)",
            [(row.inode.ino,) for row in rows],
        )
        self._frozen.thaw_inodes(place)

    def _inode_group(self, block: FoundBlock, payload: bytes) -> None:
        group = InodeGroup(payload)
        rows = group.rows()
        self._raise(group.last)
        for row in self._connection.all(
            f"{INODE_PLACE} WHERE first <= ? AND last >= ?", (group.last, group.first)
        ):
            self._thaw_inodes(InodePlace(*row))
        inos = json.dumps([row.inode.ino for row in rows])
        for table in ("inode", "xattr", "extent", "conversation", "dirty_inode"):
            self._connection.execute(
                f"DELETE FROM {table} WHERE ino IN (SELECT value FROM json_each(?))",  # noqa: S608
                (inos,),
            )
        self._insert_group(block, group, rows)
        self._frozen.refresh()
        ends = [e.record + e.count - 1 for row in rows for e in row.extents]
        self.last_record = max(self.last_record, *ends, -1)

    def _insert_group(
        self, block: FoundBlock, group: InodeGroup, rows: Sequence[FrozenInode]
    ) -> None:
        files = [row for row in rows if stat.S_ISREG(row.inode.mode)]
        self._connection.execute(
            "INSERT INTO frozen_inode (first, last, count, pack, offset, stored, raw,"
            " files, bytes, sealed, conversations) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                group.first, group.last, group.count, block.pack, block.offset_bytes,
                block.stored_bytes, block.raw_bytes, len(files),
                sum(row.inode.size for row in files),
                sum(extent.length for row in rows for extent in row.extents),
                sum(row.is_conversation for row in rows),
            ),
        )  # fmt: skip

    # Names

    def _name(self, change: DentryChange) -> None:
        self._raise(max(change.parent, change.ino or 0))
        place = self._frozen.name_place(change.parent, change.name)
        if place is not None:
            group = self._frozen.name_group(place)
            if group.position(change.parent, change.name) is not None:
                self._thaw_names(place)
        if change.ino is None:
            self._inodes.unlink(change.parent, change.name)
        else:
            self._inodes.link(change.parent, change.name, change.ino)

    def _thaw_names(self, place: NamePlace) -> None:
        self._connection.execute_many(
            "INSERT OR REPLACE INTO dirty_dentry (parent, name) VALUES (?, ?)",
            [entry[:2] for entry in self._frozen.name_group(place).entries()],
        )
        self._frozen.thaw_names(place)

    def thaw_names(self, place: NamePlace) -> None:
        """Make a group rows, because not all of it holds any more."""
        with self._connection.transaction():
            self._thaw_names(place)

    def _name_group(self, block: FoundBlock, payload: bytes) -> None:
        group = NameGroup(payload)
        entries = group.entries()
        self._raise(max(group.inos))
        first, last = entries[0][:2], entries[-1][:2]
        for row in self._connection.all(
            f"{NAME_PLACE} WHERE (parent, name) <= (?, ?) AND (last_parent, last_name) >= (?, ?)",
            (*last, *first),
        ):
            self._thaw_names(NamePlace(*row))
        keys = [entry[:2] for entry in entries]
        for table in ("dentry", "dirty_dentry"):
            self._connection.execute_many(
                f"DELETE FROM {table} WHERE parent = ? AND name = ?",  # noqa: S608
                keys,
            )
        self._connection.execute(
            "INSERT INTO frozen_name (parent, name, last_parent, last_name, cookie, count,"
            " low_ino, high_ino, pack, offset, stored, raw)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *first, *last, self._inodes.reserve_cookies(len(entries)), len(entries),
                min(group.inos), max(group.inos), block.pack, block.offset_bytes,
                block.stored_bytes, block.raw_bytes,
            ),
        )  # fmt: skip
        self._frozen.refresh()
