"""Reading dense blocks (``dense`` has the format): arrays for all lines, bodies one at a time."""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.documents.body import Body, BodyValue, References
from stowkenfs.documents.dense_families import Family, decode_families, decode_identifiers
from stowkenfs.documents.dense_forms import decode_forms
from stowkenfs.documents.dense_layout import LayoutOf
from stowkenfs.documents.dense_lines import (
    ESCAPED,
    FRACTION,
    IDENTIFIERS,
    IDENTIFIERS_END,
    REFERENCE,
    TIME,
    TIME_BYTES,
    check_times,
    literal_of_escaped,
    literal_of_fraction,
    literals_of_times,
)
from stowkenfs.documents.dense_streams import (
    Numbers,
    decode_numbers,
    split_streams,
    unzigzag_numbers,
)
from stowkenfs.documents.pieces import LITERAL, MADE, Pieces
from stowkenfs.documents.values import Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo, TemplateNo

_STREAMS: Final = 13
_LENGTH_MAX: Final = 1 << 48

LINES_MAX: Final = 1 << 21
"""Values of a block, of some 60 bytes each when it is unpacked."""

# Marks that stand alone in their line.
_ALONE = np.zeros(256, np.bool_)
_ALONE[[REFERENCE, TIME]] = True
_ALONE[IDENTIFIERS:IDENTIFIERS_END] = True
# The mark of a line by its first byte; 0 where the line is its value.
_MARKS = np.where(_ALONE, np.arange(256), 0).astype(np.uint8)
_MARKS[[FRACTION, ESCAPED]] = FRACTION, ESCAPED


def decode_dense_records(
    payload: bytes, count: int, layout_of: LayoutOf, begin: int = 0
) -> "DenseRecords":
    """The ``count`` records of a dense block, whose payload begins at byte ``begin``.

    Raises RecordCorrupt, and what ``layout_of`` raises; what is wrong with a single fraction
    or an identifier shows when a body is asked for.
    """
    return DenseRecords(payload, count, layout_of, begin)


class DenseRecords:
    """The records of a dense block. Immutable, but for what it remembers of decoded values.

    ``lengths`` has the bytes of each record's content, int64, ``checks`` its check, uint32:
    shape (n,).
    """

    def __init__(self, payload: bytes, count: int, layout_of: LayoutOf, begin: int = 0) -> None:
        streams = split_streams(payload, _STREAMS, begin)
        (self._text, templates, sequence, families, self._packed, repeats, times) = streams[:7]
        forms, form_of, segments, lows, highs, checks = streams[7:]
        if len(lows) != count or len(checks) != 4 * count:
            raise RecordCorrupt(f"dense block: {len(lows)} lengths for {count} records")
        self.checks: npt.NDArray[np.uint32] = np.frombuffer(checks, "<u4")
        self._families = decode_families(families)
        self._forms = decode_forms(forms)
        self._numbers: list[int] = (np.cumsum(decode_numbers(templates) + 1) - 1).tolist()
        self._find_lines()
        fixed = self._find_slots(decode_numbers(sequence), count, layout_of)
        # For a reference, time or identifier its number among its like: int64, shape (lines,).
        self._rank: Numbers = np.zeros(len(self._marks), np.int64)
        self._rank_references(decode_numbers(form_of), decode_numbers(segments))
        self._rank_times(decode_numbers(times))
        self._rank_identifiers(decode_numbers(repeats))
        self.lengths: Numbers = self._find_lengths(fixed, lows, decode_numbers(highs))

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def cost_bytes(self) -> int:
        """About what this takes in memory once everything in it was asked for."""
        times = len(self._times) * (TIME_BYTES + 41)
        identifiers = sum(self._counts) * 100
        return (
            len(self._text)
            + len(self._packed)
            + 29 * len(self._marks)
            + 8 * len(self._segments)
            + 16 * len(self._form_of)
            + 4 * len(self._sequence)
            + 28 * len(self.lengths)
            + times
            + identifiers
        )

    def body(self, at: int) -> Body:
        """The body of record ``at``, 0 to n-1. Raises RecordCorrupt."""
        first, last = self._slots(at)
        lines = self._line_of_slot[first:last]
        text = self._text
        values: list[BodyValue] = [
            text[a:b]
            for a, b in zip(self._starts[lines].tolist(), self._ends[lines].tolist(), strict=True)
        ]
        marks = self._marks[lines]
        for index in np.flatnonzero(marks).tolist():
            rank = int(self._rank[lines[index]])
            values[index] = self._marked(int(marks[index]), rank, values[index])
        return Body(self._templates(at), tuple(values))

    def pieces(self, places: Sequence[int]) -> Pieces:
        """Many records as columns. Raises RecordCorrupt."""
        at = np.array(places, np.int64)
        slot_ends, template_ends = self._slot_ends[at], self._sequence_ends[at]
        slot_starts = np.where(at, self._slot_ends[at - 1], 0)
        template_starts = np.where(at, self._sequence_ends[at - 1] + 1, 0)
        alone = np.flatnonzero(np.isin(at, self._with_ids)) if len(self._with_ids) else at[:0]
        slot_ends[alone], template_ends[alone] = slot_starts[alone], template_starts[alone]
        lines = self._line_of_slot[_ranges(slot_starts, slot_ends)]
        marks = self._marks[lines]
        starts, ends = self._starts[lines].astype(np.int64), self._ends[lines].astype(np.int64)
        styles = np.full(len(lines), LITERAL, np.uint8)
        references = np.flatnonzero(marks == REFERENCE)
        ranks = self._rank[lines[references]]
        forms = self._form_of[ranks]
        styles[references] = self._form_styles[forms]
        part_ends, sizes = self._part_ends[ranks], self._form_sizes[forms]
        ends[references] = np.cumsum(sizes)
        starts[references] = ends[references] - sizes
        made = self._made(marks, lines)
        others = np.fromiter(made, np.int64, len(made))
        styles[others] = MADE
        starts[others] = np.arange(len(made))
        ends[others] = starts[others] + 1
        return Pieces(
            self._text,
            np.array(self._template_nos)[self._sequence[_ranges(template_starts, template_ends)]],
            np.cumsum(template_ends - template_starts),
            styles,
            starts,
            ends,
            np.cumsum(slot_ends - slot_starts),
            self._segments[_ranges(part_ends - sizes, part_ends)],
            alone.tolist(),
            list(made.values()),
        )

    def _made(self, marks: npt.NDArray[np.uint8], lines: npt.NDArray[np.int32]) -> dict[int, bytes]:
        """The values of lines that have a mark and are no references, by their places."""
        made: dict[int, bytes] = {}
        is_other = (marks != 0) & (marks != REFERENCE)
        for mark in np.flatnonzero(np.bincount(marks[is_other], minlength=256)).tolist():
            places = np.flatnonzero(marks == mark)
            ranks = self._rank[lines[places]].tolist()
            if mark >= IDENTIFIERS:
                number, prefix = self._prefixes[(mark - IDENTIFIERS) >> 1]
                values = list(map(self._identifiers_of(number).__getitem__, ranks))
                if prefix:
                    values = [prefix + identifier for identifier in values]
            elif mark == TIME:
                values = [self._time_literals[rank] for rank in ranks]
            else:
                starts, ends = self._starts[lines[places]], self._ends[lines[places]]
                bounds = zip(starts.tolist(), ends.tolist(), strict=True)
                literal = literal_of_fraction if mark == FRACTION else literal_of_escaped
                values = [literal(self._text[start:end]) for start, end in bounds]
            made.update(zip(places.tolist(), values, strict=True))
        return made

    @cached_property
    def _with_ids(self) -> Numbers:
        """Places of the records that have lists of token ids, which are no pieces."""
        if Style.TOKENS not in self._form_styles:
            return np.empty(0, np.int64)
        with_ids = self._form_styles[self._form_of] == Style.TOKENS
        lines = np.flatnonzero(self._marks == REFERENCE)[with_ids]
        return np.unique(np.searchsorted(self._slot_ends, self._slot_of_line[lines], "right"))

    def _slots(self, at: int) -> tuple[int, int]:
        return int(self._slot_ends[at - 1]) if at else 0, int(self._slot_ends[at])

    def _templates(self, at: int) -> tuple[TemplateNo, ...]:
        start = int(self._sequence_ends[at - 1]) + 1 if at else 0
        end = int(self._sequence_ends[at])
        if end == start + 1:
            return (self._template_nos[self._sequence[start]],)
        return tuple([self._template_nos[place] for place in self._sequence[start:end].tolist()])

    def _marked(self, mark: int, rank: int, value: BodyValue) -> BodyValue:
        """The value of a line with a mark; ``rank``: its number among its like."""
        if mark >= IDENTIFIERS:
            number, prefix = self._prefixes[(mark - IDENTIFIERS) >> 1]
            return prefix + self._identifiers_of(number)[rank]
        if mark == REFERENCE:
            return self._reference(rank)
        if mark == TIME:
            return self._time_literals[rank]
        assert isinstance(value, bytes)
        return literal_of_fraction(value) if mark == FRACTION else literal_of_escaped(value)

    def _reference(self, rank: int) -> References:
        form = self._forms[self._form_of[rank]]
        end = int(self._part_ends[rank])
        segments = self._segments[end - len(form.types) : end].tolist()
        return References(form.style, form.types, tuple(map(SegmentNo, segments)), form.separator)

    def _find_lines(self) -> None:
        if self._text.count(b"\n") > LINES_MAX:
            raise RecordCorrupt(f"dense block: more than {LINES_MAX} values")
        byte = np.frombuffer(self._text, np.uint8)
        ends = _line_feeds(self._text)
        if (int(ends[-1]) + 1 if len(ends) else 0) != len(byte):
            raise RecordCorrupt("dense block: the last line does not end")
        self._ends = ends.astype(np.int32)
        self._starts = np.zeros_like(self._ends)
        self._starts[1:] = self._ends[:-1] + 1
        # The first byte of an empty line is its line feed, which is no mark.
        self._marks = _MARKS[byte[self._starts]]
        if (_ALONE[self._marks] & (self._ends - self._starts != 1)).any():
            raise RecordCorrupt("dense block: something follows a mark that stands alone")

    def _find_slots(self, sequence: Numbers, count: int, layout_of: LayoutOf) -> Numbers:
        """Where slots have their lines; returns the fixed bytes of each record."""
        if len(sequence) and (int(sequence.max()) > len(self._numbers) or sequence[-1]):
            raise RecordCorrupt("dense block: a template that is not in the table")
        if min(self._numbers, default=0) < 0:
            raise RecordCorrupt("dense block: a template below 0")
        self._template_nos = [TemplateNo(0), *map(TemplateNo, self._numbers)]
        layouts = [layout_of(no) for no in self._template_nos[1:]]
        record_ends = np.flatnonzero(sequence == 0)
        if len(record_ends) != count:
            raise RecordCorrupt(f"dense block: templates of {len(record_ends)} records")
        columns: dict[object, int] = {}
        # Template 0 stands for the end of a record, and has no slots.
        flat = np.array(
            [columns.setdefault(c, len(columns)) for layout in layouts for c in layout.columns],
            np.int32,
        )
        slots = np.array([0, *(len(layout.columns) for layout in layouts)], np.int64)
        fixed = np.array([0, *(layout.fixed_bytes for layout in layouts)], np.int64)
        per_template = slots[sequence]
        slot_ends = np.cumsum(per_template)
        total = int(slot_ends[-1]) if len(slot_ends) else 0
        if total != len(self._marks):
            raise RecordCorrupt(f"dense block: {len(self._marks)} values for {total} slots")
        first = np.cumsum(slots) - slots
        offsets = (first[sequence] - (slot_ends - per_template)).astype(np.int32)
        column = flat[np.repeat(offsets, per_template) + np.arange(total, dtype=np.int32)]
        # A stable sort of 16-bit numbers is a radix sort.
        small = column.astype(np.uint16) if len(columns) <= 1 << 16 else column
        self._slot_of_line = np.argsort(small, kind="stable")
        self._line_of_slot = np.empty(total, np.int32)
        self._line_of_slot[self._slot_of_line] = np.arange(total, dtype=np.int32)
        self._sequence = sequence.astype(np.int32)
        self._sequence_ends = record_ends
        self._slot_ends = slot_ends[record_ends]
        fixed_ends = np.cumsum(fixed[sequence])[record_ends]
        return np.diff(fixed_ends, prepend=0)

    def _rank_references(self, form_of: Numbers, symbols: Numbers) -> None:
        lines = np.flatnonzero(self._marks == REFERENCE)
        if len(lines) != len(form_of):
            raise RecordCorrupt(f"dense block: {len(form_of)} forms of {len(lines)} references")
        if len(form_of) and int(form_of.max()) >= len(self._forms):
            raise RecordCorrupt("dense block: a form that is not in the table")
        self._rank[lines] = np.arange(len(lines))
        self._form_styles = np.array([form.style for form in self._forms], np.uint8)
        self._form_sizes = np.array([len(form.types) for form in self._forms], np.int64)
        parts = self._form_sizes[form_of]
        part_ends = np.cumsum(parts)
        if (int(part_ends[-1]) if len(part_ends) else 0) != len(symbols):
            raise RecordCorrupt(f"dense block: {len(symbols)} segments do not fit the forms")
        self._form_of = form_of
        self._part_ends = part_ends
        self._segments = _segments_of(symbols, np.repeat(self._slot_of_line[lines], parts))
        if len(symbols) and int(self._segments.min()) < 0:
            raise RecordCorrupt("dense block: a segment below 0")

    def _rank_times(self, differences: Numbers) -> None:
        lines = np.flatnonzero(self._marks == TIME)
        if len(lines) != len(differences):
            raise RecordCorrupt(f"dense block: {len(differences)} times for {len(lines)} lines")
        self._rank[lines] = np.arange(len(lines))
        self._times: Numbers = np.cumsum(unzigzag_numbers(differences))
        check_times(self._times)

    def _rank_identifiers(self, repeats: Numbers) -> None:
        self._prefixes: list[tuple[int, bytes]] = [
            (number, prefix)
            for number, family in enumerate(self._families)
            for prefix in family.prefixes
        ]
        lines = np.flatnonzero(self._marks >= IDENTIFIERS)
        marks = self._marks[lines] - IDENTIFIERS
        if len(marks) and int(marks.max()) >= 2 * len(self._prefixes):
            raise RecordCorrupt("dense block: an identifier of no family")
        is_repeat = (marks & 1).astype(np.bool_)
        if int(is_repeat.sum()) != len(repeats):
            raise RecordCorrupt(f"dense block: {len(repeats)} repeats are not as many as marks")
        family_of = np.array([number for number, _ in self._prefixes], np.int64)[marks >> 1]
        steps = np.zeros(len(lines), np.int64)
        steps[is_repeat] = unzigzag_numbers(repeats) + 1
        self._counts: list[int] = []
        self._pieces: list[bytes] = []
        at = 0
        for number, family in enumerate(self._families):
            mine = family_of == number
            new = lines[mine & ~is_repeat]
            order = np.argsort(self._slot_of_line[new])
            self._rank[new[order]] = np.arange(len(new))
            again = mine & is_repeat
            places = np.cumsum(steps[again]) - 1
            if len(places) and (places.min() < 0 or places.max() >= len(new)):
                raise RecordCorrupt("dense block: a repeat of no identifier")
            self._rank[lines[again]] = places
            self._counts.append(len(new))
            end = at + family.bytes_of(len(new))
            self._pieces.append(self._packed[at:end])
            at = end
        if at != len(self._packed):
            raise RecordCorrupt(f"dense block: {len(self._packed)} bytes of identifiers, not {at}")
        self._decoded: dict[int, list[bytes]] = {}  # family -> its identifiers

    def _find_lengths(self, fixed: Numbers, lows: bytes, highs: Numbers) -> Numbers:
        if len(highs) != len(lows):
            raise RecordCorrupt(f"dense block: {len(highs)} lengths for {len(lows)} records")
        weights = np.zeros(256, np.int64)
        weights[TIME] = TIME_BYTES
        for number, (family, prefix) in enumerate(self._prefixes):
            length = len(prefix) + len(self._families[family].alphabets)
            weights[IDENTIFIERS + 2 * number : IDENTIFIERS + 2 * number + 2] = length
        alone = _ALONE[self._marks]
        line_bytes = np.where(alone, weights[self._marks], self._ends - self._starts)
        sums = np.zeros(len(line_bytes) + 1, np.int64)
        np.cumsum(line_bytes[self._line_of_slot], out=sums[1:])
        counted = np.diff(sums[self._slot_ends], prepend=0) + fixed
        zigzags = np.frombuffer(lows, np.uint8) + (highs << 8)
        lengths = counted + unzigzag_numbers(zigzags)
        if len(lengths) and (int(lengths.min()) < 0 or int(lengths.max()) > _LENGTH_MAX):
            raise RecordCorrupt("dense block: a length that no record has")
        return lengths

    def _identifiers_of(self, number: int) -> list[bytes]:
        decoded = self._decoded.get(number)
        if decoded is None:
            family: Family = self._families[number]
            decoded = decode_identifiers(family, self._pieces[number], self._counts[number])
            self._decoded[number] = decoded
        return decoded

    @cached_property
    def _time_literals(self) -> list[bytes]:
        return literals_of_times(self._times)


def _line_feeds(text: bytes) -> npt.NDArray[np.integer]:
    if kernels.compiled is not None:
        return np.frombuffer(kernels.compiled.places_of(text, 0x0A), np.uint32)
    return np.flatnonzero(np.frombuffer(text, np.uint8) == 0x0A)


def _ranges(starts: Numbers, ends: Numbers) -> Numbers:
    """The numbers of each range from a start to its end, one range after the other."""
    counts = ends - starts
    shifts = starts - (np.cumsum(counts) - counts)
    return np.repeat(shifts, counts) + np.arange(int(counts.sum()))


def _segments_of(symbols: Numbers, slots: Numbers) -> Numbers:
    """The segments of all parts, in order of lines; ``slots`` are the parts' slots."""
    is_new = (symbols & 1 | (symbols == 0)).astype(np.bool_)
    new = np.flatnonzero(is_new)
    by_slot = new[np.argsort(slots[new], kind="stable")]
    segments = np.zeros(len(symbols), np.int64)
    segments[by_slot] = np.cumsum((symbols[by_slot] + 1) // 2 + 1) - 1
    steps = np.where(is_new, 0, unzigzag_numbers(symbols // 2 - 1) + 1)
    walked = np.cumsum(steps)
    # Each part is as far from the last new one as the steps between; before any, from -1.
    last_new = np.maximum.accumulate(np.where(is_new, np.arange(len(symbols)), -1))
    base = np.where(last_new < 0, -1, segments[last_new] - walked[last_new])
    found: Numbers = base + walked
    return found
