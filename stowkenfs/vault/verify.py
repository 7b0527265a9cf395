"""Reading everything that is stored and checking every checksum and hash."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import anyio
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import BlockPlace
from stowkenfs.index.connection import Connection, Scanner
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.namespace import decode_changes
from stowkenfs.vault.payloads import RecordItems, SegmentItems
from stowkenfs.vault.reader import Reader, verified_segment

DAMAGES_MAX = 10_000
"""A report this long says enough; further ones are counted, not listed."""

Progress = Callable[[int, int], None]
PathOf = Callable[[InodeNo], bytes | None]


@dataclass(frozen=True, slots=True)
class DamagedRange:
    """Bytes ``start`` to ``end`` of a file that cannot be read."""

    path: str
    start: int
    end: int


@dataclass(slots=True)
class VerifyReport:
    """What ``verify`` found. ``problems`` say where in the packs, ``files`` what is lost."""

    blocks: int = 0
    records: int = 0
    segments: int = 0
    stored_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    files: list[DamagedRange] = field(default_factory=list)
    omitted: int = 0

    @property
    def clean(self) -> bool:
        return not self.problems and not self.files

    def to_dict(self) -> dict[str, Any]:
        return {"clean": self.clean, **asdict(self)}

    def add(self, problem: str) -> None:
        if len(self.problems) < DAMAGES_MAX:
            self.problems.append(problem)
        else:
            self.omitted += 1


async def verify_vault(
    connection: Connection, reader: Reader, path_of: PathOf, progress: Progress
) -> VerifyReport:
    """Check every block, segment and record, then name the files that damage touches.

    ``progress(done, total)`` is told bytes of blocks. Memory does not grow with the vault.
    """
    report = VerifyReport()
    bad: list[tuple[int, int]] = []  # records that do not read: (first, last)
    async with connection.scanner() as scan:
        ((total,),) = await scan.all("SELECT ifnull(sum(stored), 0) FROM block")
        # In the order of the packs: blocks lie behind what they refer to.
        query = (
            "SELECT kind, first, count, pack, offset, stored, raw, content FROM block"
            " ORDER BY pack, offset"
        )
        async for rows in scan.batches(query, rows=16):
            places = [BlockPlace(*row) for row in rows]
            await anyio.to_thread.run_sync(_check_blocks, reader, places, report, bad)
            progress(report.stored_bytes, total)
        await _name_files(scan, reader, report, bad, path_of)
    return report


def _check_blocks(
    reader: Reader, places: list[BlockPlace], report: VerifyReport, bad: list[tuple[int, int]]
) -> None:
    for place in places:
        report.blocks += 1
        report.stored_bytes += place.stored_bytes
        try:
            bad.extend((number, number) for number in _check_block(reader, place, report))
        except Corrupt as error:
            report.add(str(error))
            if place.kind == BlockKind.RECORDS:
                bad.append((place.first, place.first + place.count - 1))


def _check_block(reader: Reader, place: BlockPlace, report: VerifyReport) -> Iterator[int]:
    """Numbers of records in the block that do not read back."""
    if place.kind == BlockKind.NAMESPACE:
        for _ in decode_changes(reader.read_block(place).payload):
            pass
        return
    items = reader.items(place)
    if isinstance(items, SegmentItems):
        report.segments += place.count
        for at in range(place.count):
            try:
                verified_segment(items, at)
            except Corrupt as error:
                report.add(f"segment {place.first + at}: {error}")
    elif isinstance(items, RecordItems):
        report.records += place.count
        for at in range(place.count):
            try:
                reader.render(items, at)
            except Corrupt as error:
                report.add(f"record {place.first + at}: {error}")
                yield place.first + at


async def _name_files(
    scan: Scanner,
    reader: Reader,
    report: VerifyReport,
    bad: list[tuple[int, int]],
    path_of: PathOf,
) -> None:
    """Ranges of files whose records are damaged or missing."""
    query = "SELECT ino, start, length, record, count FROM extent ORDER BY ino, start"
    bad = sorted(bad)
    async for rows in scan.batches(query):
        for ino, start, length, record, count in rows:
            last = record + count - 1
            is_known = reader.knows_record(record) and reader.knows_record(last)
            if not is_known:
                report.add(f"records {record} to {last} are in no block")
            if not is_known or any(low <= last and high >= record for low, high in bad):
                path = path_of(InodeNo(ino)) or f"inode {ino}".encode()
                name = path.decode("utf-8", "backslashreplace")
                if len(report.files) < DAMAGES_MAX:
                    report.files.append(DamagedRange(name, start, start + length))
                else:
                    report.omitted += 1
