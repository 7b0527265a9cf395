import json
import tracemalloc
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents import dense_families, dense_finder, dense_lines
from stowkenfs.documents.body import Body, BodyValue, References
from stowkenfs.documents.dense import (
    DenseRecord,
    DenseRecords,
    decode_dense_records,
    encode_dense_records,
)
from stowkenfs.documents.dense_families import Family, decode_identifiers, encode_identifiers
from stowkenfs.documents.dense_layout import (
    TemplateLayout,
    columns_of_template,
    layout_of_template,
)
from stowkenfs.documents.dense_streams import (
    decode_numbers,
    encode_numbers,
    join_streams,
    split_streams,
)
from stowkenfs.documents.pieces import LITERAL, MADE, Pieces
from stowkenfs.documents.values import Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo
from tests.documents.strategies import PATIENT

UUID = "6f1a2b3c-{:04x}-4{:03x}-8123-{:012x}"


def layout_of(number: TemplateNo) -> TemplateLayout:
    """A template of any number: up to 3 slots, in columns that others have too."""
    return TemplateLayout([(number + slot) % 5 for slot in range(number % 4)], number % 97)


@st.composite
def references(draw: st.DrawFn) -> References:
    style = draw(st.sampled_from(Style))
    parts = draw(
        st.lists(
            st.tuples(st.sampled_from(SegmentType), st.integers(0, 2**50) | st.integers(0, 20)),
            max_size=5,
        )
    )
    return References(
        style,
        tuple(type_ for type_, _ in parts),
        tuple(SegmentNo(number) for _, number in parts),
        draw(st.binary(max_size=4)) if style is Style.TOKENS else b"",
    )


def _identifier(number: int) -> bytes:
    scrambled = number * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
    return UUID.format(scrambled & 0xFFFF, scrambled >> 16 & 0xFFF, scrambled >> 80).encode()


LITERALS = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"", b"\n", b"\0", b"\x01", b"\x02", b"\x03", b"\x04", b"\x80", b"\xbf", b"a"]
    ),
    st.text(alphabet="\x04\x05\x06\na", max_size=6).map(str.encode),
    st.integers(0, 12).map(_identifier),
    st.integers(0, 12).map(lambda number: b"toolu_" + _identifier(number)),
    st.integers(0, 9).map(lambda number: b"\n" + _identifier(number)),
    st.from_regex(r"[A-Za-z0-9]{12,70}", fullmatch=True).map(str.encode),
    st.floats().map(repr).map(str.encode),
    st.fractions(0, 10**6, max_denominator=70000).map(lambda f: repr(float(f)).encode()),
    st.datetimes().map(lambda time: f"{time.isoformat(timespec='milliseconds')}Z".encode()),
    st.just(b"2026-02-30T24:00:00.000Z"),
    st.just(b"x" * 100_000),
)


@st.composite
def records(draw: st.DrawFn) -> DenseRecord:
    templates = tuple(map(TemplateNo, draw(st.lists(st.integers(0, 7) | st.integers(0, 2**50)))))
    slots = sum(len(layout_of(number).columns) for number in templates)
    values = draw(st.lists(LITERALS | references(), min_size=slots, max_size=slots))
    return DenseRecord(
        draw(st.integers(0, 2**40)), draw(st.integers(0, 2**32 - 1)), Body(templates, tuple(values))
    )


Parts = tuple[list[int], list[bytes | tuple[Style, list[int]]]]


def in_parts(body: Body) -> Parts | None:
    """What pieces have of a body; None for one that has no pieces."""
    values: list[bytes | tuple[Style, list[int]]] = []
    for value in body.values:
        if isinstance(value, bytes):
            values.append(value)
        elif value.style is Style.TOKENS:
            return None
        else:
            values.append((value.style, list(value.segments)))
    return list(body.templates), values


def parts_of(pieces: Pieces) -> list[Parts | None]:
    values: list[bytes | tuple[Style, list[int]]] = []
    parts_end = 0
    for style, start, end in zip(
        pieces.styles.tolist(), pieces.starts.tolist(), pieces.ends.tolist(), strict=True
    ):
        if style == LITERAL:
            values.append(pieces.source[start:end])
        elif style == MADE:
            assert end == start + 1
            values.append(pieces.made[start])
        else:
            assert start == parts_end
            parts_end = end
            values.append((Style(style), pieces.parts[start:end].tolist()))
    assert parts_end == len(pieces.parts)
    found: list[Parts | None] = []
    first = low = 0
    for last, high in zip(pieces.template_ends.tolist(), pieces.value_ends.tolist(), strict=True):
        found.append((pieces.templates[first:last].tolist(), values[low:high]))
        first, low = last, high
    for at in pieces.alone:
        assert found[at] == ([], [])
        found[at] = None
    return found


def check(expected: Sequence[DenseRecord], found: DenseRecords) -> None:
    assert len(found) == len(expected)
    bodies = [record.body for record in expected]
    assert [found.body(at) for at in range(len(found))] == bodies
    for places in (range(len(found)), range(1, len(found), 2)):
        assert parts_of(found.pieces(places)) == [in_parts(bodies[at]) for at in places]
    assert found.lengths.tolist() == [record.length_bytes for record in expected]
    assert found.checks.tolist() == [record.check for record in expected]
    assert found.checks.dtype == np.uint32


@PATIENT
@given(st.lists(records(), max_size=12))
def test_records_come_back(written: list[DenseRecord]) -> None:
    payload = encode_dense_records(written, layout_of)
    check(written, decode_dense_records(payload, len(written), layout_of))
    assert encode_dense_records(written, layout_of) == payload


def chat(count: int) -> tuple[list[DenseRecord], bytes]:
    template = b'{"uuid":"\0","parent":"\0","id":"\0","ratio":\0,"at":"\0","text":"\0","n":\0}\n'
    written = []
    for number in range(count):
        values: list[BodyValue] = [
            _identifier(number),
            _identifier(number - 1),
            b"toolu_" + _identifier(number // 2 + 10**6),
            repr(number / 97).encode(),
            f"2026-02-12T07:{number % 60:02}:38.517Z".encode(),
            References(
                Style.MINIMAL if number % 3 else Style.TOKENS,
                (SegmentType.USER_TURN, SegmentType.OTHER),
                (SegmentNo(100 + number), SegmentNo(100 + number // 2)),
                b"" if number % 3 else b", ",
            ),
            b"line\nfeed",
        ]
        written.append(DenseRecord(500 + number, number, Body((TemplateNo(0),), tuple(values))))
    return written, template


def test_forms_are_used() -> None:
    written, template = chat(64)
    payload = encode_dense_records(written, lambda _: layout_of_template(template))
    found = decode_dense_records(payload, 64, lambda _: layout_of_template(template))
    assert found.body(40) == written[40].body  # before any other
    check(written, found)
    marks = {line[:1] for line in split_streams(payload, 13)[0].split(b"\n")}
    assert {b"\x01", b"\x02", b"\x03", b"\x04", b"\x80", b"\x81"} <= marks
    assert len(payload) < 64 * 100
    assert found.cost_bytes > len(payload)


def test_bytes_of_a_block() -> None:
    template = b'{"role":"\0","text":"\0"}'
    user = (SegmentType.USER_TURN,)
    written = [
        DenseRecord(
            30 + at,
            7,
            Body((TemplateNo(3),), (b"me", References(Style.ASCII, user, (SegmentNo(segment),)))),
        )
        for at, segment in enumerate((9, 10, 9))
    ]
    payload = encode_dense_records(written, lambda _: layout_of_template(template))
    assert payload.hex(" ") == (
        "0f 01 06 00 00 00 00 03 03 03 03 03 0c "  # sizes of the streams
        "6d 65 0a 6d 65 0a 6d 65 0a 01 0a 01 0a 01 0a "  # me, three times; three references
        "03 "  # template 3
        "01 00 01 00 01 00 "  # the first template, end of record
        "02 01 02 "  # a form: style 2, one part, type 2
        "00 00 00 "  # which all have
        "11 00 08 "  # 9 is 9 more than expected, 10 the next; 9 again: 2 * (zigzag(-2) + 1)
        "0e 10 12 00 00 00 "  # 21 bytes of template and two of me: 7, 8, 9 more
        "07 00 00 00 07 00 00 00 07 00 00 00"
    )


@given(st.binary(max_size=300), st.integers(0, 5))
def test_hostile_blocks(payload: bytes, count: int) -> None:
    read_all(payload, count)


@PATIENT
@given(st.lists(st.binary(max_size=30), min_size=13, max_size=13), st.integers(0, 9))
def test_hostile_streams(streams: list[bytes], count: int) -> None:
    streams[10], streams[12] = bytes(count), bytes(4 * count)
    read_all(join_streams(streams), count)


@PATIENT
@given(st.data())
def test_damaged_blocks(data: st.DataObject) -> None:
    written, template = chat(9)
    payload = bytearray(encode_dense_records(written, lambda _: layout_of_template(template)))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] ^= data.draw(st.integers(1, 255))
    read_all(bytes(payload), 9, layout_of_template(template))


@PATIENT
@given(st.integers(0, 12), st.binary(max_size=60))
def test_a_replaced_stream(which: int, stream: bytes) -> None:
    written, template = chat(9)
    payload = encode_dense_records(written, lambda _: layout_of_template(template))
    streams = split_streams(payload, 13)
    streams[which] = stream
    read_all(join_streams(streams), 9, layout_of_template(template))


def read_all(payload: bytes, count: int, layout: TemplateLayout | None = None) -> None:
    try:
        found = decode_dense_records(
            payload, count, layout_of if layout is None else lambda _: layout
        )
    except RecordCorrupt:
        return
    for at in range(len(found)):
        try:
            found.body(at)
        except RecordCorrupt:
            continue


def test_many_slots_for_few_lines() -> None:
    """Templates with many slots are not laid out before there are lines for them."""
    empty = [b""] * 13
    empty[1] = b"\0"
    empty[2] = b"\x01" * 50_000 + b"\0"
    empty[10:] = [b"\0", b"\0", bytes(4)]
    layout = TemplateLayout(range(16_000), 0)
    tracemalloc.start()
    with pytest.raises(RecordCorrupt):
        decode_dense_records(join_streams(empty), 1, lambda _: layout)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_values_have_to_fit_slots() -> None:
    record = DenseRecord(0, 0, Body((TemplateNo(1),), ()))
    with pytest.raises(ValueError, match="shorter"):
        encode_dense_records([record], layout_of)


def test_columns() -> None:
    assert columns_of_template(b'\0,{"a" : "\0", "b":[\0,"\0"],"c\\"":\0}') == (
        *(b"", b"a", b"b", b"b"),
        b"",
    )
    assert columns_of_template(b"\0") == (b"",)
    assert layout_of_template(b'{"a":\0}\n') == TemplateLayout((b"a",), 7)


@given(st.lists(st.integers(0, 2**56 - 1)))
def test_numbers(numbers: list[int]) -> None:
    assert decode_numbers(encode_numbers(numbers)).tolist() == numbers


@pytest.mark.parametrize("number", [-1, 2**56])
def test_numbers_have_limits(number: int) -> None:
    with pytest.raises(ValueError, match="no number"):
        encode_numbers([number])


@pytest.mark.parametrize("stream", [b"\x80", b"\x01\xff", b"\x80" * 8 + b"\x01"])
def test_no_numbers(stream: bytes) -> None:
    with pytest.raises(RecordCorrupt):
        decode_numbers(stream)


@pytest.mark.parametrize(
    ("literal", "line"),
    [
        (b"0.0861244019138756", b"\x0218/209"),
        (b"-0.012908935546875", b"\x02-423/32768"),
        (b"29.857142857142858", b"\x02209/7"),
        (b"0.25", None),
        (b"0.250000000", None),
        (b"0.3333333333333333333", None),
        (b"1.1711655855178833", None),
        (b"8.333333333333333e-05", None),
    ],
)
def test_fractions(literal: bytes, line: bytes | None) -> None:
    assert dense_lines.fraction_line(literal) == line
    if line is not None:
        assert dense_lines.literal_of_fraction(line) == literal


@pytest.mark.parametrize(
    "line", [b"\x02", b"\x021/0", b"\x021", b"\x021/123456789012345678", b"\x021/99999999"]
)
def test_no_fractions(line: bytes) -> None:
    with pytest.raises(RecordCorrupt):
        dense_lines.literal_of_fraction(line)


@given(st.binary(max_size=20) | st.text(alphabet="\x04\x05\x06\n\x80", max_size=8).map(str.encode))
def test_plain_lines(literal: bytes) -> None:
    line = dense_lines.plain_line(literal)
    assert b"\n" not in line
    assert (dense_lines.literal_of_escaped(line) if line[:1] == b"\x04" else line) == literal


@given(st.datetimes())
def test_times(time: object) -> None:
    literal = f"{time.isoformat(timespec='milliseconds')}Z".encode()  # type: ignore[attr-defined]
    milliseconds = dense_lines.milliseconds_of(literal)
    assert milliseconds is not None
    times = np.array([milliseconds])
    dense_lines.check_times(times)
    assert dense_lines.literals_of_times(times) == [literal]


@pytest.mark.parametrize(
    "literal",
    [
        b"2026-02-12T07:35:38.517+",
        b"2026-02-29T07:35:38.517Z",
        b"2026-02-12 07:35:38.517Z",
        b"2026-02-12T07:35:60.517Z",
        b"0000-02-12T07:35:38.517Z",
    ],
)
def test_no_times(literal: bytes) -> None:
    assert dense_lines.milliseconds_of(literal) is None


@given(
    st.lists(
        st.sampled_from([*range(len(dense_families.ALPHABETS)), ord("-")]), min_size=1, max_size=64
    ).flatmap(
        lambda alphabets: st.tuples(
            st.just(bytes(alphabets)),
            st.lists(
                st.tuples(
                    *(
                        st.just(a) if a >= 32 else st.sampled_from(dense_families.ALPHABETS[a])
                        for a in alphabets
                    )
                ).map(bytes),
                min_size=1,
                max_size=5,
            ),
        )
    )
)
def test_identifiers(drawn: tuple[bytes, list[bytes]]) -> None:
    alphabets, identifiers = drawn
    family = Family(alphabets, (b"",))
    packed = encode_identifiers(family, identifiers)
    assert len(packed) == family.bytes_of(len(identifiers))
    assert decode_identifiers(family, packed, len(identifiers)) == identifiers
    found = dense_families.alphabets_of(identifiers)
    assert found is not None
    packed = encode_identifiers(Family(found, ()), identifiers)
    assert decode_identifiers(Family(found, ()), packed, len(identifiers)) == identifiers


def test_a_uuid_takes_122_bits() -> None:
    digits = "0123456789abcdef"
    uuids = [
        f"{n * 8}-{n * 4}-4{n * 3}-{'89ab'[at % 4]}{n * 3}-{n * 12}".encode()
        for at, n in enumerate(digits)
    ]
    alphabets = dense_families.alphabets_of(uuids)
    assert alphabets is not None
    assert Family(alphabets, (b"",)).bits == 122


def test_an_identifier_outside_of_its_alphabet() -> None:
    with pytest.raises(RecordCorrupt):
        decode_identifiers(Family(b"\x01", (b"",)), b"\xf0", 1)


@pytest.mark.parametrize(
    ("literal", "parts"),
    [
        (b"toolu_014kQMbhbCjz4NDJdxhWxskS", (b"toolu_", b"014kQMbhbCjz4NDJdxhWxskS")),
        (_identifier(5), (b"", _identifier(5))),
        (b"agent-" + _identifier(5), (b"agent-", _identifier(5))),
        (b"short", None),
        (b"a sentence, with words of usual size", None),
        (b"x" * 30 + b"_014kQMbhbCjz4NDJdxhWxskS", None),
    ],
)
def test_splitting(literal: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert dense_finder.split_literal(literal) == parts


def test_json_documents_become_smaller() -> None:
    """The point of it, on a small scale: parents cost next to nothing."""
    lines = [
        json.dumps({"uuid": _identifier(n).decode(), "parent": _identifier(n - 1).decode()})
        for n in range(200)
    ]
    template = TemplateNo(0)
    written = [
        DenseRecord(len(line), 0, Body((template,), (_identifier(n), _identifier(n - 1))))
        for n, line in enumerate(lines)
    ]
    layout = layout_of_template(b'{"uuid": "\0", "parent": "\0"}')
    payload = encode_dense_records(written, lambda _: layout)
    sizes = list(map(len, split_streams(payload, 13)))
    assert sizes[5] < 202  # one byte a parent
    assert sizes[4] <= 201 * 16
