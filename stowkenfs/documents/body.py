"""A record as bytes: numbers of templates, inline literals, references to segments.

``body := n_templates template_no{n_templates} value*``, all numbers varints. A value starts
with a head: if its low bit is 0, ``head >> 1`` literal bytes follow. Else it is a payload
of style ``head >> 1 & 15`` with ``head >> 5`` parts; for TOKENS the length of the separator
and the separator come next; then for each part its type, and the difference of its segment
number to the one before plus one, zigzag (the first one's to 0). Segments new with a record
are numbered in its order, so most differences are 0. The body has no length of its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from stowkenfs import kernels
from stowkenfs.documents.record import fill_slots
from stowkenfs.documents.styles import write, write_tokens
from stowkenfs.documents.values import Style
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo
from stowkenfs.varint import append_varint, read_varint, unzigzag, zigzag

_STYLES: Final = {int(style): style for style in Style}
_TYPES: Final = {int(type_): type_ for type_ in SegmentType}


class References(NamedTuple):
    """A payload: its parts as types and segment numbers; ``separator`` is for TOKENS.

    A tuple, because the compiled ``encode_body`` reads it.
    """

    style: Style
    types: tuple[SegmentType, ...]
    segments: tuple[SegmentNo, ...]
    separator: bytes = b""


BodyValue = bytes | References


@dataclass(frozen=True, slots=True)
class Body:
    """A record as numbers; ``values`` fill the slots of its templates in order."""

    templates: tuple[TemplateNo, ...]
    values: tuple[BodyValue, ...]


PartOf = Callable[[SegmentNo, Style], bytes | Sequence[int]]
"""A segment's text or bytes; for TOKENS its ids."""


def encode_body(template_nos: Sequence[int], values: Iterable[BodyValue]) -> bytes:
    """The bytes of a record of these templates and values."""
    values = list(values)
    if kernels.compiled is not None:
        try:
            return kernels.compiled.encode_body(list(template_nos), values)
        except OverflowError:
            pass  # numbers that only damaged content has, and tests
    out = bytearray()
    append_varint(out, len(template_nos))
    for template_no in template_nos:
        append_varint(out, template_no)
    previous = -1
    for value in values:
        if isinstance(value, bytes):
            append_varint(out, len(value) << 1)
            out += value
            continue
        append_varint(out, len(value.segments) << 5 | value.style << 1 | 1)
        if value.style is Style.TOKENS:
            append_varint(out, len(value.separator))
            out += value.separator
        for type_, segment_no in zip(value.types, value.segments, strict=True):
            append_varint(out, type_)
            append_varint(out, zigzag(segment_no - previous - 1))
            previous = segment_no
    return bytes(out)


def decode_body(body: bytes) -> Body:
    """Inverse of ``encode_body``; any bytes. Raises RecordCorrupt."""
    try:
        return _decode(body)
    except RecordCorrupt:
        raise
    except Corrupt as error:
        raise RecordCorrupt(f"record body: {error}") from error


def render_body(body: Body, template_of: Callable[[TemplateNo], bytes], part_of: PartOf) -> bytes:
    """The bytes of the record.

    Raises RecordCorrupt (values or parts that do not fit), and what the callables raise.
    """
    written = [
        value if isinstance(value, bytes) else write_references(value, part_of)
        for value in body.values
    ]
    try:
        return fill_slots(b"".join(map(template_of, body.templates)), written)
    except ValueError as error:
        raise RecordCorrupt(f"record body: {error}") from error


def _decode(body: bytes) -> Body:
    count, at = read_varint(body, 0)
    if count > len(body):
        raise RecordCorrupt(f"record body: {count} templates in {len(body)} bytes")
    templates = []
    for _ in range(count):
        template_no, at = read_varint(body, at)
        templates.append(TemplateNo(template_no))
    values: list[BodyValue] = []
    previous = -1
    end = len(body)
    while at < end:
        head = body[at]
        if head < 0x80:
            at += 1
        else:
            head, at = read_varint(body, at)
        if head & 1:
            references, at, previous = _decode_references(body, head, at, previous)
            values.append(references)
            continue
        literal_end = at + (head >> 1)
        if literal_end > end:
            raise RecordCorrupt(f"record body: literal to byte {literal_end} of {end}")
        values.append(body[at:literal_end])
        at = literal_end
    return Body(tuple(templates), tuple(values))


def _decode_references(
    body: bytes, head: int, at: int, previous: int
) -> tuple[References, int, int]:
    style = _STYLES.get(head >> 1 & 15)
    if style is None:
        raise RecordCorrupt(f"record body: style {head >> 1 & 15} before byte {at}")
    separator = b""
    if style is Style.TOKENS:
        length, at = read_varint(body, at)
        separator = body[at : at + length]
        if len(separator) != length:
            raise RecordCorrupt(f"record body: separator of {length} bytes at byte {at}")
        at += length
    count = head >> 5
    if count > len(body) - at:
        raise RecordCorrupt(f"record body: {count} parts at byte {at} of {len(body)}")
    types = []
    segments = []
    for _ in range(count):
        number, at = read_varint(body, at)
        type_ = _TYPES.get(number)
        delta, at = read_varint(body, at)
        previous += unzigzag(delta) + 1
        if type_ is None or previous < 0:
            raise RecordCorrupt(f"record body: type {number}, segment {previous}, byte {at}")
        types.append(type_)
        segments.append(SegmentNo(previous))
    return References(style, tuple(types), tuple(segments), separator), at, previous


def write_references(value: References, part_of: PartOf) -> bytes:
    """A payload as it stands in its document. Raises as ``render_body`` does."""
    style = value.style
    contents: list[bytes] = []
    ids: list[int] = []
    for segment_no in value.segments:
        part = part_of(segment_no, style)
        if isinstance(part, bytes):
            contents.append(part)
        else:
            ids += part
    if bool(ids) > (style is Style.TOKENS) or bool(contents) > (style is not Style.TOKENS):
        raise RecordCorrupt(f"record body: a segment is not what style {style.name} needs")
    if style is Style.TOKENS:
        return write_tokens(ids, value.separator)
    return write_contents(style, contents)


def write_contents(style: Style, contents: Iterable[bytes]) -> bytes:
    """The texts of a payload's parts as they stand in its document; ``style`` is not TOKENS.

    Raises RecordCorrupt for what is not UTF-8 in a style that has to be.
    """
    try:
        return write(style, contents)
    except UnicodeDecodeError as error:
        raise RecordCorrupt(f"record body: {error}") from error
