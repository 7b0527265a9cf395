"""What a vault holds and what it takes up."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stowkenfs.frames.codec import FrameKind
from stowkenfs.index.connection import Connection
from stowkenfs.store.block import BlockKind


@dataclass(frozen=True, slots=True)
class VaultStats:
    """Totals of a vault. All sizes are in bytes.

    Attributes:
        documents: files.
        conversations: files that are JSON or JSON lines, as far as they are sealed.
        segments, records, templates: stored things, each counted once.
        frames: ``{"0x01": {"frames": n, "bytes": n}, ...}`` by kind.
        bytes_in: length of all files.
        sealed_bytes: how much of that is held as records.
        storage_bytes: blocks of segments, records and templates.
        disk_bytes: everything in the vault's directory, in disk blocks; 0 in memory.
        drafts: files with unsealed bytes.
        ratio: bytes_in by disk_bytes (by storage_bytes in memory).

    """

    documents: int
    conversations: int
    segments: int
    records: int
    templates: int
    frames: dict[str, dict[str, int]]
    bytes_in: int
    sealed_bytes: int
    storage_bytes: int
    disk_bytes: int
    drafts: int
    ratio: float = field(default=0.0)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


async def collect_stats(connection: Connection, directory: Path | None) -> VaultStats:
    """Count, on a connection of its own, so that the loop never waits."""
    async with connection.scanner() as scan:
        ((documents, bytes_in),) = await scan.all(
            "SELECT count(*), ifnull(sum(size), 0) FROM inode WHERE mode & 61440 = 32768"
        )
        ((conversations,),) = await scan.all("SELECT count(DISTINCT ino) FROM conversation")
        ((sealed,),) = await scan.all("SELECT ifnull(sum(length), 0) FROM extent")
        ((drafts,),) = await scan.all("SELECT count(*) FROM draft")
        by_kind = {
            kind: (count, stored)
            for kind, count, stored in await scan.all(
                "SELECT kind, sum(count), sum(stored) FROM block GROUP BY kind"
            )
        }
        frames = {
            f"0x{kind:02x}": {"frames": count, "bytes": size}
            for kind, count, size in await scan.all(
                "SELECT kind, frames, bytes FROM frame_kind ORDER BY kind"
            )
        }
    for kind in (FrameKind.VARINT, FrameKind.ZSTD):
        frames.setdefault(f"0x{kind:02x}", {"frames": 0, "bytes": 0})
    content_kinds = (BlockKind.SEGMENTS, BlockKind.RECORDS, BlockKind.TEMPLATES)
    storage = sum(by_kind.get(kind, (0, 0))[1] for kind in content_kinds)
    on_disk = disk_usage(directory) if directory else 0
    against = on_disk or storage
    return VaultStats(
        documents=documents,
        conversations=conversations,
        segments=by_kind.get(BlockKind.SEGMENTS, (0, 0))[0],
        records=by_kind.get(BlockKind.RECORDS, (0, 0))[0],
        templates=by_kind.get(BlockKind.TEMPLATES, (0, 0))[0],
        frames=dict(sorted(frames.items())),
        bytes_in=bytes_in,
        sealed_bytes=sealed,
        storage_bytes=storage,
        disk_bytes=on_disk,
        drafts=drafts,
        ratio=round(bytes_in / against, 2) if against else 0.0,
    )


def disk_usage(directory: Path) -> int:
    """Bytes in disk blocks of everything below ``directory``, as ``du`` counts them."""
    total = directory.stat().st_blocks * 512
    for parent, folders, names in os.walk(directory):
        for name in (*folders, *names):
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118
            except FileNotFoundError:
                continue  # a draft that was sealed meanwhile
    return total
