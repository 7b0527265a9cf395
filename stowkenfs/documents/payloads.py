"""Long values to payloads: unescaped, typed, and cut into the parts that become segments."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final

from stowkenfs.documents.chunker import CHUNK_BYTES_MAX, chunk_ends
from stowkenfs.documents.styles import read_base64, style_of, unescape
from stowkenfs.documents.transcripts import transcript_turns
from stowkenfs.documents.values import Part, Payload, Style, TokenList
from stowkenfs.ids import SegmentType

PAYLOAD_BYTES_MIN: Final = 48
"""Shorter values are inline literals; FINDINGS section 7 compares 24 and 48."""

Types = Mapping[str, SegmentType]
"""What the long strings of a document are; a text that is not in it is OTHER."""


def payload_of(literal: bytes, types: Types, styles: Iterable[Style]) -> Payload:
    """The payload that writes ``literal``, a value without its quotes."""
    if b" " not in literal:
        decoded = read_base64(literal)
        if decoded is not None:
            return Payload(Style.BASE64, _parts_of_bytes(decoded))
    if b"\\" not in literal:
        try:
            written = literal.decode()
        except UnicodeDecodeError:
            return verbatim(literal)
        type_ = types.get(written, SegmentType.OTHER)
        return Payload(Style.VERBATIM, _parts_of_text(written, literal, type_))
    utf8 = unescape(literal)
    if utf8 is None:
        return verbatim(literal)
    text = utf8.decode()
    type_ = types.get(text, SegmentType.OTHER)
    style = style_of(literal, utf8, styles)
    if style is None:
        return Payload(Style.VERBATIM, _parts_of_text(literal.decode(), literal, type_))
    return Payload(style, _parts_of_text(text, utf8, type_))


def verbatim(content: bytes) -> Payload:
    """A payload of any bytes as they are."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return Payload(Style.VERBATIM, _parts_of_bytes(content))
    return Payload(Style.VERBATIM, _parts_of_text(text, content, SegmentType.OTHER))


def token_list(written: bytes, separator: bytes, types: Types) -> TokenList:
    """The array of ids that ``written`` (without brackets) is."""
    ids = tuple(map(int, written.split(separator)))
    return TokenList(ids, separator, types.get(token_key(ids), SegmentType.OTHER))


def token_key(ids: Iterable[int]) -> str:
    """The text under which ``Types`` holds the type of an array of ids."""
    return ",".join(map(str, ids))


def _parts_of_text(text: str, content: bytes, type_: SegmentType) -> tuple[Part, ...]:
    """``content`` is ``text`` in UTF-8."""
    turns = transcript_turns(text, type_)
    if not turns:
        return _parts(content, type_, binary=False)
    return tuple(
        part for turn_type, turn in turns for part in _parts(turn.encode(), turn_type, binary=False)
    )


def _parts_of_bytes(content: bytes) -> tuple[Part, ...]:
    return _parts(content, SegmentType.OTHER, binary=True)


def _parts(content: bytes, type_: SegmentType, *, binary: bool) -> tuple[Part, ...]:
    if len(content) <= CHUNK_BYTES_MAX:
        return (Part(content, type_, binary),)
    ends = chunk_ends(content)
    return tuple(Part(content[start:end], type_, binary) for start, end in pairwise([0, *ends]))
