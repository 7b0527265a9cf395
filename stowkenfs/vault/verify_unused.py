"""Bytes of packs that nothing refers to: whole blocks, or damage that costs nothing."""

from collections.abc import Mapping, Sequence

import anyio.to_thread

from stowkenfs.ids import PackNo
from stowkenfs.index.connection import Scanner
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reindex.scan import Whole, walk
from stowkenfs.vault.verify_report import VerifyReport

TABLES = ("block", "key_block", "frozen_inode", "frozen_name")
"""What is in use: their rows say where it lies."""

Gap = tuple[int, int, int]
"""Pack, and from which byte to which nothing is in use."""


async def check_unused(
    scan: Scanner, store: PackStore, lengths: Mapping[int, int], report: VerifyReport
) -> None:
    """Look at what is between the blocks in use, up to the ``lengths`` that packs had."""
    query = " UNION ".join(f"SELECT pack, offset, stored FROM {table}" for table in TABLES)  # noqa: S608
    ends: dict[int, int] = {}  # {pack: where its last block in use ends}
    async for rows in scan.batches(f"{query} ORDER BY pack, offset"):
        await _look(store, _gaps(rows, ends, lengths), report)
    rest = [(pack, ends.get(pack, 0), length) for pack, length in lengths.items()]
    await _look(store, [gap for gap in rest if gap[1] < gap[2]], report)


def _gaps(
    rows: Sequence[tuple[int, int, int]], ends: dict[int, int], lengths: Mapping[int, int]
) -> list[Gap]:
    found = []
    for pack, offset, stored in rows:
        before = ends.get(pack, 0)
        if before < offset <= lengths.get(pack, 0):
            found.append((pack, before, offset))
        ends[pack] = max(before, offset + stored)
    return found


async def _look(store: PackStore, gaps: Sequence[Gap], report: VerifyReport) -> None:
    if gaps:
        await anyio.to_thread.run_sync(_check, store, gaps, report)


def _check(store: PackStore, gaps: Sequence[Gap], report: VerifyReport) -> None:
    for pack, start, end in gaps:
        for found in walk(store, PackNo(pack), end, start):
            if isinstance(found, Whole):
                report.unused_blocks += 1
                report.unused_bytes += len(found.content)
                continue
            kinds = {int(kind): kind.name.lower() for kind in BlockKind}
            what = kinds.get(found.head.kind, "something") if found.head else "something"
            report.add(
                f"bytes {found.start} to {found.end} of pack {pack} are damaged; there was {what}"
                " that nothing needs any more"
            )
