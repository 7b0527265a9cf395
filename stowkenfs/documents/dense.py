"""Dense blocks of records: the bodies of many records as columns, for a compressor to read.

A record's body is templates and values (``body``). A dense block keeps the values of all its
records by *column*, so that those of one JSON key stand together, one to a line of text;
what text compresses badly (random identifiers, times, fractions) has forms of its own.

::

    block     := streams of text, templates, sequence, families, identifiers, repeats, times,
                 forms, form_of, segments, lengths_low, lengths_high, checks
    text      := (line 0A)*                        dense_lines
    templates := numbers                           each distinct template, ascending: its
                                                   number less the one before less 1, first -1
    sequence  := (number{n_templates} 00)*         for each record its templates: 1 + their
                                                   places in ``templates``
    families, identifiers, repeats                 dense_families; ``identifiers`` has the bits
                                                   of one family after another
    times     := numbers                           in order of lines: zigzag of the milliseconds
                                                   since the time before, first 0
    forms     := (style separator varint n_parts, type{n_parts})*
    style     := byte
    separator := varint length_bytes, bytes        where style is 15 (TOKENS); else nothing
    type      := byte
    form_of   := numbers                           for each reference, in order of lines, its
                                                   place in ``forms``
    segments  := numbers                           for each part, in order of lines
    lengths_low  := byte{n}
    lengths_high := numbers
    checks    := u32{n}

``streams`` and ``numbers`` are those of dense_streams; n is the block's count of records.

*Slots and lines.* The records' templates one after another have the block's slots, in order.
A slot belongs to a column (dense_layout). Columns are numbered as they first occur among the
slots of ``templates``, each taken once. Lines are the slots sorted by column, within a column in
their order.

*Segments.* The parts of references are numbered twice: in the order of slots, to find which
are new, and in the order of lines, in which they stand here. A number s means

- s odd or 0, a new segment: (s + 1) // 2 + 1 more than the new one before it in the order of
  slots, which is -1 before the first;
- s even, from 2 on: unzigzag(s // 2 - 1) + 1 more than the part before it in the order of lines,
  which is -1 before the first.

*Lengths.* A record's length is lengths_low + 256 * lengths_high, the zigzag of a difference, and
this difference added to the sum of: the fixed bytes of its templates; 24 for each time;
for each identifier, prefix and all; for all other lines but references, which count nothing, the
bytes of the line itself, mark and all.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from stowkenfs.documents.body import Body, BodyValue, References
from stowkenfs.documents.dense_families import encode_families, encode_identifiers
from stowkenfs.documents.dense_finder import IdentifierFinder
from stowkenfs.documents.dense_layout import LayoutOf
from stowkenfs.documents.dense_lines import (
    IDENTIFIERS,
    TIME_BYTES,
    fraction_line,
    milliseconds_of,
    plain_line,
)
from stowkenfs.documents.dense_reader import DenseRecords, decode_dense_records
from stowkenfs.documents.dense_streams import encode_numbers, join_streams
from stowkenfs.documents.values import Style
from stowkenfs.ids import TemplateNo
from stowkenfs.varint import append_varint, zigzag

__all__ = ["DenseRecord", "DenseRecords", "decode_dense_records", "encode_dense_records"]


@dataclass(frozen=True, slots=True)
class DenseRecord:
    """A record for a dense block: the length of its content, 32 bits to check it by, its body."""

    length_bytes: int
    check: int
    body: Body


def encode_dense_records(records: Sequence[DenseRecord], layout_of: LayoutOf) -> bytes:
    """The payload of ``records``; the same for the same records and layouts.

    Raises ValueError: a body whose values are not as many as its templates have slots, or
    numbers of templates or segments of 2**53 and more.
    """
    return _Block(records, layout_of).encode()


@dataclass(slots=True)
class _Line:
    """A value on its way into the text. ``length_bytes`` is what it counts for its record."""

    slot: int
    value: BodyValue
    text: bytes = b""
    length_bytes: int = 0
    parts: Sequence[int] = ()  # of a reference: symbols of the segments that are new, else -1


class _Block:
    def __init__(self, records: Sequence[DenseRecord], layout_of: LayoutOf) -> None:
        self._records = records
        self._templates = sorted({no for record in records for no in record.body.templates})
        self._layouts = {no: layout_of(no) for no in self._templates}
        self._slots: list[_Line] = []
        columns = self._columns()
        for record in records:
            self._take(record.body, columns)
        self._lines = [line for column in columns.values() for line in column]
        self._times: list[int] = []

    def encode(self) -> bytes:
        families, identifiers, repeats = self._identifiers()
        self._literals()
        forms, form_of, segments = self._references()
        lows, highs = self._lengths()
        return join_streams(
            (
                b"".join([line.text + b"\n" for line in self._lines]),
                _ascending(self._templates),
                self._sequence(),
                families,
                identifiers,
                repeats,
                _differences(self._times),
                forms,
                form_of,
                segments,
                lows,
                highs,
                np.array([record.check for record in self._records], "<u4").tobytes(),
            )
        )

    def _columns(self) -> dict[Hashable, list[_Line]]:
        names = [name for no in self._templates for name in self._layouts[no].columns]
        return {name: [] for name in names}

    def _take(self, body: Body, columns: dict[Hashable, list[_Line]]) -> None:
        names = [name for no in body.templates for name in self._layouts[no].columns]
        for name, value in zip(names, body.values, strict=True):
            line = _Line(len(self._slots), value)
            self._slots.append(line)
            columns[name].append(line)

    def _sequence(self) -> bytes:
        place: dict[TemplateNo, int] = {no: at + 1 for at, no in enumerate(self._templates)}
        numbers: list[int] = []
        for record in self._records:
            numbers += [place[no] for no in record.body.templates]
            numbers.append(0)
        return encode_numbers(numbers)

    def _identifiers(self) -> tuple[bytes, bytes, bytes]:
        """Gives lines to identifiers, and to fractions, whose digits look like them."""
        finder = IdentifierFinder()
        for at, line in enumerate(self._lines):
            if isinstance(line.value, bytes):
                line.text = fraction_line(line.value) or b""
                if not line.text:
                    finder.offer(line.value, line.slot, at)
        found_families = finder.families()
        packed = []
        repeated: list[tuple[int, int, int]] = []  # line, family, identifier
        mark = IDENTIFIERS
        for number, found in enumerate(found_families):
            place: dict[bytes, int] = {}
            for use, prefix in found.uses:
                line = self._lines[use.line]
                line.length_bytes = len(found.family.prefixes[prefix]) + len(use.identifier)
                known = place.get(use.identifier)
                if known is None:
                    place[use.identifier] = len(place)
                else:
                    repeated.append((use.line, number, known))
                line.text = bytes((mark + 2 * prefix + (known is not None),))
            mark += 2 * len(found.family.prefixes)
            packed.append(encode_identifiers(found.family, list(place)))
        repeats = []
        previous = [-1] * len(found_families)
        for _, number, at in sorted(repeated):
            repeats.append(zigzag(at - previous[number] - 1))
            previous[number] = at
        families = encode_families([found.family for found in found_families])
        return families, b"".join(packed), encode_numbers(repeats)

    def _literals(self) -> None:
        for line in self._lines:
            if isinstance(line.value, bytes) and not line.length_bytes:
                if not line.text:
                    time = milliseconds_of(line.value)
                    if time is not None:
                        line.text = b"\x03"
                        line.length_bytes = TIME_BYTES
                        self._times.append(time)
                        continue
                    line.text = plain_line(line.value)
                line.length_bytes = len(line.text)

    def _references(self) -> tuple[bytes, bytes, bytes]:
        self._find_new()
        forms: dict[bytes, int] = {}
        form_of = []
        segments = []
        before = -1
        for line in self._lines:
            if isinstance(line.value, References):
                line.text = b"\x01"
                form_of.append(forms.setdefault(_form(line.value), len(forms)))
                for symbol, segment in zip(line.parts, line.value.segments, strict=True):
                    segments.append(symbol if symbol >= 0 else _old(segment, before))
                    before = segment
        return b"".join(forms), encode_numbers(form_of), encode_numbers(segments)

    def _find_new(self) -> None:
        """Segments that exceed all new ones before them are new themselves."""
        newest = -1
        for line in self._slots:
            if isinstance(line.value, References):
                line.parts = parts = []
                for segment in line.value.segments:
                    gap = segment - newest - 1
                    if gap < 0:
                        parts.append(-1)
                    else:
                        parts.append(2 * gap - 1 if gap else 0)
                        newest = segment

    def _lengths(self) -> tuple[bytes, bytes]:
        differences = []
        at = 0
        for record in self._records:
            end = at + len(record.body.values)
            counted = sum(line.length_bytes for line in self._slots[at:end])
            counted += sum(self._layouts[no].fixed_bytes for no in record.body.templates)
            differences.append(zigzag(record.length_bytes - counted))
            at = end
        lows = bytes(difference & 0xFF for difference in differences)
        return lows, encode_numbers([difference >> 8 for difference in differences])


def _form(value: References) -> bytes:
    out = bytearray((value.style,))
    if value.style is Style.TOKENS:
        append_varint(out, len(value.separator))
        out += value.separator
    append_varint(out, len(value.types))
    return bytes(out) + bytes(value.types)


def _old(segment: int, before: int) -> int:
    return 2 * (zigzag(segment - before - 1) + 1)


def _ascending(numbers: Sequence[int]) -> bytes:
    before = [-1, *numbers]
    return encode_numbers([no - before[at] - 1 for at, no in enumerate(numbers)])


def _differences(numbers: Sequence[int]) -> bytes:
    before = [0, *numbers]
    return encode_numbers([zigzag(number - before[at]) for at, number in enumerate(numbers)])
