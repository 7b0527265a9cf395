"""Reading a range of a document: from its draft, its records, and its holes."""

from dataclasses import dataclass, field
from itertools import groupby
from typing import cast

import anyio
import anyio.to_thread

from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.drafts import Draft
from stowkenfs.vault.reader import Reader

HOLES_FROM_BYTES = 1 << 20
"""In files that are smaller nobody looks for holes."""

SPANS_LOOKED_AT = 64
"""Of a draft, to see what of it replaces records; the others count in full."""


LARGE_BYTES = 256 << 10
"""Reads from here on are decoded one at a time: the kernel asks for several at once when it reads
ahead, and threads that take the interpreter from each other need twice the processor time."""


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Where the bytes of a range come from.

    ``pieces``: ``(start, end, source)``, source None for a hole, an Extent, or bytes.
    """

    start: int
    end: int
    pieces: list[tuple[int, int, Extent | bytes | None]] = field(default_factory=list)

    def extents(self) -> list[Extent]:
        return [source for _, _, source in self.pieces if isinstance(source, Extent)]


class Contents:
    """What files hold. Event loop's thread, but for ``assemble``.

    It has no state of its own but ``_large``, the turn of large reads.
    """

    def __init__(self, catalogue: Catalogue, reader: Reader) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._large = anyio.CapacityLimiter(1)

    def plan(self, inode: Inode, draft: Draft | None, start: int, end: int) -> ReadPlan:
        """Where bytes ``start`` to ``end`` (at most the size) come from; drafts are read here."""
        end = min(end, inode.size)
        plan = ReadPlan(start, max(end, start))
        if end <= start:
            return plan
        at = start
        for low, high, content in draft.read(start, end) if draft else ():
            if low > at:
                self._plan_sealed(plan, inode.ino, at, low)
            plan.pieces.append((low, high, content))
            at = high
        if at < end:
            self._plan_sealed(plan, inode.ino, at, end)
        return plan

    def _plan_sealed(self, plan: ReadPlan, ino: InodeNo, start: int, end: int) -> None:
        at = start
        for extent in self._catalogue.extents(ino, start, end):
            if extent.start > at:
                plan.pieces.append((at, extent.start, None))
            low, high = max(extent.start, start), min(extent.end, end)
            plan.pieces.append((low, high, extent))
            at = high
        if at < end:
            plan.pieces.append((at, end, None))

    async def read(self, inode: Inode, draft: Draft | None, start: int, length: int) -> bytes:
        """Up to ``length`` bytes from ``start``; fewer at the end of the file.

        Raises Corrupt when a record that holds some of them is damaged.
        """
        plan = self.plan(inode, draft, start, start + length)
        if self._reader.is_cached(plan.extents()):
            return self.assemble(plan)
        limiter = self._large if length >= LARGE_BYTES else None
        return await anyio.to_thread.run_sync(self.assemble, plan, limiter=limiter)

    def held_bytes(self, inode: Inode, draft: Draft | None) -> int:
        """How much of a file is no hole; about, of one that is in very many pieces."""
        held, at = self._catalogue.held_bytes(inode.ino, inode.size), 0
        if draft is not None:
            held += draft.live_bytes
            for _ in range(SPANS_LOOKED_AT):
                if (span := draft.next_span(at)) is None:
                    break
                low, at = span
                touched = self._catalogue.extents(inode.ino, low, at)
                held -= sum(min(one.end, at) - max(one.start, low) for one in touched)
        return min(held, inode.size)

    def assemble(self, plan: ReadPlan) -> bytes:
        """The bytes of a plan. Any thread: drafts are in the plan, records never change."""
        pieces: list[bytes] = []
        for is_sealed, some in groupby(plan.pieces, lambda piece: isinstance(piece[2], Extent)):
            if is_sealed:
                ranges = [(cast("Extent", source), low, high) for low, high, source in some]
                pieces.append(self._reader.read_extents(ranges))
            else:
                pieces += [
                    bytes(high - low) if source is None else cast("bytes", source)
                    for low, high, source in some
                ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
