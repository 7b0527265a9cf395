"""The steps from packs to an index; see docs/DESIGN.md, "Rebuilding the index"."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from stowkenfs.errors import BlockCorrupt, Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.changes import Change
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Inode
from stowkenfs.index.schema import TRIGGERS, triggers
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind, Layout, decode_block
from stowkenfs.vault.packs import Tier
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.reindex.content import Contents
from stowkenfs.vault.reindex.found import TREE_KINDS, FoundBlock, FoundBlocks
from stowkenfs.vault.reindex.keys import KeyWriter
from stowkenfs.vault.reindex.places import NUMBERED, Places
from stowkenfs.vault.reindex.prune import Pruner
from stowkenfs.vault.reindex.reach import Reach
from stowkenfs.vault.reindex.report import DamagedBytes, ReindexReport
from stowkenfs.vault.reindex.scan import Broken, Whole, walk
from stowkenfs.vault.reindex.told import Told

BLOCKS_AT_ONCE = 200
CACHE_BYTES = 16 << 20
NUMBER_LEAP_MAX = 1 << 32
"""A damaged header that claims numbers further above all others is not believed."""

_DENSE_KINDS = {BlockKind.INODES, BlockKind.NAMES, BlockKind.CODEBOOKS}
_WHAT = {
    BlockKind.RECORDS: "records",
    BlockKind.SEGMENTS: "segments",
    BlockKind.TEMPLATES: "templates",
    BlockKind.NAMESPACE: "statements of the tree",
    BlockKind.CODEBOOKS: "codebooks",
    BlockKind.KEYS: "keys, which cost nothing but duplicates",
    BlockKind.INODES: "inodes",
    BlockKind.NAMES: "names",
    BlockKind.SUBSTRINGS: "substrings",
    BlockKind.DICTIONARIES: "dictionaries",
}


class Builder:
    """Fills an empty index. One thread's.

    ``lengths``: bytes to read of each pack. ``lost``: inodes whose names were damaged.
    """

    def __init__(
        self,
        connection: Connection,
        store: PackStore,
        lengths: Mapping[PackNo, int],
        scanned: Path | None,
        report: ReindexReport,
        progress: Progress,
    ) -> None:
        self._connection = connection
        self._store = store
        self._lengths = dict(lengths)
        self._total = sum(lengths.values())
        self._progress = progress
        self.report = report
        self.lost: list[Inode] = []
        for name in triggers():
            connection.execute(f"DROP TRIGGER {name}")
        self.found = FoundBlocks(connection, scanned)
        self.places = Places(connection, store, self.found, report)
        frozen = FrozenTree(connection, self._payload_at)
        self.inodes = InodeTable(connection, frozen)
        self.told = Told(connection, self.found, self.inodes, self._payload, report)
        self._heads: list[Broken] = []

    def _payload_at(self, pack: PackNo, offset_bytes: int, stored_bytes: int) -> bytes:
        content = self._store.read(pack, offset_bytes, stored_bytes)
        return decode_block(content, pack, offset_bytes).payload

    def _payload(self, block: FoundBlock) -> bytes:
        return self._payload_at(block.pack, block.offset_bytes, block.stored_bytes)

    # Packs and the tree

    def read_tree(self, changes: Sequence[Change] = ()) -> None:
        """Find all blocks, the numbers that they hold, and the tree.

        ``changes`` come after all that packs tell, and are yet to be told there.
        """
        done = 0
        for pack, length in self._lengths.items():
            self._scan(pack, length, done)
            done += length
        self.places.fill()
        since = self.told.apply()
        self.told.add(changes)
        record = self._lost_record()
        if self.told.doubt_holes(record):
            self._raise(BlockKind.RECORDS, record + 1)
        self._connection.execute(
            "DELETE FROM block WHERE kind = ? AND first < ?", (BlockKind.NAMESPACE, since)
        )
        pruner = Pruner(self._connection, self.inodes, self.told, self.report)
        self.report.names = pruner.drop_names()
        for inode in list(pruner.nameless()):
            if inode.nlink and not self.is_whole:
                self.lost.append(inode)
            else:  # its name went, and nothing told so any more
                self.inodes.delete(inode.ino)
                self._connection.execute(
                    "INSERT OR REPLACE INTO dirty_inode (ino, extents_from) VALUES (?, 0)",
                    (inode.ino,),
                )

    @property
    def is_whole(self) -> bool:
        """Whether all of the tree could be read, as far as anybody can tell."""
        return self.report.is_whole

    def _scan(self, pack: PackNo, length_bytes: int, done_bytes: int) -> None:
        waiting: list[Whole] = []
        for found in walk(self._store, pack, length_bytes):
            if isinstance(found, Broken):
                self._note_broken(found)
                continue
            waiting.append(found)
            if len(waiting) >= BLOCKS_AT_ONCE:
                self._note(waiting)
                self._progress(done_bytes + found.offset_bytes, 2 * self._total)
        self._note(waiting)

    def _note(self, waiting: list[Whole]) -> None:
        with self._connection.transaction():
            for block in waiting:
                self.report.blocks += 1
                self.report.stored_bytes += len(block.content)
                if block.head.kind == BlockKind.KEYS:
                    continue
                try:
                    self.places.note(block)
                except Corrupt as error:
                    self.report.add(self.report.problems, _about(block, error))
        waiting.clear()

    def _note_broken(self, broken: Broken) -> None:
        self._heads.append(broken)
        if broken.is_cut:
            self.report.cut_bytes += broken.end - broken.start
            self._lengths[broken.pack] = broken.start
            return
        lost = "unknown"
        if broken.head is not None and broken.head.kind in _WHAT:
            first, count = broken.head.first, broken.head.count
            lost = f"maybe {_WHAT[BlockKind(broken.head.kind)]}: {count} from number {first} on"
        damage = DamagedBytes(broken.pack, broken.start, broken.end, lost)
        self.report.add(self.report.damages, damage)

    # Content

    def read_content(self, keys_path: Path) -> None:
        """Follow the tree into records and what they are made of; the rest gets no rows."""
        reader = Reader(
            self._store,
            Catalogue(self._connection),
            record_cache_bytes=0,
            block_cache_bytes=CACHE_BYTES,
        )
        reach = Reach(
            self._connection,
            reader,
            self.places.next_numbers,
            self.report,
            lambda done, _: self._progress(min(self._total + done, 2 * self._total),
                                           2 * self._total),
        )  # fmt: skip
        contents = Contents(self._connection, self.inodes, reader, self.report)
        contents.want_records(reach)
        writer = KeyWriter(self._connection, self._store, max(self._lengths, default=0))
        self.report.unused_blocks += reach.follow(keys_path, writer)
        writer.sync()
        contents.name_damaged(reach)
        self.report.conversations = contents.name_conversations()
        self._connection.execute_many(
            "INSERT INTO frame_kind VALUES (?, ?, ?)",
            [(kind, frames, size) for kind, (frames, size) in sorted(reach.frames.items())],
        )
        for kind, number in reach.highest.items():
            self._raise(kind, number + 1)

    def _raise(self, kind: int, number: int) -> None:
        known = self.places.next_numbers
        known[kind] = max(known.get(kind, 0), number)

    # The rest

    def finish(self) -> None:
        """Packs, numbers, and triggers; from here on changes are noted again."""
        self._list_packs()
        self.count()
        self.found.close()
        self._connection.execute_script(TRIGGERS)
        self._progress(2 * self._total, 2 * self._total)

    def count(self) -> None:
        """Note in the report how large the tree is."""
        ((inodes, groups),) = self._connection.all(
            "SELECT (SELECT count(*) FROM inode)"
            " + (SELECT ifnull(sum(count), 0) FROM frozen_inode),"
            " (SELECT count(*) FROM frozen_inode) + (SELECT count(*) FROM frozen_name)"
        )
        self.report.inodes, self.report.frozen_groups = inodes, groups

    def _list_packs(self) -> None:
        """Rows of packs. Those with keys alone have none, and go with the next opening."""
        kinds = self.found.kinds_of_packs()
        damaged = {broken.pack for broken in self._heads if not broken.is_cut}
        for pack, length in self._lengths.items():
            there = kinds.get(pack, set())
            if not length or (not there and pack not in damaged):
                continue
            is_dense = any(layout == Layout.DENSE or kind in _DENSE_KINDS for kind, layout in there)
            tier = Tier.DENSE if is_dense else Tier.HOT
            self._connection.execute("INSERT INTO pack VALUES (?, ?, ?)", (pack, length, tier))

    def _lost_record(self) -> int:
        """A number that no record has or gets."""
        record = self.places.next_numbers.get(BlockKind.RECORDS, 0)
        return max(record, self.told.last_record + 1)

    def keep_numbers(self, next_ino: int) -> None:
        """Let nothing be numbered as anything that was ever there."""
        self._raise(BlockKind.RECORDS, self.told.last_record + 1)
        for broken in self._heads:
            head = broken.head
            if head is not None and head.kind in _WHAT:
                kind = BlockKind.NAMESPACE if head.kind in TREE_KINDS else head.kind
                end = head.first + (1 if head.kind in TREE_KINDS[1:] else head.count)
                if end - self.places.next_numbers.get(kind, 0) < NUMBER_LEAP_MAX:
                    self._raise(kind, end)
        rows = [("next_ino", next_ino)]
        rows += [
            (f"next_{int(kind)}", number)
            for kind, number in self.places.next_numbers.items()
            if kind in NUMBERED
        ]
        self._connection.execute_many("INSERT OR REPLACE INTO setting VALUES (?, ?)", rows)


def _about(block: Whole, error: Corrupt) -> str:
    if isinstance(error, BlockCorrupt):
        return str(error)
    return f"block at byte {block.offset_bytes} of pack {block.pack}: {error}"
