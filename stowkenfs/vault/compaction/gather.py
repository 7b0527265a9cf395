"""Documents in the order of their paths, as batches for the encoder."""

import re
import stat
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.documents.body import References
from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE, InodeNo, RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.vault.compaction.batch import BatchIn, CompactOptions, RecordIn
from stowkenfs.vault.compaction.numbers import Renumbering
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.tree import Tree

PAGE_ROWS = 500
EXTENTS_AT_ONCE = 64
"""Of a long document, so that a batch may end inside of it."""

_DIGITS = re.compile(rb"(\d+)")


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
        """For people."""
        return b"/".join((b"", *self.folder, self.name)).decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class Gathered:
    """A batch for the encoder, the documents it is of, and keys of what moves.

    ``problems``: what could not be read, and stays as it is.
    """

    batch: BatchIn
    documents: list[Document] = field(default_factory=list)
    segment_keys: dict[int, int] = field(default_factory=dict)  # {old: key}
    template_keys: dict[int, int] = field(default_factory=dict)
    numbers: set[int] = field(default_factory=set)  # of the batch's records
    problems: list[str] = field(default_factory=list)
    content_bytes: int = 0
    text_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Moves:
    """What is being moved, by kind."""

    records: Renumbering
    segments: Renumbering
    templates: Renumbering


class Gatherer:
    """Collects what batches consist of. ``documents`` in the loop, ``collect`` in a thread."""

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

    async def documents(self) -> AsyncGenerator[Document, None]:
        """Files with records to move, each folder's in the natural order of names."""
        waiting: list[Iterator[tuple[InodeNo, bytes, bool]]] = [
            iter(await self._sorted(ROOT_INODE))
        ]
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
                waiting.append(iter(await self._sorted(ino)))
                continue
            extents = self._catalogue.extents(ino, 0, 1 << 62)
            if ino not in seen and any(self._moving(extent) for extent in extents):
                seen.add(ino)
                for start in range(0, len(extents), EXTENTS_AT_ONCE):
                    some = extents[start : start + EXTENTS_AT_ONCE]
                    yield Document(ino, tuple(path), name, some)

    def _moving(self, extent: Extent) -> bool:
        return extent.record in self._moves.records

    async def _sorted(self, directory: InodeNo) -> list[tuple[InodeNo, bytes, bool]]:
        entries = []
        cookie = 0
        while page := self._tree.page(directory, cookie, PAGE_ROWS):
            for dentry, inode in page:
                is_directory = stat.S_ISDIR(inode.mode)
                if is_directory or stat.S_ISREG(inode.mode):
                    entries.append((inode.ino, dentry.name, is_directory))
                cookie = dentry.cookie
            await anyio.lowlevel.checkpoint()
        entries.sort(key=lambda entry: natural(entry[1]))
        return entries

    async def batches(self) -> AsyncGenerator[Gathered, None]:
        """All documents, cut into batches where a folder ends."""
        gathered = self._new_batch()
        before: Document | None = None
        shallowest = 1 << 30
        chunk_bytes = 0
        async with aclosing(self.documents()) as documents:
            async for document in documents:
                if before is not None and document.folder != before.folder:
                    depth = common_depth(before.folder, document.folder)
                    if gathered.text_bytes - chunk_bytes >= self._options.chunk_bytes:
                        self._end_chunk(gathered)
                        chunk_bytes = gathered.text_bytes
                    shallowest = min(shallowest, depth)
                    is_full = gathered.text_bytes >= self._options.batch_bytes
                    ends = is_full and depth <= shallowest
                else:
                    ends = gathered.text_bytes >= self._options.batch_bytes_max
                if ends:
                    yield self._finish(gathered)
                    gathered, shallowest, chunk_bytes = self._new_batch(), 1 << 30, 0
                before = document
                await anyio.to_thread.run_sync(self.collect, gathered, document)
        if gathered.documents:
            yield self._finish(gathered)

    def _new_batch(self) -> Gathered:
        return Gathered(BatchIn(self._options))

    def _end_chunk(self, gathered: Gathered) -> None:
        ends = gathered.batch.chunk_ends
        if len(gathered.batch.records) > (ends[-1] if ends else 0):
            ends.append(len(gathered.batch.records))

    def _finish(self, gathered: Gathered) -> Gathered:
        self._end_chunk(gathered)
        return gathered

    def collect(self, gathered: Gathered, document: Document) -> None:
        """Add to a batch what a document consists of and what is not in it yet. A thread's."""
        gathered.documents.append(document)
        records = self._moves.records
        for extent in document.extents:
            gathered.content_bytes += extent.length
            for number in range(extent.record, extent.record + extent.count):
                is_new = number in records and number not in gathered.numbers
                if is_new and records.get(number) is None:
                    try:
                        self._add_record(gathered, RecordNo(number))
                    except Corrupt as error:
                        gathered.problems.append(f"{document.path}: {error}")

    def _add_record(self, gathered: Gathered, number: RecordNo) -> None:
        length, key, stored, body = self._reader.stored_record(number)
        for template in body.templates:
            self._add_template(gathered, template)
        for value in body.values:
            if isinstance(value, References):
                for segment in value.segments:
                    self._add_segment(gathered, segment)
        gathered.batch.records.append(RecordIn(number, length, key, stored))
        gathered.numbers.add(number)

    def _add_template(self, gathered: Gathered, number: TemplateNo) -> None:
        batch = gathered.batch
        if number in batch.templates or number in batch.moved_templates:
            return
        if number not in self._moves.templates:
            if number not in batch.known_templates:
                batch.known_templates[number] = self._reader.template(number)
            return
        new = self._moves.templates.get(number)
        content = self._reader.template(number)
        if new is None:
            batch.templates[number] = content
            gathered.template_keys[number] = content_key(content)
        else:
            batch.moved_templates[number] = new
            batch.known_templates[new] = content

    def _add_segment(self, gathered: Gathered, number: SegmentNo) -> None:
        batch = gathered.batch
        if number in batch.segments or number not in self._moves.segments:
            return
        new = self._moves.segments.get(number)
        if new is not None:
            batch.moved_segments[number] = new
            return
        key, frame = self._reader.stored_segment(number)
        batch.segments[number] = frame
        gathered.segment_keys[number] = key
        gathered.text_bytes += 3 * len(frame)  # about: most are tokens, some compressed


def natural(name: bytes) -> list[tuple[int, bytes]]:
    """Sort key by which ``a2`` comes before ``a10``."""
    return [
        (int(piece[:18]), piece) if piece.isdigit() else (-1, piece)
        for piece in _DIGITS.split(name)
    ]


def common_depth(one: Sequence[bytes], other: Sequence[bytes]) -> int:
    """How many folders two paths share."""
    depth = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        depth += 1
    return depth
