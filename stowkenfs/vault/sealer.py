"""Sealing: drafts to records, in the background, while files are read and written.

A seal reads a range of the document, stores it as verified records, and then, in one
transaction, puts the records in place of the draft's bytes, unless the range changed
meanwhile: then the draft stays and the file is sealed later.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import anyio
import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.split import Shape, Splitter, may_be_grid, units_of
from stowkenfs.errors import Corrupt, NotFound
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.space import giving_room
from stowkenfs.vault.about import HEAD_BYTES, About, about
from stowkenfs.vault.assembly import Run, join_runs
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.complaints import (
    OUT_OF_MEMORY,
    complain,
    complain_of,
    is_out_of_memory,
)
from stowkenfs.vault.dedup import slices
from stowkenfs.vault.due import NANOSECONDS, Clock, Due
from stowkenfs.vault.files import FileTable
from stowkenfs.vault.ingest import Ingest, Piece
from stowkenfs.vault.live import LiveFile
from stowkenfs.vault.ranges import Range, fill_whole, is_short_and_whole

log = logging.getLogger(__name__)

WINDOW_BYTES = 1 << 20
BATCH_BYTES = 2 << 20
"""Content handed to the encoder at a time."""

BATCH_RANGES = 512
"""How many files, or parts of them, that is at most."""

GROUP_FILES = 512
GROUP_BYTES = 2 << 20
"""Small files sealed together."""

PARTS_AT_ONCE = 16
"""Put in place in one transaction: some milliseconds of the event loop."""

OPEN_DRAFT_BYTES = 8 << 20
"""A file that stays open is sealed up to its last whole line when its draft is this large."""

OPEN_IDLE_SECONDS = 5.0


class Sealer:
    """Owns ``due``, what waits, and ``_sealing``, what is on its way."""

    def __init__(
        self,
        files: FileTable,
        inodes: InodeTable,
        catalogue: Catalogue,
        ingest: Ingest,
        committer: Committer,
        *,
        clock: Clock,
        due: Due,
        side_by_side: int,
        transaction: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._files = files
        self._inodes = inodes
        self._catalogue = catalogue
        self._ingest = ingest
        self._committer = committer
        self._clock = clock
        self.due = due
        self._side_by_side = anyio.CapacityLimiter(side_by_side)
        self._transaction = transaction
        self._sealing: set[InodeNo] = set()
        files.on_draft = due.left

    def is_sealing(self, ino: InodeNo) -> bool:
        """Whether the content of a file is on its way to records."""
        return ino in self._sealing

    @property
    def waiting(self) -> int:
        """Files whose drafts wait or are being sealed."""
        return len(self.due) + len(self._sealing)

    async def run(self) -> None:
        """Seal what is due, for ever; while many files are written one after another, later."""
        while True:
            await anyio.sleep(self.due.pause_seconds)
            try:
                await self._files.settle_all()
            except OSError as error:
                complain_of(log, error, "sizes and times are not in the index yet")
            if not self.due.waits_for_writers():
                self.due.waited()
                await self.seal_due()

    async def seal_due(self, *, everything: bool = False) -> None:
        """Seal what is due now, or ``everything``; return when that is done."""
        self._note_open(everything=everything)
        due = self.due.now(everything=everything)
        async with anyio.create_task_group() as tasks:
            async for group in self._groups(due):
                await self._side_by_side.acquire_on_behalf_of(token := object())
                tasks.start_soon(self._run_group, group, token)
        await self.remove_stale()

    def _note_open(self, *, everything: bool) -> None:
        """Files that stay open are looked at too, when they grew or were left alone."""
        now = self._clock()
        idle_ns = int(OPEN_IDLE_SECONDS * NANOSECONDS)
        for ino, live in self._files.open_drafts():
            if live.draft is None or live.inode.nlink == 0:
                continue
            is_due = live.draft.live_bytes >= OPEN_DRAFT_BYTES or now - live.written_ns >= idle_ns
            if (everything or is_due) and ino not in self._sealing:
                self.due.at_once(ino)

    async def _groups(self, due: Sequence[InodeNo]) -> AsyncIterator[list[InodeNo]]:
        """Files side by side up to GROUP_BYTES, so that small ones share a batch."""
        group: list[InodeNo] = []
        size = 0
        for ino in due:
            await anyio.lowlevel.checkpoint()
            try:
                length = self._files.inode(ino).size
            except NotFound:
                self.due.remove(ino)
                continue
            if group and (size + length > GROUP_BYTES or len(group) >= GROUP_FILES):
                yield group
                group, size = [], 0
            group.append(ino)
            size += length
        if group:
            yield group

    async def _run_group(self, group: Sequence[InodeNo], token: object) -> None:
        try:
            # One that another call is sealing now has changed since, and stays due.
            await self._seal_group(
                [ino for ino in group if ino in self.due and ino not in self._sealing]
            )
        except Exception as error:  # drafts are safe, and the mount lives on
            if not isinstance(error, OSError) and not is_out_of_memory(error):
                log.exception("sealing failed unexpectedly; please report this")
            for ino in group:
                self._postpone(ino, error)
        except BaseException:  # cancelled: what it did not come to stays due
            for ino in group:
                self.due.at_once(ino)
            raise
        finally:
            self._side_by_side.release_on_behalf_of(token)

    async def _seal_group(self, group: Sequence[InodeNo]) -> None:
        for ino in group:
            self.due.remove(ino)
            self._sealing.add(ino)
        in_use: list[LiveFile] = []
        with ExitStack() as held:
            held.callback(self._sealing.difference_update, group)
            batch = _Batch(self._store)
            for ino in group:
                try:
                    live = self._files.acquire(ino, writing=False)
                except NotFound:
                    continue
                held.callback(self._files.release, ino, writing=False)
                in_use.append(live)
                live.changed_from = None
                try:
                    if is_short_and_whole(live) and not self._catalogue.has_extents(ino):
                        content = await self._files.read(live, 0, live.inode.size)
                        await batch.add_whole(Range(ino, live, 0), content)
                        await anyio.lowlevel.checkpoint()
                        continue
                    async for part in self._ranges(ino, live):
                        await batch.add(part)
                except (Corrupt, OSError) as error:
                    self._postpone(ino, error)
            await batch.finish()
            for live in in_use:
                await self._files.leave_outgrown(live)

    def _postpone(self, ino: InodeNo, error: Exception) -> None:
        if isinstance(error, OSError):
            complain_of(log, error, "files stay drafts for now")
        elif is_out_of_memory(error):
            complain(log, OUT_OF_MEMORY)
        else:
            log.error("file %s stays a draft for now: %s", self._name(ino), error)
        self.due.failed(ino, error)

    def _name(self, ino: InodeNo) -> str:
        path = self._inodes.path_of(ino)
        return repr(path.decode("utf-8", "replace")) if path else f"inode {ino}"

    # Reading drafts

    async def _ranges(self, ino: InodeNo, live: LiveFile) -> AsyncIterator[Range]:
        """The draft's ranges in windows; each can be stored and put in place on its own."""
        if live.draft is None or live.inode.nlink == 0:  # which goes with its last user
            return
        head = await self._files.read(live, 0, HEAD_BYTES)
        judged = await anyio.to_thread.run_sync(about, head)
        is_open = live.writers > 0
        if is_open and judged.shape is not Shape.LINES:
            return  # sealed when it is closed
        for start, end in self._spans(ino, live):
            is_all = start == 0 and end == live.inode.size
            if is_all and not is_open and may_be_grid(head, end):
                part = await self._whole(ino, live, judged)
                if part.units:
                    yield part
                continue
            replaces = bool(self._catalogue.extents(ino, start, end))
            whole = not is_open or replaces
            splitter = Splitter(judged.shape, start)
            part = Range(ino, live, start, about=judged, replaces_to=end if replaces else 0)
            at = start
            while at < end:
                window = await self._files.read(live, at, min(WINDOW_BYTES, end - at))
                if not window:
                    break  # it was cut shorter meanwhile
                at += len(window)
                part.units += await anyio.to_thread.run_sync(
                    splitter.feed, window, whole and at >= end
                )
                # Records that exist already are replaced all at once, never one end of them.
                if not replaces and part.end - part.start >= BATCH_BYTES:
                    yield part
                    part = Range(ino, live, part.end, about=judged)
            if part.units:
                yield part

    async def _whole(self, ino: InodeNo, live: LiveFile, judged: About) -> Range:
        """A whole file, which is short enough to be held, at once."""
        size = live.inode.size
        replaces = bool(self._catalogue.extents(ino, 0, size))
        content = await self._files.read(live, 0, size)
        units = await anyio.to_thread.run_sync(units_of, content, judged.shape)
        return Range(ino, live, 0, units, judged, replaces_to=size if replaces else 0)

    def _spans(self, ino: InodeNo, live: LiveFile) -> Iterator[tuple[int, int]]:
        """Ranges to seal: what is drafted, widened to whole extents where it touches some.

        Each is looked for when it is its turn: there may be very many of them. What is written
        behind the present end comes the next time.
        """
        limit = live.draft.end if live.draft is not None else 0
        start = end = at = 0
        # The draft is gone once all of it is in place, or if the file is emptied meanwhile.
        while live.draft is not None and (span := live.draft.next_span(at)) and span[0] < limit:
            low, at = span
            high = at
            touched = self._catalogue.extents(ino, low, high)
            if touched:
                low, high = min(low, touched[0].start), max(high, touched[-1].end)
            if low < end:
                end = max(high, end)
                continue
            if end:
                yield start, end
            start, end = low, high
        if end:
            yield start, end

    # Storing

    async def _store(self, parts: Sequence[Range]) -> None:
        with self._ingest.passages.enter():
            await self._store_and_place(parts)
        await self.remove_stale()

    async def _store_and_place(self, parts: Sequence[Range]) -> None:
        pieces = [
            Piece(unit, part.about.vocabulary, part.about.ids_vocabulary)
            for part in parts
            for unit in part.units
            if part.about is not None
        ]
        try:
            runs = iter(await self._ingest.store(pieces))
        except (Corrupt, OSError) as error:
            for ino in {part.ino for part in parts}:
                self._postpone(ino, error)
            return
        for some in slices(parts, PARTS_AT_ONCE):
            with giving_room(), self._transaction():
                for part in some:
                    self._put_in_place(part, [next(runs) for _ in part.units])
            await anyio.lowlevel.checkpoint()

    def _put_in_place(self, part: Range, runs: Sequence[Sequence[Run]]) -> None:
        live, end = part.live, part.end
        if live.inode.nlink == 0:
            return
        changed = live.changed_from is not None and live.changed_from < end
        if changed or end < part.replaces_to:
            self.due.left(part.ino)
            return
        self._files.sealed(live, part.start, end, extents_of(part.start, runs))
        if part.start == 0 and part.about is not None:
            self._inodes.name_conversation(part.ino, part.about.names)
        if live.changed_from is not None and not live.writers:
            self.due.left(part.ino)

    async def remove_stale(self) -> None:
        """Remove draft files that nothing refers to, once that is durable."""
        stale = self._files.take_stale()
        if stale:
            try:
                await self._committer.sync()
                await anyio.to_thread.run_sync(_remove, stale)
            except OSError as error:
                complain_of(log, error, "sealed drafts are not removed before the next opening")


class _Batch:
    """Parts of files, collected until they are enough to be stored. One group's."""

    def __init__(self, store: Callable[[Sequence[Range]], Awaitable[None]]) -> None:
        self._store = store
        self._parts: list[Range] = []
        self._bytes = 0
        self._whole: list[tuple[Range, bytes]] = []  # of _parts: those to be cut into units

    async def add_whole(self, part: Range, content: bytes) -> None:
        """A file whose content this is."""
        self._whole.append((part, content))
        await self._add(part, len(content))

    async def add(self, part: Range) -> None:
        await self._add(part, part.end - part.start)

    async def _add(self, part: Range, length: int) -> None:
        self._parts.append(part)
        self._bytes += length
        if self._bytes >= BATCH_BYTES or len(self._parts) >= BATCH_RANGES:
            await self.finish()

    async def finish(self) -> None:
        """Store what is there."""
        parts, self._parts, self._bytes = self._parts, [], 0
        whole, self._whole = self._whole, []
        if whole:
            await anyio.to_thread.run_sync(
                fill_whole, [part for part, _ in whole], [content for _, content in whole]
            )
        if parts:
            await self._store(parts)


def extents_of(start: int, runs: Sequence[Sequence[Run]]) -> list[Extent]:
    """Runs of consecutive units as extents from ``start``."""
    extents: list[Extent] = []
    for run in join_runs(run for of_unit in runs for run in of_unit):
        extents.append(Extent(start, run.length_bytes, run.record, run.count))
        start += run.length_bytes
    return extents


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
