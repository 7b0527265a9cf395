"""From numbers to bytes: records, and the ranges of documents that they are."""

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from itertools import accumulate
from typing import NamedTuple, cast

from stowkenfs.documents.body import Body, render_body
from stowkenfs.documents.pieces import Pieces
from stowkenfs.documents.rendering import MINIMAL_ESCAPES, has_many_parts, render_pieces
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.frames.codec import decode_frame
from stowkenfs.ids import RecordNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.block_reader import BlockReader
from stowkenfs.vault.caches import SizedCache
from stowkenfs.vault.unpacked import (
    PlainRecords,
    Records,
    Segments,
    Templates,
)

TOGETHER_MIN = 20
"""From this many segments on it is sooner done to spell them together."""
AHEAD = 3
"""How many times as much as is asked for is made, of what will be asked for next."""
AHEAD_BYTES_MAX = 512 << 10
AHEAD_FROM_BYTES = 256 << 10
"""Who asks for as much is asking for what follows at the same time, and for nothing twice."""
READERS_MAX = 64


class Reader(BlockReader):
    """Everything stored, by number. Any thread; all state is in bounded caches."""

    def __init__(
        self,
        store: PackStore,
        catalogue: Catalogue,
        *,
        record_cache_bytes: int,
        block_cache_bytes: int,
    ) -> None:
        super().__init__(store, catalogue, block_cache_bytes=block_cache_bytes)
        self._records = SizedCache(record_cache_bytes)
        # The last records of the last reads.
        self._read_to: deque[int] = deque(maxlen=READERS_MAX)

    def forget(self) -> None:
        """Let go of what is unpacked; for measuring."""
        super().forget()
        self._records.clear()
        self._read_to.clear()

    # Looking for what is stored; ``first`` is a number in the block to look into

    def find_segment(self, first: int, key: int, frame: bytes) -> int | None:
        """Number of the segment in that block whose key and content are these."""
        unpacked, _ = self._block_with(BlockKind.SEGMENTS, first)
        at = cast("Segments", unpacked.items).find(key, decode_frame(frame, self))
        return None if at is None else unpacked.number(at)

    def find_template(self, first: int, template: bytes) -> int | None:
        """Number of that template in that block."""
        unpacked, _ = self._block_with(BlockKind.TEMPLATES, first)
        at = cast("Templates", unpacked.items).find(template)
        return None if at is None else unpacked.number(at)

    def find_record(self, first: int, key: int) -> int | None:
        """Number of a record in that block that fits ``key``, if the index lists it."""
        unpacked, _ = self._block_with(BlockKind.RECORDS, first)
        at = cast("Records", unpacked.items).find(key)
        if at is None:
            return None
        number = unpacked.number(at)
        # What was collected of a block that others need lies there still.
        return number if self.knows_record(RecordNo(number)) else None

    # Records

    def _records_with(self, number: RecordNo) -> tuple[Records, int]:
        unpacked, at = self._block_with(BlockKind.RECORDS, number)
        return cast("Records", unpacked.items), at

    def record(self, number: RecordNo) -> bytes:
        """A record's bytes, checked against its key.

        Raises Corrupt (one of its subclasses) when anything on the way is damaged.
        """
        found: bytes | None = self._records.get(number)
        if found is None:
            records, at = self._records_with(number)
            found = self.render(records, at)
            self._records.put(number, found, len(found) + 100)
        return found

    def render(self, records: Records, at: int) -> bytes:
        """The bytes of record ``at`` of a block, checked against its key, uncached."""
        content = self._render(records.body(at))
        self._check(records, at, content)
        return content

    def render_all(self, records: Records, places: Sequence[int]) -> Sequence[bytes]:
        """As ``render``, of many at ascending places, which is many times faster."""
        contents = self._render_all(records, places)
        self._check_all(records, places, contents)
        return contents

    def _check(self, records: Records, at: int, content: bytes) -> None:
        self._check_all(records, [at], [content])

    @staticmethod
    def _check_all(records: Records, places: Sequence[int], contents: Sequence[bytes]) -> None:
        first = places[0]
        lengths = records.lengths(first, places[-1] + 1)
        for at, digest, content in zip(places, records.digests(places), contents, strict=True):
            if len(content) != lengths[at - first] or not sha256(content).digest().startswith(
                digest
            ):
                raise RecordCorrupt("a record's content does not match its hash")

    def body(self, number: RecordNo) -> Body:
        """A record as numbers, for walking its references."""
        records, at = self._records_with(number)
        return records.body(at)

    def stored_record(self, number: RecordNo) -> tuple[int, int, bytes, Body]:
        """Length, key, stored and decoded body of a record that was not compacted."""
        records, at = self._records_with(number)
        items = cast("PlainRecords", records).items
        return int(items.lengths[at]), int(items.keys[at]), items.bodies[at], records.body(at)

    def record_length(self, number: RecordNo) -> int:
        records, at = self._records_with(number)
        return records.length(at)

    def knows_record(self, number: int) -> bool:
        """Whether some block is said to hold this record."""
        return self._catalogue.locate(BlockKind.RECORDS, number) is not None

    def record_cost(self, number: RecordNo) -> int:
        """Bytes on disk of a record without its segments: its share of its block."""
        place = self._place(BlockKind.RECORDS, number)
        records, at = self._records_with(number)
        return -(-records.body_bytes(at) * place.stored_bytes // max(place.raw_bytes, 1))

    # Documents

    def is_cached(self, extents: Iterable[Extent]) -> bool:
        """Whether reading ``extents`` takes neither disk nor decoding; cheap."""
        return all(
            self._records.get(record) is not None
            for extent in extents
            for record in range(extent.record, extent.record + extent.count)
        )

    def read_extent(self, extent: Extent, start: int, end: int) -> bytes:
        """Bytes ``start`` to ``end`` of a document, which lie inside ``extent``."""
        return self.read_extents([(extent, start, end)])

    def read_extents(self, ranges: Sequence[tuple[Extent, int, int]]) -> bytes:
        """Bytes of a document from extents, each ``start`` to ``end``, one after the other.

        Only the records that hold them are decoded. Raises as ``record`` does.
        """
        spans = [span for extent, start, end in ranges for span in self._spans(extent, start, end)]
        numbers = [number for span in spans for number in span.records]
        asked_bytes = sum(end - start for _, start, end in ranges)
        ahead = self._ahead(ranges[-1][0], numbers) if asked_bytes < AHEAD_FROM_BYTES else ()
        try:
            contents = self.contents([*numbers, *ahead], keep=asked_bytes < AHEAD_FROM_BYTES)
        except Corrupt:  # which may be ahead
            contents = self.contents(numbers)
        parts = [part for span in spans for part in span.parts(contents)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _spans(self, extent: Extent, start: int, end: int) -> Iterator["_Span"]:
        """The records that hold bytes ``start`` to ``end`` of a document."""
        at = extent.start
        numbers = range(extent.record, extent.record + extent.count)
        if extent.count == 1:
            yield _Span(numbers, start - at, end - at)
            return
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, numbers):
            records = cast("Records", unpacked.items)
            lengths = records.lengths(some[0] + shift, some[-1] + shift + 1)
            bounds = list(accumulate(lengths, initial=at))
            first = bisect_right(bounds, start, 1) - 1
            last = bisect_left(bounds, end, first + 1)
            if first < len(some):
                yield _Span(some[first:last], max(start - bounds[first], 0), end - bounds[first])
            at = bounds[-1]
            if at >= end:
                return

    def _ahead(self, extent: Extent, numbers: Sequence[int]) -> Sequence[int]:
        """The records behind ``numbers`` that will be asked for next, none if that is unknown.

        It is known of those that follow what was read before, and done for the sake of small
        reads: there is much that takes as long for a few records as for many.
        """
        if not numbers:
            return ()
        first, last = numbers[0], numbers[-1]
        follows = first in self._read_to or first - 1 in self._read_to
        self._read_to.append(last)
        if not follows or self._records.get(last) is not None:
            return ()
        ahead: list[int] = []
        left_bytes = AHEAD_BYTES_MAX
        end = min(extent.record + extent.count, last + 1 + AHEAD * len(numbers))
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, range(last + 1, end)):
            lengths = cast("Records", unpacked.items).lengths(some[0] + shift, some[-1] + shift + 1)
            for number, length in zip(some, lengths, strict=True):
                left_bytes -= length
                if left_bytes < 0:
                    return ahead
                ahead.append(number)
        return ahead

    def contents(self, numbers: Sequence[int], *, keep: bool = True) -> dict[int, bytes]:
        """The bytes of records, checked against their keys; many times faster than one by one.

        ``keep`` them in the cache; else only the last, of which the next read may want the rest.
        Raises as ``record`` does if any of them is damaged.
        """
        found: dict[int, bytes] = dict(zip(numbers, self._records.get_many(numbers), strict=True))
        missing = sorted(number for number, content in found.items() if content is None)
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, missing):
            records = cast("Records", unpacked.items)
            places = [number + shift for number in some]
            contents = self._render_all(records, places)
            self._check_all(records, places, contents)
            found.update(zip(some, contents, strict=True))
            kept = slice(None) if keep else slice(-1, None)
            self._records.put_many(
                (number, content, len(content) + 100)
                for number, content in zip(some[kept], contents[kept], strict=True)
            )
        return found

    def pieces(self, extent: Extent) -> Iterator[Pieces]:
        """What the records of ``extent`` consist of, block by block. Raises RecordCorrupt."""
        numbers = range(extent.record, extent.record + extent.count)
        for unpacked, shift, some in self._runs(BlockKind.RECORDS, numbers):
            yield cast("Records", unpacked.items).pieces([at + shift for at in some])

    def _render_all(self, records: Records, places: Sequence[int]) -> Sequence[bytes]:
        """The bytes of records of one block, unchecked."""
        if len(places) < TOGETHER_MIN:
            bodies = [records.body(at) for at in places]
            if not has_many_parts(bodies, TOGETHER_MIN):  # so that texts are cached
                return [self._render(body) for body in bodies]
        contents = render_pieces(
            records.pieces(places),
            self._templates_of,
            partial(self._texts_of, ()),
            partial(self._texts_of, MINIMAL_ESCAPES),
        )
        return [
            self._render(records.body(at)) if content is None else content
            for at, content in zip(places, contents, strict=True)
        ]

    def _render(self, body: Body) -> bytes:
        return render_body(body, self._template_of, self._part_of)


class _Span(NamedTuple):
    """Bytes ``start`` to ``end`` of the joined contents of records of one block."""

    records: Sequence[int]
    start: int
    end: int

    def parts(self, contents: Mapping[int, bytes]) -> Sequence[bytes]:
        """The contents that these bytes are, the first and the last cut to size."""
        found = [contents[number] for number in self.records]
        if not found:
            return found
        surplus = sum(map(len, found)) - self.end
        if surplus > 0:
            found[-1] = found[-1][: len(found[-1]) - surplus]
        found[0] = found[0][self.start :]
        return found
