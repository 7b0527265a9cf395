"""What a vault holds and what it takes up."""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.frames.codec import FrameKind
from stowkenfs.index.connection import Connection, Scanner
from stowkenfs.index.frozen import InodeGroup
from stowkenfs.index.frozen_scan import frozen_totals
from stowkenfs.index.journal import NAME as JOURNAL
from stowkenfs.index.space import RESERVE
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.stats_report import KindBytes, VaultStats

__all__ = ["KindBytes", "VaultStats", "collect_stats"]

KIND_NAMES = {
    BlockKind.SEGMENTS: "segments",
    BlockKind.TEMPLATES: "templates",
    BlockKind.RECORDS: "values",
    BlockKind.CODEBOOKS: "registry",
    BlockKind.SUBSTRINGS: "registry",
    BlockKind.DICTIONARIES: "registry",
    BlockKind.NAMESPACE: "inodes",
}
"""What the blocks of each kind count as in ``VaultStats.kinds``."""

CONTENT_KINDS = ("segments", "values", "templates")

_PACKED_TABLES = {"key_block": "keys", "frozen_inode": "inodes", "frozen_name": "names"}

GROUPS_SAMPLED = 16
"""Of the tree, a millisecond each."""

DISK_BLOCK_BYTES = 512
"""The unit of ``st_blocks``, whatever the filesystem's own."""
PAGE_BYTES = 4096
"""What a file's length is rounded up to by most filesystems."""


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """Bytes in disk blocks of a vault's directory, and of two parts of it."""

    total: int
    index: int
    drafts: int


@dataclass(frozen=True, slots=True)
class _BlockTotals:
    count: int
    stored: int
    raw: int


_NOTHING = _BlockTotals(0, 0, 0)

_BlocksByKind = dict[tuple[int, int], _BlockTotals]
"""``{(kind, layout): totals}``."""


Load = Callable[[int, int, int], bytes]
"""The payload of the block at (pack, offset_bytes, stored_bytes). Raises Corrupt."""


async def collect_stats(connection: Connection, load: Load, directory: Path | None) -> VaultStats:
    """Count, on a connection of its own, so that the loop never waits."""
    async with connection.scanner() as scan:
        ((documents, bytes_in),) = await scan.all(
            "SELECT count(*), ifnull(sum(size), 0) FROM inode WHERE mode & 61440 = 32768"
        )
        ((conversations,),) = await scan.all("SELECT count(DISTINCT ino) FROM conversation")
        ((sealed,),) = await scan.all("SELECT ifnull(sum(length), 0) FROM extent")
        ((drafts,),) = await scan.all("SELECT count(*) FROM draft")
        frozen = await frozen_totals(scan)
        blocks = await _blocks(scan)
        hot = any(
            (BlockKind.SEGMENTS, layout) in blocks for layout in (Layout.PLAIN, Layout.SPARSE)
        )
        frames = await _frames(scan) if hot else {}
        sizes = await _packed(scan)
        groups = await _some_groups(scan)
    recipes = await anyio.to_thread.run_sync(_recipes_share, groups, load)
    sizes["recipes"] = _part(sizes["inodes"], recipes)
    sizes["inodes"] = _part(sizes["inodes"], 1 - recipes)
    usage = await anyio.to_thread.run_sync(measure, directory) if directory else None
    for kind in (FrameKind.VARINT, FrameKind.ZSTD):
        frames.setdefault(f"0x{kind:02x}", {"frames": 0, "bytes": 0})
    kinds = _kinds(blocks, sizes, usage)
    storage = sum(one.stored_bytes for one in kinds if one.kind in CONTENT_KINDS)
    on_disk = usage.total if usage else 0
    against = on_disk or storage
    bytes_in += frozen.bytes
    dense = blocks.get((BlockKind.SEGMENTS, Layout.DENSE), _NOTHING)
    return VaultStats(
        documents=documents + frozen.files,
        conversations=conversations + frozen.conversations,
        segments=_count(blocks, BlockKind.SEGMENTS),
        records=_count(blocks, BlockKind.RECORDS),
        templates=_count(blocks, BlockKind.TEMPLATES),
        frames=dict(sorted(frames.items())),
        bytes_in=bytes_in,
        sealed_bytes=sealed + frozen.sealed_bytes,
        storage_bytes=storage,
        disk_bytes=on_disk,
        drafts=drafts,
        ratio=round(bytes_in / against, 2) if against else 0.0,
        dense_segments=dense.count,
        dense_bytes=dense.stored,
        kinds=kinds,
    )


async def _blocks(scan: Scanner) -> _BlocksByKind:
    """Totals of blocks; one that was merged has several rows and counts once."""
    rows = await scan.all(
        "SELECT kind, layout, sum(count), sum(stored), sum(raw) FROM"
        " (SELECT kind, layout, sum(count) AS count, max(stored) AS stored, max(raw) AS raw"
        " FROM block GROUP BY pack, offset) GROUP BY kind, layout"
    )
    return {(kind, layout): _BlockTotals(*totals) for kind, layout, *totals in rows}


async def _frames(scan: Scanner) -> dict[str, dict[str, int]]:
    return {
        f"0x{kind:02x}": {"frames": count, "bytes": size}
        for kind, count, size in await scan.all("SELECT kind, frames, bytes FROM frame_kind")
    }


async def _packed(scan: Scanner) -> dict[str, tuple[int, int]]:
    """Stored and raw bytes of what other tables locate, by kind; and of packs as a whole."""
    sizes = {}
    for table, kind in _PACKED_TABLES.items():
        (row,) = await scan.all(f"SELECT ifnull(sum(stored), 0), ifnull(sum(raw), 0) FROM {table}")  # noqa: S608
        sizes[kind] = (int(row[0]), int(row[1]))
    ((length,),) = await scan.all("SELECT ifnull(sum(length), 0) FROM pack")
    return sizes | {"packs": (length, 0)}


async def _some_groups(scan: Scanner) -> list[tuple[int, int, int]]:
    """Places of up to GROUPS_SAMPLED groups of inodes, from all of the vault."""
    rows = await scan.all("SELECT pack, offset, stored FROM frozen_inode ORDER BY first")
    step = max(-(-len(rows) // GROUPS_SAMPLED), 1)
    return [(pack, offset, stored) for pack, offset, stored in rows[::step]]


def _recipes_share(groups: Sequence[tuple[int, int, int]], load: Load) -> float:
    """How much of groups of inodes says where content lies. Blocks."""
    shares = []
    for place in groups:
        # One that is damaged, or was replaced meanwhile, says nothing.
        with suppress(Corrupt, OSError):
            shares.append(InodeGroup(load(*place)).extents_share)
    return sum(shares) / len(shares) if shares else 0.0


def _part(sizes: tuple[int, int], share: float) -> tuple[int, int]:
    return round(sizes[0] * share), round(sizes[1] * share)


def _count(blocks: _BlocksByKind, kind: BlockKind) -> int:
    return sum(blocks.get((kind, layout), _NOTHING).count for layout in Layout)


def _kinds(
    blocks: _BlocksByKind, sizes: Mapping[str, tuple[int, int]], usage: DiskUsage | None
) -> list[KindBytes]:
    """Where the bytes are, the largest first; what is left of the whole is slack."""
    kinds = {kind: KindBytes(kind, stored, 0, raw) for kind, (stored, raw) in sizes.items()}
    length = kinds.pop("packs").stored_bytes
    for block_kind, name in KIND_NAMES.items():
        found = {layout: blocks.get((block_kind, layout), _NOTHING) for layout in Layout}
        hot = found[Layout.PLAIN].stored + found[Layout.SPARSE].stored
        before = kinds.get(name, KindBytes(name, 0))
        kinds[name] = KindBytes(
            name,
            before.stored_bytes + hot + found[Layout.DENSE].stored,
            before.hot_bytes + (0 if name == "registry" else hot),  # it stays as it is
            before.raw_bytes + sum(sizes.raw for sizes in found.values()),
        )
    if usage is not None:
        kinds["index"] = KindBytes("index", usage.index)
        kinds["drafts"] = KindBytes("drafts", usage.drafts)
    whole = usage.total if usage is not None else length
    used = sum(kind.stored_bytes for kind in kinds.values())
    kinds["slack"] = KindBytes("slack", whole - used)
    return sorted(kinds.values(), key=lambda kind: -kind.stored_bytes)


def measure(directory: Path) -> DiskUsage:
    """What a vault's directory takes up, but for the room that is taken ahead while it is open.

    Blocks; any thread.
    """
    total = _disk_bytes(directory)
    index = drafts = 0
    for parent, folders, names in os.walk(directory):
        for name in (*folders, *names):
            path = Path(parent, name)
            within = path.relative_to(directory).parts[0]
            size = _disk_bytes(path, is_index=within.startswith("index.db"))
            if within in (RESERVE, JOURNAL):
                continue
            total += size
            index += size if within.startswith("index.db") else 0
            drafts += size if within == "drafts" else 0
    return DiskUsage(total, index, drafts)


def _disk_bytes(path: Path, *, is_index: bool = False) -> int:
    try:
        about = path.lstat()
    except FileNotFoundError:
        return 0  # a draft that was sealed meanwhile
    size = about.st_blocks * DISK_BLOCK_BYTES
    return min(size, -(-about.st_size // PAGE_BYTES) * PAGE_BYTES) if is_index else size
