"""One unit of a document to records; runs in worker processes."""

import re
from itertools import pairwise
from typing import Final

from stowkenfs.documents.chunker import chunk_ends
from stowkenfs.documents.cuts import record_cuts
from stowkenfs.documents.lexer import Lexed, lex
from stowkenfs.documents.payloads import Types
from stowkenfs.documents.record import raw_record, record_between, renders_to, whole
from stowkenfs.documents.shapes import payload_types
from stowkenfs.documents.styles import styles_of
from stowkenfs.documents.units import Unit, UnitKind
from stowkenfs.documents.values import Record

_WHOLE_BYTES_MAX: Final = {UnitKind.JSON: 64 << 10, UnitKind.LINE: 256 << 10}
"""The longest unit that is one record."""

# A line that starts otherwise is text, of which every line would be a template of its own.
_LINE_START: Final = re.compile(rb'(?:\xef\xbb\xbf)?[\s\x1e,\]}]*+(?:[{\["]|data:|event:|\Z)')


def encode_unit(unit: Unit) -> list[Record]:
    """The records of ``unit``, in order; rendered and joined they are its content.

    Never fails: what does not come back the same from templates and values is kept raw.
    """
    content = unit.content
    if not content:
        return []
    if unit.kind is UnitKind.RAW or (unit.kind is UnitKind.LINE and not _LINE_START.match(content)):
        return _raw_records(content)
    lexed = lex(content)
    if lexed is None:
        return _raw_records(content)
    records = _structured(content, lexed, _WHOLE_BYTES_MAX[unit.kind])
    return records if _render_to(records, content) else _raw_records(content)


def _render_to(records: list[Record], content: bytes) -> bool:
    at = 0
    for record in records:
        end = at + record.length_bytes
        if not renders_to(record, content[at:end]):
            return False
        at = end
    return at == len(content)


def _structured(content: bytes, lexed: Lexed, whole_bytes_max: int) -> list[Record]:
    types: Types = {}
    if lexed.longs:
        types = payload_types(content.decode(errors="replace"))
    styles = styles_of(content)
    short = len(content) <= whole_bytes_max
    records: list[Record] = []
    for start, end in pairwise(whole(lexed, content) if short else record_cuts(lexed)):
        record = record_between(lexed, start, end, types, styles)
        if record is None:
            records += _raw_records(content[start.content_bytes : end.content_bytes])
        else:
            records.append(record)
    return records


def _raw_records(content: bytes) -> list[Record]:
    """A record for each content-defined chunk."""
    start = 0
    records = []
    for end in chunk_ends(content):
        records.append(raw_record(content[start:end]))
        start = end
    return records
