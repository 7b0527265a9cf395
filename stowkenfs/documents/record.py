"""Records: any bytes to templates and values, and back."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final

from stowkenfs import kernels
from stowkenfs.documents.cuts import Cut
from stowkenfs.documents.lexer import Lexed, lex
from stowkenfs.documents.payloads import (
    PAYLOAD_BYTES_MIN,
    Types,
    payload_of,
    token_list,
    verbatim,
)
from stowkenfs.documents.styles import styles_of, write, write_tokens
from stowkenfs.documents.values import (
    SLOT,
    Part,
    Payload,
    Record,
    Style,
    TokenList,
    Value,
)

__all__ = [
    "SLOT",
    "Part",
    "Payload",
    "Record",
    "Style",
    "TokenList",
    "Value",
    "encode_record",
    "fill_slots",
    "raw_record",
    "record_between",
    "render",
    "renders_to",
    "whole",
]

_RAW_TEMPLATES: Final = (bytes([SLOT]),)
TEMPLATE_BYTES_MAX: Final = 16 << 10
"""A longer template would hardly be shared; what it is in is kept raw."""


def render(templates: Iterable[bytes], values: Sequence[Value]) -> bytes:
    """The bytes of a record. Raises ValueError (slots and values differ in number)."""
    written = [value if isinstance(value, bytes) else _written(value) for value in values]
    return fill_slots(b"".join(templates), written)


def fill_slots(skeleton: bytes, written: list[bytes]) -> bytes:
    """``skeleton`` with its NUL bytes replaced, in order.

    Raises ValueError (slots and values differ in number).
    """
    between = skeleton.split(b"\0")
    if len(between) != len(written) + 1:
        raise ValueError(f"{len(between) - 1} slots for {len(written)} values")
    pieces = [b""] * (2 * len(between) - 1)
    pieces[0::2] = between
    pieces[1::2] = written
    return b"".join(pieces)


def renders_to(record: Record, content: bytes) -> bool:
    """Whether ``content`` is the bytes of ``record``."""
    written = tuple([v if isinstance(v, bytes) else _written(v) for v in record.values])
    if kernels.compiled is not None:
        return kernels.compiled.is_filled(content, record.templates, written)
    try:
        return fill_slots(b"".join(record.templates), list(written)) == content
    except ValueError:
        return False


def encode_record(content: bytes, types: Types, *, styles: Sequence[Style] | None = None) -> Record:
    """One record of any bytes; it renders to ``content``.

    ``styles``: those to try on escaped strings, in order; by default the content's own first.
    """
    lexed = lex(content)
    if lexed is None:
        return raw_record(content)
    start, end = whole(lexed, content)
    record = record_between(lexed, start, end, types, styles or styles_of(content))
    if record is None or not renders_to(record, content):
        return raw_record(content)
    return record


def raw_record(content: bytes) -> Record:
    """One record that keeps ``content`` as it is: a single slot, inline if it is short."""
    short = len(content) < PAYLOAD_BYTES_MIN
    return Record(len(content), _RAW_TEMPLATES, (content if short else verbatim(content),))


def whole(lexed: Lexed, content: bytes) -> list[Cut]:
    """The start and the end of ``content``, which ``lexed`` is of."""
    return [Cut(0, 0, 0), Cut(len(lexed.skeleton), len(lexed.values), len(content))]


def record_between(
    lexed: Lexed, start: Cut, end: Cut, types: Types, styles: Sequence[Style]
) -> Record | None:
    """The record of a part of ``lexed``; None if a template is longer than TEMPLATE_BYTES_MAX."""
    templates = _templates(lexed.skeleton[start.skeleton_bytes : end.skeleton_bytes])
    if max(map(len, templates), default=0) > TEMPLATE_BYTES_MAX:
        return None
    values: list[Value] = []
    values += lexed.values[start.values : end.values]
    first = bisect_left(lexed.longs, start.values)
    for index in lexed.longs[first : bisect_left(lexed.longs, end.values, first)]:
        values[index - start.values] = _long(lexed, index, types, styles)
    return Record(end.content_bytes - start.content_bytes, templates, tuple(values))


def _long(lexed: Lexed, index: int, types: Types, styles: Sequence[Style]) -> Value:
    """A value that is not kept inline."""
    literal = lexed.values[index]
    if index in lexed.tools:
        return verbatim(literal)
    separator = lexed.separators.get(index)
    if separator is None:
        return payload_of(literal, types, styles)
    return token_list(literal, separator, types)


def _templates(skeleton: bytes) -> tuple[bytes, ...]:
    """Cut before each brace, so that the objects of an array share theirs."""
    first, *rest = skeleton.split(b"{")
    templates = [b"{" + piece for piece in rest]
    return (first, *templates) if first else tuple(templates)


def _written(value: Payload | TokenList) -> bytes:
    if isinstance(value, Payload):
        return write(value.style, (part.content for part in value.parts))
    return write_tokens(value.ids, value.separator)
