"""What frames refer to, and what of the registry nothing refers to."""

from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.frames.codec import DELTA_KINDS, FrameKind, frame_kind, references_of
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import PlainSegments

ROWS_AT_ONCE = 500
BLOCKS_AT_ONCE = 16
PROBLEMS_MAX = 100

SKIPPED = (*DELTA_KINDS, FrameKind.SUBSTRINGS)
"""Kinds that are not encoded again."""

Rows = list[BlockPlace]
"""The rows of one block, by number."""


@dataclass(slots=True)
class RegistryReferences:
    """What stored frames refer to, by number.

    ``segments`` is how many were looked at, ``skipped`` how many were deltas or referred to
    substrings. ``problems``: what could not be read, and may refer to anything; ``unread`` of them.
    """

    substrings: set[int] = field(default_factory=set)
    dictionaries: set[int] = field(default_factory=set)
    canonicals: set[int] = field(default_factory=set)
    segments: int = 0
    skipped: int = 0
    unread: int = 0
    problems: list[str] = field(default_factory=list)

    def numbers(self, kind: BlockKind) -> set[int]:
        """Those of a kind of the registry."""
        return self.substrings if kind is BlockKind.SUBSTRINGS else self.dictionaries

    def add(self, frame: bytes) -> None:
        """Raises FrameCorrupt."""
        self.segments += 1
        kind = frame_kind(frame)
        if kind in (FrameKind.VARINT, FrameKind.ZSTD):
            return
        self.skipped += kind in SKIPPED
        found = references_of(frame).numbers
        if kind is FrameKind.SUBSTRINGS:
            self.substrings.update(found)
        elif kind is FrameKind.DICTIONARY:
            self.dictionaries.update(found)
        else:
            self.canonicals.update(found)

    def problem(self, text: str) -> None:
        self.unread += 1
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(text)


async def blocks_bytes(connection: Connection, *, hot: bool) -> int:
    """Length of all blocks of numbered things, or of those of frames alone.

    As many rows as there are blocks: nobody waits for them.
    """
    query = "SELECT ifnull(sum(stored), 0) FROM block WHERE skip = 0"
    if hot:
        query += f" AND kind = {BlockKind.SEGMENTS:d} AND layout != {Layout.DENSE:d}"
    async with connection.scanner() as scan:
        ((total,),) = await scan.all(query)
    return int(total)


def hot_blocks(catalogue: Catalogue, since: int, end: int) -> Iterator[Rows]:
    """Rows of each block of frames that begins between two numbers. Any thread.

    What is stored meanwhile has higher numbers.
    """
    after, block = since - 1, Rows()
    while rows := catalogue.hot_places(BlockKind.SEGMENTS, after, ROWS_AT_ONCE):
        for row in rows:
            if row.first >= end:
                break
            if block and (block[0].pack, block[0].offset_bytes) != (row.pack, row.offset_bytes):
                yield block
                block = []
            block.append(row)
        after = rows[-1].first
        if after >= end:
            break
    if block:
        yield block


async def scan_references(
    catalogue: Catalogue,
    reader: Reader,
    *,
    since: int = 0,
    live: Container[int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> RegistryReferences:
    """What frames refer to, of segments from number ``since`` on; only of ``live`` ones if given.

    Segments that are stored before this is called count. ``progress`` is told the bytes of
    blocks that were looked at. Nothing must be moved or dropped meanwhile.
    """
    found = RegistryReferences()
    blocks = hot_blocks(catalogue, since, catalogue.next_number(BlockKind.SEGMENTS))
    done = 0
    while some := await anyio.to_thread.run_sync(_look, blocks, reader, live, found):
        done += some
        progress(done)
    return found


def _look(
    blocks: Iterator[Rows], reader: Reader, live: Container[int] | None, found: RegistryReferences
) -> int:
    """Look into some blocks; how long they are, 0 at the end. A thread's."""
    size = 0
    for rows in islice(blocks, BLOCKS_AT_ONCE):
        size += rows[0].stored_bytes
        try:
            frames = cast("PlainSegments", reader.unpacked(rows[0]).items).items.frames
            for row in rows:
                for at in range(row.count):
                    if live is None or row.first + at in live:
                        found.add(frames[row.skip + at])
        except Corrupt as error:
            found.problem(str(error))
    return size
