"""The texts of many segments, spelled together where they can be.

Compiled where that is there: each segment in one pass. Else by numpy, for which segments are
joined; ``spelling`` has how.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import FRAME_HEADER_BYTES, frame_symbols
from stowkenfs.frames.dense import DenseMode, DenseSegments
from stowkenfs.frames.kinds import FrameKind, VarintCodec, ZstdCodec
from stowkenfs.frames.ranks import TERMINATOR
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment
from stowkenfs.frames.spelling import (
    Escapes,
    SpellingTable,
    escaped,
    has_spellings,
    spelling_table,
)
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints, ends_of
from stowkenfs.frames.vocabulary import TEXT_BYTES_MAX, spell
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import decompress_many
from stowkenfs.varint import read_varint

# Encoded bytes that numpy spells together: what they become stays in a processor's cache, and
# is less than 100 MB even where each byte is an id of the longest spelling, all escaped.
_TOGETHER_BYTES = 64 << 10
# As much is compiled code given at a time; the texts have a limit of their own.
_BATCH_BYTES = 1 << 20

_FIRST_RANKS = 1024  # most codes are of these
_USES_OFTEN = 10

SegmentOf = Callable[[int], Segment]
"""A segment by its number, decoded alone."""

Positions = npt.NDArray[np.int64]
"""int64, shape (n,)."""


class Kernel(Protocol):
    """Compiled spelling."""

    def __call__(
        self, source: bytes, starts: Positions, ends: Positions, *, header: bytes = b""
    ) -> Sequence[bytes | None]:
        """The texts of segments that lie in ``source``, None for those that are left alone.

        So are those that do not begin with ``header``, which is no part of the encoding.
        """
        ...


class Speller:
    """Takes in segments by their numbers, and gives their texts, escaped. For one thread."""

    def __init__(self, segment_of: SegmentOf, escapes: Escapes = ()) -> None:
        self._segment_of = segment_of
        self._escapes = escapes
        self._texts: dict[int, bytes] = {}  # {number: text}
        self._groups: dict[tuple[Vocabulary, Codebook | None], _Group] = {}

    def add_dense(
        self, segments: DenseSegments, codebook: Codebook, numbers: Positions, places: Positions
    ) -> None:
        """Take in segments of a dense block. Raises FrameCorrupt as ``segment_of`` does."""
        starts, ends = segments.bounds(places)
        for (vocabulary, mode), some in segments.by_class(places):
            mine = numbers[some]
            if mode is DenseMode.BYTES:
                for number, text in zip(
                    mine.tolist(), _slices(segments.payload, starts[some], ends[some]), strict=True
                ):
                    self._texts[number] = escaped(text, self._escapes)
            elif (
                mode is DenseMode.RANKED
                and vocabulary in codebook.orders
                and has_spellings(vocabulary)
            ):
                group = self._ranked_group(vocabulary, codebook)
                self._add_all(group, mine, segments.payload, starts[some], ends[some])
            else:
                for number in mine.tolist():
                    self._texts[number] = self._alone(number)

    def add_frames(
        self, numbers: Positions, source: bytes, starts: Positions, ends: Positions
    ) -> None:
        """Take in frames, which lie in ``source``. Raises FrameCorrupt as ``decode_frame`` does."""
        if kernels.compiled is not None:
            left = self._add_varint_frames(numbers, source, starts, ends)
            numbers, starts, ends = numbers[left], starts[left], ends[left]
        frames = _slices(source, starts, ends)
        if kernels.compiled is not None:
            numbers, frames = self._add_zstd_frames(numbers, frames)
        for number, frame in zip(numbers.tolist(), frames, strict=True):
            self._add_frame(number, frame)

    def _add_varint_frames(
        self, numbers: Positions, source: bytes, starts: Positions, ends: Positions
    ) -> npt.NDArray[np.intp]:
        """Take in the frames that are nothing but varints; the places of the others."""
        left = np.arange(len(numbers))
        for vocabulary in _WITH_SPELLINGS:
            header = bytes((FrameKind.VARINT, vocabulary))
            if not any(source.startswith(header, start) for start in starts[left].tolist()):
                continue
            group = self._varint_group(vocabulary)
            assert group.kernel is not None
            others: list[int] = []
            for low, high in _batches(ends[left] - starts[left]):
                some = left[low:high]
                texts = group.kernel(source, starts[some], ends[some], header=header)
                # None, too, which the text takes the place of once it is there.
                found = zip(numbers[some].tolist(), cast("Sequence[bytes]", texts), strict=True)
                self._texts.update(found)
                if None in texts:
                    places = some.tolist()
                    others += [at for at, text in zip(places, texts, strict=True) if text is None]
            left = np.array(others, np.intp)
        return left

    def _add_zstd_frames(
        self, numbers: Positions, frames: Sequence[bytes]
    ) -> tuple[Positions, list[bytes]]:
        """Take in short frames that are varints under zstd; the others, and their numbers."""
        left: list[int] = []
        found: dict[Vocabulary, list[tuple[int, bytes, int]]] = {}
        for at, frame in enumerate(frames):
            codec, vocabulary = _SPELLED_TOGETHER.get(frame[:FRAME_HEADER_BYTES], _NEITHER)
            try:
                length, start = read_varint(frame, FRAME_HEADER_BYTES, bits_max=32)
            except Corrupt:
                length = start = 0
            if codec is _ZSTD and 0 < length < _TOGETHER_BYTES:
                found.setdefault(vocabulary, []).append((at, frame[start:], length))
            else:
                left.append(at)
        for vocabulary, some in found.items():
            group = self._varint_group(vocabulary)
            assert group.kernel is not None
            lengths = np.array([length for _, _, length in some], np.int64)
            for low, high in _batches(lengths):
                places = [at for at, _, _ in some[low:high]]
                try:
                    contents = decompress_many(
                        [packed for _, packed, _ in some[low:high]],
                        lengths[low:high].tolist(),
                        window_bytes_max=SYMBOLS_BYTES_MAX,
                    )
                except Corrupt as error:
                    raise FrameCorrupt(f"the symbols: {error}") from None
                self._take(numbers[places].tolist(), group.spell(contents))
        return numbers[left], [frames[at] for at in left]

    def finish(self) -> dict[int, bytes]:
        """The text of each number. Raises FrameCorrupt."""
        for group in self._groups.values():
            self._spell(group)
        return self._texts

    def _add_frame(self, number: int, frame: bytes) -> None:
        found = _SPELLED_TOGETHER.get(frame[:FRAME_HEADER_BYTES])
        if found is not None:
            codec, vocabulary = found
            symbols = codec.symbols(memoryview(frame)[FRAME_HEADER_BYTES:])
            self._add(self._varint_group(vocabulary), number, symbols)
            return
        decoded = frame_symbols(frame)
        if decoded is not None and decoded[0] is Vocabulary.BYTES:
            self._texts[number] = escaped(decoded[1], self._escapes)
        else:
            self._texts[number] = self._alone(number)

    def _add_all(
        self, group: "_Group", numbers: Positions, source: bytes, starts: Positions, ends: Positions
    ) -> None:
        if group.kernel is None:
            for number, content in zip(
                numbers.tolist(), _slices(source, starts, ends), strict=True
            ):
                self._add(group, number, content)
            return
        for low, high in _batches(ends - starts):
            texts = group.kernel(source, starts[low:high], ends[low:high])
            self._take(numbers[low:high].tolist(), texts)

    def _add(self, group: "_Group", number: int, content: bytes) -> None:
        if len(content) >= _TOGETHER_BYTES:
            self._texts[number] = self._alone(number)
            return
        group.numbers.append(number)
        group.contents.append(content)
        group.bytes += len(content)
        if group.bytes >= _TOGETHER_BYTES:
            self._spell(group)

    def _spell(self, group: "_Group") -> None:
        numbers, group.numbers = group.numbers, []
        contents, group.contents, group.bytes = group.contents, [], 0
        if numbers:
            self._take(numbers, group.spell(contents))

    def _take(self, numbers: Sequence[int], texts: Sequence[bytes | None]) -> None:
        if None in texts:
            texts = [
                self._alone(number) if text is None else text
                for number, text in zip(numbers, texts, strict=True)
            ]
        self._texts.update(zip(numbers, cast("Sequence[bytes]", texts), strict=True))

    def _alone(self, number: int) -> bytes:
        segment = self._segment_of(number)
        return escaped(spell(segment.tokens, segment.vocabulary), self._escapes)

    def _ranked_group(self, vocabulary: Vocabulary, codebook: Codebook) -> "_Group":
        group = self._groups.get((vocabulary, codebook))
        if group is None:
            table = spelling_table(vocabulary, self._escapes)
            decode = partial(codebook.decode_joined, vocabulary, end_id=table.end_id)
            group = _Group(
                table,
                TERMINATOR,
                decode,
                _ranked_kernel(table, vocabulary, self._escapes, codebook),
            )
            self._groups[vocabulary, codebook] = group
        return group

    def _varint_group(self, vocabulary: Vocabulary) -> "_Group":
        group = self._groups.get((vocabulary, None))
        if group is None:
            table = spelling_table(vocabulary, self._escapes)
            end = encode_varints(np.array([table.end_id], np.uint32))
            group = _Group(table, end, decode_varints, _varint_kernel(table))
            self._groups[vocabulary, None] = group
        return group


class _Group:
    """Segments that are encoded alike, collected until they are many enough.

    ``decode`` gives the ids of encoded segments that have ``end`` behind each of them, which
    becomes the ``end_id`` of ``table``; ``kernel`` is what is used in its place if there is one.
    """

    def __init__(
        self,
        table: SpellingTable,
        end: bytes,
        decode: Callable[[bytes], TokenArray],
        kernel: Kernel | None,
    ) -> None:
        self.table = table
        self.end = end
        self.decode = decode
        self.kernel = kernel
        self.numbers: list[int] = []
        self.contents: list[bytes] = []
        self.bytes = 0

    def spell(self, contents: Sequence[bytes]) -> Sequence[bytes | None]:
        """The texts of segments, None for those that have to be spelled alone.

        Raises FrameCorrupt, or leaves it to who spells them alone.
        """
        if self.kernel is not None:
            ends = ends_of(contents)
            starts = np.append(0, ends[:-1])
            return self.kernel(b"".join(contents), starts, ends)
        found = self.table.spell(self.decode(self.end.join([*contents, b""])))
        if found is None or len(found) != len(contents):
            return [None] * len(contents)
        return found


def _ranked_kernel(
    table: SpellingTable, vocabulary: Vocabulary, escapes: Escapes, codebook: Codebook
) -> Kernel | None:
    compiled = kernels.compiled
    if compiled is None:
        return None
    order = codebook.orders[vocabulary]
    first_entries = codebook.derived((vocabulary, escapes), partial(_Entries, table, order)).get()
    has_rank = codebook.has_rank(vocabulary)

    def spell_ranked(
        source: bytes, starts: Positions, ends: Positions, *, header: bytes = b""
    ) -> Sequence[bytes | None]:
        return compiled.spell_ranked(
            source, starts, ends, header, table.entries, table.rest, TEXT_BYTES_MAX,
            order, has_rank, first_entries,
        )  # fmt: skip

    return spell_ranked


class _Entries:
    """The entries of an order's ids by rank, of the first ones until it is used often.

    What the frequent ids are spelled as then lies together in a processor's caches. All take a
    millisecond to collect. Two threads may both do so.
    """

    def __init__(self, table: SpellingTable, order: TokenArray) -> None:
        self._table = table
        self._order = order
        self._uses = 0
        self._found = self._collect(_FIRST_RANKS)

    def get(self) -> npt.NDArray[np.uint64]:
        """Uint64, shape (n, 2); zeros, as of an odd id, where the table has none."""
        self._uses += 1
        if self._uses == _USES_OFTEN:
            self._found = self._collect(len(self._order))
        return self._found

    def _collect(self, ranks: int) -> npt.NDArray[np.uint64]:
        order = self._order[:ranks]
        known = order < len(self._table.entries)
        if known.all():
            return self._table.entries[order]
        entries = np.zeros((len(order), 2), np.uint64)
        entries[known] = self._table.entries[order[known]]
        return entries


def _varint_kernel(table: SpellingTable) -> Kernel | None:
    compiled = kernels.compiled
    if compiled is None:
        return None

    def spell_varints(
        source: bytes, starts: Positions, ends: Positions, *, header: bytes = b""
    ) -> Sequence[bytes | None]:
        return compiled.spell_varints(
            source, starts, ends, header, table.entries, table.rest, TEXT_BYTES_MAX
        )

    return spell_varints


def _slices(source: bytes, starts: Positions, ends: Positions) -> list[bytes]:
    return list(map(source.__getitem__, map(slice, starts.tolist(), ends.tolist())))


def _batches(lengths: Positions) -> Iterator[tuple[int, int]]:
    """Ranges of segments of these lengths, each of about _BATCH_BYTES."""
    ends = np.cumsum(lengths)
    if not len(ends) or ends[-1] <= _BATCH_BYTES:
        yield 0, len(ends)
        return
    cuts = np.flatnonzero(np.diff(ends // _BATCH_BYTES)) + 1
    yield from pairwise([0, *cuts.tolist(), len(ends)])


_ZSTD = ZstdCodec()
_CODECS: tuple[VarintCodec, ZstdCodec] = VarintCodec(), _ZSTD
_NEITHER = (VarintCodec(), Vocabulary.BYTES)
# The usual one first.
_WITH_SPELLINGS = sorted(filter(has_spellings, Vocabulary), reverse=True)
# By the first bytes of frames.
_SPELLED_TOGETHER = {
    bytes((codec.kind, vocabulary)): (codec, vocabulary)
    for codec in _CODECS
    for vocabulary in _WITH_SPELLINGS
}
