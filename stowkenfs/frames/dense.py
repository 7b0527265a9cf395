"""The payload of a block of segments: their encodings side by side, to be compressed as one.

    payload := varint codebook, column classes, varint ranked_bytes, ranked body,
               column lengths, plain body to the end
    column  := varint column_bytes, varint{}    as many as fit in the bytes, 32 bits each

``codebook`` is 0 for none, else the number of the codebook that RANKED segments are written
with, plus one. ``classes`` is pairs of a class and of how many segments in succession have it,
1 or more, neighbours differing; the counts add up to the segments of the block, which the block
knows. A class is ``vocabulary << 2 | mode``:

    mode 0  RANKED  the codes of the ids (``codebook``), then 255; in the ranked body. Only
                    with a codebook, and never in vocabulary BYTES
    mode 1  BYTES   the ids as bytes, in the plain body; vocabulary BYTES, which has no other
    mode 2  IDS     the ids as varints, in the plain body

Segments lie in either body in their order, without gaps; ``lengths`` has the bytes of each in
the plain body. A segment has at most 2^24 bytes here, and as symbols (``segment``).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.errors import Corrupt, FrameCorrupt, Unstorable
from stowkenfs.frames.codebook import CODED_IDS, Codebook
from stowkenfs.frames.ranks import TERMINATOR
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, segment_of, symbols_of
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints
from stowkenfs.ids import Vocabulary
from stowkenfs.varint import append_varint, read_varint

PAYLOAD_BYTES_MAX = 1 << 31
"""Positions in a payload are kept in 32 bits."""

_CODED_SYMBOL_BYTES_MAX = 3  # an id below CODED_IDS as varint

# Fewer candidates than this are compared one by one.
_FEW = 8

_Positions = npt.NDArray[np.uint32]


class DenseMode(IntEnum):
    """How a segment of a dense block is written. On disk: values never change."""

    RANKED = 0
    BYTES = 1
    IDS = 2


@dataclass(frozen=True, slots=True)
class DenseSegment:
    """A segment as it will stand in a block, under the codebook of that block."""

    vocabulary: Vocabulary
    mode: DenseMode
    content: bytes  # without terminator


def prepare(vocabulary: Vocabulary, ids: TokenArray, codebook: Codebook | None) -> DenseSegment:
    """The one encoding of ``ids`` (uint32, shape (n,)) beside others under ``codebook``.

    RANKED when the codebook has an order for the vocabulary and codes for all ids.
    Raises Unstorable beyond 2^24 bytes of symbols and for an id that no byte is.
    """
    if vocabulary is Vocabulary.BYTES:
        return DenseSegment(vocabulary, DenseMode.BYTES, symbols_of(Segment(vocabulary, ids)))
    if codebook is None or not _coded(vocabulary, ids, codebook):
        return DenseSegment(vocabulary, DenseMode.IDS, symbols_of(Segment(vocabulary, ids)))
    if len(ids) * _CODED_SYMBOL_BYTES_MAX > SYMBOLS_BYTES_MAX:
        symbols = symbols_of(Segment(vocabulary, ids))
        content = codebook.encode_ids(vocabulary, ids)
        if len(content) > SYMBOLS_BYTES_MAX:
            return DenseSegment(vocabulary, DenseMode.IDS, symbols)
        return DenseSegment(vocabulary, DenseMode.RANKED, content)
    return DenseSegment(vocabulary, DenseMode.RANKED, codebook.encode_ids(vocabulary, ids))


def prepare_many(
    vocabulary: Vocabulary,
    ids: TokenArray,
    lengths: npt.NDArray[np.int64],
    codebook: Codebook | None,
) -> list[DenseSegment]:
    """``prepare`` of each segment; ``ids`` is all of theirs joined, ``lengths`` in ids.

    Much faster for many short segments. Raises as ``prepare`` does.
    """
    short = int(lengths.max(initial=0)) * _CODED_SYMBOL_BYTES_MAX <= SYMBOLS_BYTES_MAX
    if short and codebook is not None and _coded(vocabulary, ids, codebook):
        return [
            DenseSegment(vocabulary, DenseMode.RANKED, content)
            for content in codebook.encode_many(vocabulary, ids, lengths)
        ]
    cuts = np.cumsum(lengths).tolist()
    return [
        prepare(vocabulary, ids[start:end], codebook)
        for start, end in zip([0, *cuts], cuts, strict=False)
    ]


def _coded(vocabulary: Vocabulary, ids: TokenArray, codebook: Codebook) -> bool:
    return vocabulary in codebook.orders and int(ids.max(initial=0)) < CODED_IDS


def encode_dense(segments: Sequence[DenseSegment], codebook_no: int | None) -> bytes:
    """The payload of ``segments``, those RANKED all under the codebook of that number."""
    classes: list[int] = []  # class and count in turn
    ranked: list[bytes] = []
    plain: list[bytes] = []
    before = -1
    for segment in segments:
        now = segment.vocabulary << 2 | segment.mode
        if now != before:
            classes += (now, 0)
            before = now
        classes[-1] += 1
        (plain if segment.mode else ranked).append(segment.content)
    assert codebook_no is not None or not ranked
    ranked_body = b"".join(content + TERMINATOR for content in ranked)
    payload = bytearray()
    append_varint(payload, 0 if codebook_no is None else codebook_no + 1)
    _append_column(payload, classes)
    append_varint(payload, len(ranked_body))
    payload += ranked_body
    _append_column(payload, [len(content) for content in plain])
    return bytes(payload) + b"".join(plain)


def _append_column(payload: bytearray, numbers: list[int]) -> None:
    column = encode_varints(np.array(numbers, np.uint32))
    append_varint(payload, len(column))
    payload += column


def decode_dense(payload: bytes, count: int, begin: int = 0) -> "DenseSegments":
    """The ``count`` segments of ``payload`` from byte ``begin`` on, found but not decoded.

    Raises FrameCorrupt for what ``encode_dense`` never returns, as far as that shows without
    decoding segments. Memory is in proportion to the payload, whatever ``count`` is.
    """
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise FrameCorrupt(f"{len(payload)} bytes of segments; at most {PAYLOAD_BYTES_MAX}")
    codebook, at = _read(payload, begin)
    column, at = _read_column(payload, at)
    classes, counts = _runs(column, count)
    ranked_bytes, start = _read(payload, at)
    at = start + ranked_bytes
    if at > len(payload):
        raise FrameCorrupt("a ranked body is cut off")
    terminators = _terminators(memoryview(payload)[start:at])
    lengths, at = _read_column(payload, at)
    modes = classes & 3
    ranked_count = int(counts[modes == DenseMode.RANKED].sum())
    if ranked_count and not codebook:
        raise FrameCorrupt("ranked segments without a codebook")
    if len(terminators) != ranked_count or len(lengths) != count - ranked_count:
        raise FrameCorrupt("classes of segments do not fit the bodies")
    if ranked_bytes != (int(terminators[-1]) + 1 if ranked_count else 0):
        raise FrameCorrupt("a ranked segment is not terminated")
    # From here on ``count`` is no more than the bytes of the payload.
    ranked_ends = start + terminators
    ranked_starts = np.append(start, ranked_ends + 1)[:-1]
    plain_ends = at + np.cumsum(lengths, dtype=np.int64)
    if (int(plain_ends[-1]) if len(lengths) else at) != len(payload):
        raise FrameCorrupt("lengths of segments do not add up to the plain body")
    starts, ends = ranked_starts.astype(np.uint32), ranked_ends.astype(np.uint32)
    if ranked_count != count:
        is_ranked = np.repeat(modes == DenseMode.RANKED, counts)
        starts, ends = np.empty(count, np.uint32), np.empty(count, np.uint32)
        starts[is_ranked], ends[is_ranked] = ranked_starts, ranked_ends
        starts[~is_ranked], ends[~is_ranked] = plain_ends - lengths, plain_ends
    if count and int((ends - starts).max()) > SYMBOLS_BYTES_MAX:
        raise FrameCorrupt(f"a segment of more than {SYMBOLS_BYTES_MAX} bytes")
    return DenseSegments(
        payload,
        codebook - 1 if codebook else None,
        (start, start + ranked_bytes),
        np.repeat(classes.astype(np.uint16), counts),
        starts,
        ends,
    )


def _terminators(body: memoryview) -> npt.NDArray[np.integer]:
    """Where terminators stand in a ranked body."""
    if kernels.compiled is not None:
        return np.frombuffer(kernels.compiled.places_of(body, TERMINATOR[0]), np.uint32)
    return np.flatnonzero(np.frombuffer(body, np.uint8) == TERMINATOR[0])


def _runs(column: TokenArray, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    if len(column) > 2 * count:
        raise FrameCorrupt(f"{len(column) // 2} classes of {count} segments")
    if len(column) % 2:
        raise FrameCorrupt("a class of segments without a count")
    pairs = column.reshape(-1, 2).astype(np.int64)
    classes, counts = pairs[:, 0], pairs[:, 1]
    if not counts.all() or int(counts.sum()) != count or not np.diff(classes).all():
        raise FrameCorrupt(f"classes of segments are not those of {count}")
    for number in set(classes.tolist()):
        if number not in _CLASSES:
            raise FrameCorrupt(f"class {number} of segments is unknown")
    return classes, counts


_CLASSES = {
    vocabulary << 2 | mode: (vocabulary, mode)
    for vocabulary in Vocabulary
    for mode in DenseMode
    if (vocabulary is Vocabulary.BYTES) == (mode is DenseMode.BYTES)
}


def _read(payload: bytes, at: int) -> tuple[int, int]:
    try:
        return read_varint(payload, at, bits_max=32)
    except Corrupt as error:
        raise FrameCorrupt(f"a payload of segments: {error}") from None


def _read_column(payload: bytes, at: int) -> tuple[TokenArray, int]:
    length_bytes, at = _read(payload, at)
    end = at + length_bytes
    if end > len(payload):
        raise FrameCorrupt("a column of segments is cut off")
    return decode_varints(payload[at:end]), end


@dataclass(frozen=True, slots=True, eq=False)
class DenseSegments:
    """The segments of one block, by their place in it; each is decoded when asked for."""

    payload: bytes
    codebook_no: int | None
    _ranked_body: tuple[int, int]  # start and end in the payload
    _classes: npt.NDArray[np.uint16]  # by segment
    _starts: _Positions  # by segment, in the payload; those of either body ascend
    _ends: _Positions  # of the content: a terminator comes after

    def __len__(self) -> int:
        return len(self._classes)

    @property
    def cost_bytes(self) -> int:
        """What a cache should count for it."""
        arrays = self._classes.nbytes + self._starts.nbytes + self._ends.nbytes
        return len(self.payload) + arrays + _OBJECTS_BYTES

    def vocabulary(self, at: int) -> Vocabulary:
        """That of segment ``at``."""
        return Vocabulary(int(self._classes[at]) >> 2)

    def mode(self, at: int) -> DenseMode:
        """How segment ``at`` is written."""
        return DenseMode(int(self._classes[at]) & 3)

    def content(self, at: int) -> bytes:
        """Segment ``at`` as written, without terminator."""
        return self.payload[int(self._starts[at]) : int(self._ends[at])]

    def bounds(
        self, places: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where ``content`` of many starts and ends in the payload."""
        return self._starts[places].astype(np.int64), self._ends[places].astype(np.int64)

    def by_class(
        self, places: npt.NDArray[np.int64]
    ) -> Iterator[tuple[tuple[Vocabulary, DenseMode], npt.NDArray[np.intp] | slice]]:
        """Each vocabulary and mode among ``places``, and which of them have it."""
        classes = self._classes[places]
        numbers = set(classes.tolist())
        if len(numbers) == 1:
            yield _CLASSES[numbers.pop()], slice(None)
        for number in numbers:
            yield _CLASSES[number], np.flatnonzero(classes == number)

    def segment(self, at: int, codebook: Codebook | None) -> Segment:
        """Segment ``at``, its tokens read-only; ``codebook`` is the one of ``codebook_no``.

        Raises FrameCorrupt when its bytes are not what ``prepare`` makes of any ids.
        """
        vocabulary, content = self.vocabulary(at), self.content(at)
        if self.mode(at) is not DenseMode.RANKED:
            return segment_of(vocabulary, content)
        if codebook is None:
            raise FrameCorrupt(f"codebook {self.codebook_no} of a segment is missing")
        segment = Segment(vocabulary, codebook.decode_ids(vocabulary, content))
        if len(segment.tokens) * _CODED_SYMBOL_BYTES_MAX > SYMBOLS_BYTES_MAX:
            try:
                symbols_of(segment)
            except Unstorable as error:
                raise FrameCorrupt(f"a ranked segment of {error}") from None
        return segment

    def find(self, vocabulary: Vocabulary, mode: DenseMode, content: bytes) -> int | None:
        """The first segment of this vocabulary and mode with this content, None if there is none.

        Of segments prepared with the block's codebook, one with the same ids.
        """
        if mode is DenseMode.RANKED:
            return self._find_ranked(vocabulary << 2 | mode, content)
        alike = self._classes == (vocabulary << 2 | mode)
        alike &= self._ends - self._starts == len(content)
        candidates = np.flatnonzero(alike)
        byte = np.frombuffer(self.payload, np.uint8)
        for at, value in enumerate(content):
            if len(candidates) < _FEW:
                break
            candidates = candidates[byte[self._starts[candidates] + at] == value]
        for found in candidates.tolist():
            if self.content(found) == content:
                return int(found)
        return None

    def _find_ranked(self, number: int, content: bytes) -> int | None:
        start, end = self._ranked_body
        if TERMINATOR in content:
            return None
        needle = content + TERMINATOR
        at = start if self.payload.startswith(needle, start, end) else -1
        # Segments of several vocabularies may have the same codes.
        while True:
            if at >= 0:
                for found in np.flatnonzero(self._starts == at).tolist():
                    if self._classes[found] == number:
                        return int(found)
            # With the terminator before it, which is in no code, only whole segments are found.
            at = self.payload.find(TERMINATOR + needle, max(at, start), end)
            if at < 0:
                return None
            at += 1


_OBJECTS_BYTES = 600  # four arrays and their owner, without content
