"""Documents in the order of their paths, as batches for the encoder."""

import stat
from array import array
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from heapq import merge

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.body import References
from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE, InodeNo, RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.rows import Dentry, Inode
from stowkenfs.vault.compaction.batch import BatchIn, CompactOptions, integers
from stowkenfs.vault.compaction.numbers import Renumbering
from stowkenfs.vault.files import FILE_BYTES_MAX
from stowkenfs.vault.natural import natural
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.tree import Tree

PAGE_ROWS = 500
EXTENTS_AT_ONCE = 64
"""Of a long document, so that a batch may end inside of it."""
DOCUMENTS_AT_ONCE = 64
BYTES_AT_ONCE = 2 << 20
"""Gathered between two looks at how far it is."""

SORTED_AT_ONCE = 2000
"""Names; comparing them is one call that no other thread gets a turn in."""

_Entry = tuple[InodeNo, bytes, bool]
"""Inode, name, whether it is a folder."""


@dataclass(frozen=True, slots=True)
class Document:
    """A file with records to move, or a part of it: where its content lies now.

    ``folder``: names of the folders that it is in, from the root; ``name``: its own.
    """

    ino: InodeNo
    folder: tuple[bytes, ...]
    name: bytes
    extents: Sequence[Extent]

    @property
    def path(self) -> str:
        """For people, in one line."""
        return printable(b"/".join((b"", *self.folder, self.name)))


@dataclass(slots=True)
class Gathered:
    """A batch for the encoder, the documents it is of, and keys of what moves.

    ``segment_keys`` in the order of the batch's segments; ``problems``: what could not be read,
    and stays as it is, once for each document.
    """

    batch: BatchIn
    documents: list[Document] = field(default_factory=list)
    segment_keys: "array[int]" = field(default_factory=integers)
    template_keys: dict[int, int] = field(default_factory=dict)  # {old: key}
    problems: list[str] = field(default_factory=list)
    record_bytes: int = 0  # content of the batch's records
    text_bytes: int = 0  # about
    other_bytes: int = 0  # of records and templates themselves


@dataclass(frozen=True, slots=True)
class Moves:
    """What is being moved, by kind."""

    records: Renumbering
    segments: Renumbering
    templates: Renumbering

    def end_batch(self) -> None:
        """What was gathered and has no new number may be gathered again."""
        self.records.release()
        self.segments.release()


class Gatherer:
    """Collects what batches consist of. Event loop's thread, but where a method says so."""

    def __init__(
        self,
        tree: Tree,
        catalogue: Catalogue,
        reader: Reader,
        moves: Moves,
        options: CompactOptions,
    ) -> None:
        self._tree = tree
        self._catalogue = catalogue
        self._reader = reader
        self._moves = moves
        self._options = options
        self._complained_of: InodeNo | None = None
        self.problems: list[str] = []  # of the tree itself

    async def documents(self) -> AsyncGenerator[Document, None]:
        """Files with records to move, each folder's in the natural order of names."""
        waiting: list[Iterator[_Entry]] = [await self._sorted(ROOT_INODE)]
        path: list[bytes] = []
        seen: set[InodeNo] = set()  # files with several names
        at = 0
        while waiting:
            entry = next(waiting[-1], None)
            at += 1
            if at % PAGE_ROWS == 0:
                await anyio.lowlevel.checkpoint()
            if entry is None:
                waiting.pop()
                if path:
                    path.pop()
                continue
            ino, name, is_directory = entry
            if is_directory:
                path.append(name)
                waiting.append(await self._sorted(ino))
                continue
            try:
                extents = self._catalogue.extents(ino, 0, FILE_BYTES_MAX)
            except Corrupt as error:  # of what is frozen, which has nothing to move
                self.problems.append(str(error))
                continue
            if ino not in seen and any(self._moving(extent) for extent in extents):
                seen.add(ino)
                for start in range(0, len(extents), EXTENTS_AT_ONCE):
                    some = extents[start : start + EXTENTS_AT_ONCE]
                    yield Document(ino, tuple(path), name, some)

    def _moving(self, extent: Extent) -> bool:
        return self._moves.records.touches(extent.record, extent.record + extent.count)

    async def _sorted(self, directory: InodeNo) -> Iterator[_Entry]:
        entries: list[_Entry] = []
        cookie = 0
        while page := self._page(directory, cookie):
            for dentry, inode in page:
                is_directory = stat.S_ISDIR(inode.mode)
                if is_directory or stat.S_ISREG(inode.mode):
                    entries.append((inode.ino, dentry.name, is_directory))
                cookie = dentry.cookie
            await anyio.lowlevel.checkpoint()
        return await anyio.to_thread.run_sync(_in_natural_order, entries)

    def _page(self, directory: InodeNo, after: int) -> Sequence[tuple[Dentry, Inode]]:
        try:
            return self._tree.page(directory, after, PAGE_ROWS, hidden=True)
        except Corrupt as error:  # at the end, of what could not be listed
            self.problems.append(str(error))
            return ()

    async def batches(self, progress: Callable[[int], None]) -> AsyncGenerator[Gathered, None]:
        """All documents, cut into batches where a folder ends.

        ``progress`` is told how many bytes of records are in the batch that is in the making.
        """
        batch = _Batch(self._options)
        async with aclosing(self._pages()) as pages:
            async for documents in pages:
                start = 0
                while start < len(documents):
                    start += await anyio.to_thread.run_sync(
                        self._collect_some, batch, documents[start:]
                    )
                    progress(batch.gathered.record_bytes)
                    if batch.is_full:
                        yield batch.finish()
        if batch.gathered.documents:
            yield batch.finish()

    async def _pages(self) -> AsyncGenerator[list[Document], None]:
        """``documents``, some at a time, as it takes a while to begin work in a thread."""
        page: list[Document] = []
        size = 0
        async with aclosing(self.documents()) as documents:
            async for document in documents:
                page.append(document)
                size += sum(extent.length for extent in document.extents)
                if len(page) >= DOCUMENTS_AT_ONCE or size >= BYTES_AT_ONCE:
                    yield page
                    page, size = [], 0
        if page:
            yield page

    def _collect_some(self, batch: "_Batch", documents: Sequence[Document]) -> int:
        """Add documents until the batch is full; how many were. A thread's."""
        for at, document in enumerate(documents):
            if batch.ends_before(document):
                return at
            self._collect(batch.gathered, document)
        return len(documents)

    def _collect(self, gathered: Gathered, document: Document) -> None:
        """Add to a batch what a document consists of and what is not in it yet."""
        gathered.documents.append(document)
        records = self._moves.records
        for extent in document.extents:
            for number in range(extent.record, extent.record + extent.count):
                if records.is_free(number):
                    try:
                        self._add_record(gathered, RecordNo(number))
                    except Corrupt as error:
                        if document.ino != self._complained_of:  # parts follow each other
                            self._complained_of = document.ino
                            gathered.problems.append(f"{document.path}: {error}")

    def _add_record(self, gathered: Gathered, number: RecordNo) -> None:
        length, key, stored, body = self._reader.stored_record(number)
        for template in body.templates:
            self._add_template(gathered, template)
        for value in body.values:
            if isinstance(value, References):
                for segment in value.segments:
                    self._add_segment(gathered, segment)
        gathered.batch.records.append(number, length, key, stored)
        gathered.other_bytes += len(stored)
        self._moves.records.take(number)
        gathered.record_bytes += length

    def _add_template(self, gathered: Gathered, number: TemplateNo) -> None:
        batch = gathered.batch
        if number in batch.templates or number in batch.moved_templates:
            return
        if number not in self._moves.templates:
            if number not in batch.known_templates:
                content = self._reader.template(number)
                gathered.other_bytes += len(content)
                batch.known_templates[number] = content
            return
        new = self._moves.templates.get(number)
        content = self._reader.template(number)
        gathered.other_bytes += len(content)
        if new is None:
            batch.templates[number] = content
            gathered.template_keys[number] = content_key(content)
        else:
            batch.moved_templates[number] = new
            batch.known_templates[new] = content

    def _add_segment(self, gathered: Gathered, number: SegmentNo) -> None:
        batch = gathered.batch
        if not self._moves.segments.is_free(number):
            new = self._moves.segments.get(number)
            if new is not None:
                batch.moved_segments[number] = new
            return
        key, frame = self._reader.stored_segment(number)
        batch.segments.append(number, frame)
        self._moves.segments.take(number)
        gathered.segment_keys.append(key)
        gathered.text_bytes += 3 * len(frame)  # about: most are tokens, some compressed


class _Batch:
    """A batch in the making, and where it ends."""

    def __init__(self, options: CompactOptions) -> None:
        self._options = options
        self._before: Document | None = None
        self._begin()

    def _begin(self) -> None:
        self.gathered = Gathered(BatchIn(self._options))
        self.is_full = False
        self._shallowest = 1 << 30  # folder that ended inside of the batch
        self._chunk_bytes = 0  # text until the last chunk ended

    def ends_before(self, document: Document) -> bool:
        """Whether the batch is full; else ``document`` is in it from now on."""
        before, self._before = self._before, document
        text_bytes = self.gathered.text_bytes
        size = text_bytes + self.gathered.other_bytes
        self.is_full = size >= self._options.batch_bytes_max
        if before is None or before.folder == document.folder:
            return self.is_full
        if text_bytes - self._chunk_bytes >= self._options.chunk_bytes:
            self._end_chunk()
            self._chunk_bytes = text_bytes
        depth = common_depth(before.folder, document.folder)
        self._shallowest = min(self._shallowest, depth)
        self.is_full |= text_bytes >= self._options.batch_bytes and depth <= self._shallowest
        return self.is_full

    def _end_chunk(self) -> None:
        batch = self.gathered.batch
        ends = batch.chunk_ends
        if len(batch.records) > (ends[-1] if ends else 0):
            ends.append(len(batch.records))

    def finish(self) -> Gathered:
        """What was gathered; another batch begins."""
        self._end_chunk()
        gathered = self.gathered
        self._begin()
        return gathered


def _in_natural_order(entries: Sequence[_Entry]) -> Iterator[_Entry]:
    """Entries by name, at the latest when they are asked for."""
    some = (
        sorted(entries[start : start + SORTED_AT_ONCE], key=_natural_name)
        for start in range(0, len(entries), SORTED_AT_ONCE)
    )
    return merge(*some, key=_natural_name)


def _natural_name(entry: _Entry) -> list[tuple[int, bytes]]:
    return natural(entry[1])


def printable(path: bytes) -> str:
    """``path`` with all that is no printable character escaped."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in path.decode("utf-8", "backslashreplace")
    )


def common_depth(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many folders two paths share."""
    depth = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        depth += 1
    return depth
