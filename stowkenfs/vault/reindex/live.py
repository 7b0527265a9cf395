"""Rebuilding beside an index that is in use, which is the truth about the tree.

What packs tell otherwise is told there again. The moment that is compared is one at which
everything was told, but for what the index itself notes as changed since.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.lowlevel

from stowkenfs.errors import Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.index.frozen_tree import FrozenTree, Load
from stowkenfs.index.snapshot import Snapshot
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind, decode_block
from stowkenfs.vault.dedup import slices
from stowkenfs.vault.payloads import decode_segments
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.reindex.background import in_thread
from stowkenfs.vault.reindex.build import Builder
from stowkenfs.vault.reindex.compare import Comparison, Differences
from stowkenfs.vault.reindex.placing import CHECKED, SCANNED, remove_leftovers
from stowkenfs.vault.reindex.rebuild import told_to
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.unpacked import decode_ranges

ROWS_AT_ONCE = 100


@dataclass(slots=True)
class LiveParts:
    """What of a vault in use it takes. ``tell`` writes what the index notes as changed."""

    connection: Connection
    catalogue: Catalogue
    store: PackStore
    load: Load
    directory: Path | None
    tell: Callable[[], Awaitable[None]]


class LiveReindex:
    """One run. Nothing may be removed from packs meanwhile."""

    def __init__(self, parts: LiveParts) -> None:
        self._parts = parts

    async def run(self, progress: Progress) -> ReindexReport:
        """Compare, and tell again what differs. Cancelled, it has told some of it, or nothing."""
        parts = self._parts
        await parts.tell()
        lengths = parts.catalogue.packs()  # from here to the snapshot nobody else runs
        with ExitStack() as closing:
            snapshot = Snapshot(parts.connection)
            closing.callback(snapshot.close)
            if parts.directory is not None:
                closing.callback(remove_leftovers, parts.directory)
            report, differences = await in_thread(
                lambda told: self._compare(snapshot, lengths, told), progress
            )
        await self._tell_again(differences)
        return report

    def _compare(
        self, snapshot: Snapshot, lengths: dict[PackNo, int], progress: Progress
    ) -> tuple[ReindexReport, Differences]:
        parts, report = self._parts, ReindexReport()
        folder = parts.directory
        if folder is not None:
            remove_leftovers(folder)
        rebuilt = Connection(folder / CHECKED if folder else None)
        try:
            builder = Builder(
                rebuilt,
                parts.store,
                lengths,
                folder / SCANNED if folder else None,
                report,
                lambda done, total: told_to(rebuilt, progress, min(done, total), total),
            )
            builder.read_tree()
            comparison = Comparison(
                snapshot, FrozenTree(snapshot, parts.load), rebuilt, builder.inodes, report
            )
            comparison.run(builder.places.next_numbers.get(BlockKind.RECORDS, 0))
            comparison.differences.frames = self._frames(snapshot, report)
            builder.count()
            report.conversations = _conversations(snapshot)
            builder.found.close()
            progress(1, 1)
        finally:
            rebuilt.close()
        return report, comparison.differences

    def _frames(self, snapshot: Snapshot, report: ReindexReport) -> dict[int, tuple[int, int]]:
        """By how much the totals of frames are wrong."""
        totals: dict[int, tuple[int, int]] = {}
        at = -1
        while rows := snapshot.all(
            "SELECT first, pack, offset, stored FROM block WHERE kind = ? AND layout != 1"
            " AND skip = 0 AND first > ? ORDER BY first LIMIT ?",
            (BlockKind.SEGMENTS, at, ROWS_AT_ONCE),
        ):
            for first, pack, offset, stored in rows:
                at = first
                try:
                    frames = self._frames_of(PackNo(pack), offset, stored)
                except Corrupt:  # told already, and what it had is not known
                    return {}
                for kind, size in frames:
                    count, size_before = totals.get(kind, (0, 0))
                    totals[kind] = count + 1, size_before + size
        wrong: dict[int, tuple[int, int]] = {}
        noted = {kind: (n, size) for kind, n, size in snapshot.all("SELECT * FROM frame_kind")}
        for kind in totals.keys() | noted.keys():
            right, before = totals.get(kind, (0, 0)), noted.get(kind, (0, 0))
            if right != before:
                wrong[kind] = right[0] - before[0], right[1] - before[1]
                report.add(
                    report.differences,
                    f"frames of kind 0x{kind:02x}: {right[0]} of {right[1]} bytes, not"
                    f" {before[0]} of {before[1]}",
                )
        return wrong

    def _frames_of(
        self, pack: PackNo, offset_bytes: int, stored_bytes: int
    ) -> Sequence[tuple[int, int]]:
        content = self._parts.store.read(pack, offset_bytes, stored_bytes)
        block = decode_block(content, pack, offset_bytes)
        begin = decode_ranges(block)[1] if block.layout else 0
        frames = decode_segments(block.payload[begin:], block.count).frames
        return [(frames[at][0], len(frames[at])) for at in range(len(frames))]

    # Telling again

    async def _tell_again(self, differences: Differences) -> None:
        """Note what differs as changed. What changed meanwhile is noted already."""
        connection = self._parts.connection
        for some in slices(differences.inodes, ROWS_AT_ONCE):
            connection.execute_many(
                "INSERT INTO dirty_inode (ino, extents_from) VALUES (?, 0) ON CONFLICT (ino)"
                " DO UPDATE SET stamp = stamp + 1, extents_from = 0",
                [(ino,) for ino in some],
            )
            await anyio.lowlevel.checkpoint()
        for names in slices(differences.names, ROWS_AT_ONCE):
            connection.execute_many(
                "INSERT INTO dirty_dentry (parent, name) VALUES (?, ?)"
                " ON CONFLICT (parent, name) DO UPDATE SET stamp = stamp + 1",
                names,
            )
            await anyio.lowlevel.checkpoint()
        missing = [
            place
            for place in differences.blocks
            if self._parts.catalogue.locate(place.kind, place.first) is None
        ]
        if missing:
            self._parts.catalogue.add_blocks(missing, {})
        if differences.frames:
            self._parts.catalogue.count_frames(differences.frames)
        await self._parts.tell()


def _conversations(snapshot: Snapshot) -> int:
    """Files that are conversations, as the index in use has them."""
    ((thawed, frozen),) = snapshot.all(
        "SELECT (SELECT count(DISTINCT ino) FROM conversation),"
        " (SELECT ifnull(sum(conversations), 0) FROM frozen_inode)"
    )
    return int(thawed) + int(frozen)
