"""The texts of many segments, spelled together where they can be."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import frame_symbols
from stowkenfs.frames.dense import DenseMode, DenseSegments
from stowkenfs.frames.ranks import TERMINATOR
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.spelling import (
    Escapes,
    SpellingTable,
    escaped,
    has_spellings,
    spelling_table,
)
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary

# Encoded bytes that are spelled together: what they become stays in a processor's cache, and
# is less than 100 MB even where each byte is an id of the longest spelling, all escaped.
_TOGETHER_BYTES = 64 << 10

SegmentOf = Callable[[int], Segment]
"""A segment by its number, decoded alone."""


class Speller:
    """Takes in segments by their numbers, and gives their texts, escaped. For one thread."""

    def __init__(self, segment_of: SegmentOf, escapes: Escapes = ()) -> None:
        self._segment_of = segment_of
        self._escapes = escapes
        self._texts: dict[int, bytes] = {}  # {number: text}
        self._groups: dict[tuple[Vocabulary, Codebook | None], _Group] = {}

    def add_dense(
        self,
        segments: DenseSegments,
        codebook: Codebook,
        numbers: Sequence[int],
        places: Sequence[int],
    ) -> None:
        """Take in segments of a dense block. Raises FrameCorrupt as ``segment_of`` does."""
        contents = segments.contents(places)
        for (vocabulary, mode), some in segments.by_class(places):
            found = [(numbers[at], contents[at]) for at in some]
            if mode is DenseMode.BYTES:
                self._texts.update((name, escaped(text, self._escapes)) for name, text in found)
            elif (
                mode is DenseMode.RANKED
                and vocabulary in codebook.orders
                and has_spellings(vocabulary)
            ):
                self._add(self._ranked_group(vocabulary, codebook), found)
            else:
                self._texts.update((number, self._alone(number)) for number, _ in found)

    def add_frames(self, frames: Sequence[tuple[int, bytes]]) -> None:
        """Take in ``(number, frame)``. Raises FrameCorrupt as ``decode_frame`` does."""
        for number, frame in frames:
            found = frame_symbols(frame)
            if found is not None and found[0] is Vocabulary.BYTES:
                self._texts[number] = escaped(found[1], self._escapes)
            elif found is not None and has_spellings(found[0]):
                self._add(self._varint_group(found[0]), [(number, found[1])])
            else:
                self._texts[number] = self._alone(number)

    def finish(self) -> dict[int, bytes]:
        """The text of each number. Raises FrameCorrupt."""
        for group in self._groups.values():
            self._spell(group)
        return self._texts

    def _add(self, group: "_Group", encoded: Sequence[tuple[int, bytes]]) -> None:
        for number, content in encoded:
            if len(content) >= _TOGETHER_BYTES:
                self._texts[number] = self._alone(number)
                continue
            group.numbers.append(number)
            group.contents.append(content)
            group.bytes += len(content)
            if group.bytes >= _TOGETHER_BYTES:
                self._spell(group)

    def _spell(self, group: "_Group") -> None:
        numbers, group.numbers = group.numbers, []
        contents, group.contents, group.bytes = group.contents, [], 0
        if not numbers:
            return
        ids = group.decode(group.end.join([*contents, b""]))
        found = group.table.spell(ids)
        if found is None or len(found) != len(numbers):
            found = [self._alone(number) for number in numbers]
        self._texts.update(zip(numbers, found, strict=True))

    def _alone(self, number: int) -> bytes:
        segment = self._segment_of(number)
        return escaped(spell(segment.tokens, segment.vocabulary), self._escapes)

    def _ranked_group(self, vocabulary: Vocabulary, codebook: Codebook) -> "_Group":
        group = self._groups.get((vocabulary, codebook))
        if group is None:
            table = spelling_table(vocabulary, self._escapes)
            decode = partial(codebook.decode_joined, vocabulary, end_id=table.end_id)
            group = self._groups[vocabulary, codebook] = _Group(table, TERMINATOR, decode)
        return group

    def _varint_group(self, vocabulary: Vocabulary) -> "_Group":
        group = self._groups.get((vocabulary, None))
        if group is None:
            table = spelling_table(vocabulary, self._escapes)
            end = encode_varints(np.array([table.end_id], np.uint32))
            group = self._groups[vocabulary, None] = _Group(table, end, decode_varints)
        return group


class _Group:
    """Segments that are encoded alike, collected until they are many enough.

    ``decode`` gives the ids of encoded segments that have ``end`` behind each of them, which
    becomes the ``end_id`` of ``table``.
    """

    def __init__(
        self, table: SpellingTable, end: bytes, decode: Callable[[bytes], TokenArray]
    ) -> None:
        self.table = table
        self.end = end
        self.decode = decode
        self.numbers: list[int] = []
        self.contents: list[bytes] = []
        self.bytes = 0
