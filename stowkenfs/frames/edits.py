"""A segment as copies from other segments and what lies between them.

What 0x04 and 0x05 have in common (FORMAT.md, "Edits"):

    edits    := varint first_source, varint (steps_bytes << 1 | packed), step*, literals
    step     := varint (n << 3 | more << 2 | mode), what the mode says
    literals := the body of a 0x01 frame, of a 0x02 frame where packed; to the end

    mode 0   n literals
    mode 1   a copy of n ids, from where the last one ended and as many further as there
             were literals since: so a changed id costs itself and no place
    mode 2   a copy from elsewhere in the same source: varint zigzag(place - that place)
    mode 3   a copy from another source: varint zigzag(number - last number), varint place

A copy of n = 0 goes to the end of its source; ``more`` is one literal after it. What is left
of the literals comes last.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from typing import NamedTuple

import numpy as np

from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.kinds import VarintCodec, ZstdCodec
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, segment_of, symbols_of
from stowkenfs.frames.varints import TokenArray, decode_varints, encode_varints
from stowkenfs.ids import Vocabulary
from stowkenfs.varint import append_varint, read_varint, unzigzag, zigzag

_WORD_MAX = (1 << 32) - 1
_NUMBER_BITS = 63  # as an index keeps them
# Below this no sum of symbols needs to be looked at: an id has at most five bytes.
_IDS_SURELY = SYMBOLS_BYTES_MAX // 5
_PARTS_AT_ONCE = 10_000

_VARINT = VarintCodec()
_ZSTD = ZstdCodec()


class Copy(NamedTuple):
    """``length`` ids from ``start`` on in the source, which are at ``at`` in the target."""

    at: int
    source: int
    start: int
    length: int


class _Mode(IntEnum):
    """The low bits of a step. On disk: values never change."""

    LITERALS = 0
    ON = 1
    MOVED = 2
    OTHER = 3


_MORE = 1 << 2
_LENGTH_SHIFT = 3

SourceOf = Callable[[int], TokenArray]
"""The ids of a source by its number. Raises FrameCorrupt."""


@dataclass(frozen=True, slots=True)
class Edits:
    """Edits as they lie in a body, steps apart. ``read_edits`` makes it."""

    first_source: int
    steps: Sequence[int]
    """All numbers of the steps, one after another; four bytes each, however many they are."""
    literals: memoryview
    packed: bool


def encode_edits(
    segment: Segment, copies: Sequence[Copy], length_of: Callable[[int], int], level: int
) -> bytes | None:
    """``segment`` by ``copies`` (one or more; ascending, apart) from sources of known lengths.

    None where a number is too large for a step.
    """
    body = bytearray()
    append_varint(body, copies[0].source)
    steps = list(_steps_of(copies, length_of, len(segment.tokens)))
    if max(steps) > _WORD_MAX:
        return None
    encoded_steps = encode_varints(np.array(steps, np.uint32))
    literals = symbols_of(Segment(segment.vocabulary, _literals_of(segment.tokens, copies)))
    packed = _ZSTD.encode(segment, literals, level, None)
    is_packed = packed is not None and len(packed) < len(literals)
    append_varint(body, len(encoded_steps) << 1 | is_packed)
    body += encoded_steps
    body += packed if is_packed and packed is not None else literals
    return bytes(body)


def _steps_of(
    copies: Sequence[Copy], length_of: Callable[[int], int], length: int
) -> Iterator[int]:
    source, place, at = copies[0].source, 0, 0
    given = 0  # literals between, of which ``more`` took care
    for copy, following in zip(copies, [*copies[1:], None], strict=True):
        between = copy.at - at
        if between > given:
            yield (between - given) << _LENGTH_SHIFT | _Mode.LITERALS
        end = copy.at + copy.length
        is_rest = copy.start + copy.length == length_of(copy.source)
        # At the end of the target they need no step.
        given = int(following is not None and following.at == end + 1)
        word = (0 if is_rest else copy.length) << _LENGTH_SHIFT | (_MORE if given else 0)
        predicted = place + between
        if copy.source != source:
            yield word | _Mode.OTHER
            yield zigzag(copy.source - source)
            yield copy.start
        elif copy.start != predicted:
            yield word | _Mode.MOVED
            yield zigzag(copy.start - predicted)
        else:
            yield word | _Mode.ON
        source, place, at = copy.source, copy.start + copy.length, end
    assert at <= length


def _literals_of(tokens: TokenArray, copies: Sequence[Copy]) -> TokenArray:
    is_literal = np.ones(len(tokens), np.bool_)
    for copy in copies:
        is_literal[copy.at : copy.at + copy.length] = False
    return tokens[is_literal]


def read_edits(body: memoryview) -> Edits:
    """The parts of edits. Raises FrameCorrupt."""
    try:
        first_source, at = read_varint(body, 0, bits_max=_NUMBER_BITS)
        head, at = read_varint(body, at, bits_max=32)
    except Corrupt as error:
        raise FrameCorrupt(f"edits: {error}") from None
    end = at + (head >> 1)
    if end > len(body):
        raise FrameCorrupt(f"{head >> 1} bytes of steps, of which {len(body) - at} are there")
    steps = decode_varints(bytes(body[at:end])).data
    if not len(steps):
        raise FrameCorrupt("edits without a step")
    return Edits(first_source, steps, body[end:], bool(head & 1))


def sources_of(edits: Edits) -> tuple[int, ...]:
    """The numbers of all sources, ascending. Raises FrameCorrupt."""
    numbers, number, at, steps = {edits.first_source}, edits.first_source, 0, edits.steps
    while at < len(steps):
        mode = steps[at] & 3
        if mode == _Mode.OTHER:
            number = _other(number, _operand(steps, at + 1))
            numbers.add(number)
            at += 3
        else:
            at += 1 + (mode == _Mode.MOVED)
    return tuple(sorted(numbers))


def apply_edits(vocabulary: Vocabulary, edits: Edits, source_of: SourceOf) -> Segment:
    """The segment that was encoded; each source is asked for once. Raises FrameCorrupt."""
    codec = _ZSTD if edits.packed else _VARINT
    literals = segment_of(vocabulary, codec.symbols(edits.literals)).tokens
    tokens = _joined(_parts(edits, literals, source_of))
    if vocabulary is not Vocabulary.BYTES:
        _check_symbols(tokens)
    tokens.flags.writeable = False
    return Segment(vocabulary, tokens)


def _joined(parts: Iterator[TokenArray]) -> TokenArray:
    """``parts`` behind each other, some at a time: each of a single id takes a hundred bytes."""
    joined = []
    while some := list(islice(parts, _PARTS_AT_ONCE)):
        joined.append(np.concatenate(some))
    return np.concatenate(joined)


def _parts(edits: Edits, literals: TokenArray, source_of: SourceOf) -> Iterator[TokenArray]:
    steps, at, number = edits.steps, 0, edits.first_source
    sources = {number: source_of(number)}
    source = sources[number]
    sources_ids = len(source)
    place = used = copied = 0
    while at < len(steps):
        word = steps[at]
        at += 1
        mode, length = word & 3, word >> _LENGTH_SHIFT
        if mode == _Mode.LITERALS:
            if word & _MORE or not length:
                raise FrameCorrupt("a step of literals that has none, or more")
            used, place = used + length, place + length
            yield literals[used - length : used]
        else:
            if mode == _Mode.MOVED:
                place += unzigzag(_operand(steps, at))
                at += 1
            elif mode == _Mode.OTHER:
                number = _other(number, _operand(steps, at))
                place = _operand(steps, at + 1)
                at += 2
                if number not in sources:
                    sources[number] = source_of(number)
                    sources_ids += len(sources[number])
                source = sources[number]
            length = length or len(source) - place
            if place < 0 or length <= 0 or place + length > len(source):
                raise FrameCorrupt(f"a copy of {length} ids from {place} of {len(source)}")
            yield source[place : place + length]
            place, copied = place + length, copied + length
            if word & _MORE:
                used, place = used + 1, place + 1
                yield literals[used - 1 : used]
        if used > len(literals) or copied + len(literals) > SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"{used} of {len(literals)} literals and {copied} ids copied")
        if sources_ids > SYMBOLS_BYTES_MAX:
            raise FrameCorrupt(f"{sources_ids} ids in the sources of one frame")
    yield literals[used:]


def _operand(steps: Sequence[int], at: int) -> int:
    if at >= len(steps):
        raise FrameCorrupt("the last step is cut off")
    return steps[at]


def _other(number: int, difference: int) -> int:
    other = number + unzigzag(difference)
    if other == number or other < 0 or other >> _NUMBER_BITS:
        raise FrameCorrupt("a step to another source that is none")
    return other


def _check_symbols(tokens: TokenArray) -> None:
    """As much as a frame of any other kind holds, and no more. Raises FrameCorrupt."""
    if len(tokens) <= _IDS_SURELY:
        return
    symbols_bytes = len(tokens)
    for bits in (7, 14, 21, 28):
        symbols_bytes += int(np.count_nonzero(tokens >> np.uint32(bits)))
    if symbols_bytes > SYMBOLS_BYTES_MAX:
        raise FrameCorrupt(f"{symbols_bytes} bytes of symbols; a frame holds {SYMBOLS_BYTES_MAX}")
