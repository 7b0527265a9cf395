import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents.body import Body, References, decode_body, encode_body, render_body
from stowkenfs.documents.values import Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo


@st.composite
def references(draw: st.DrawFn) -> References:
    style = draw(st.sampled_from(Style))
    parts = draw(
        st.lists(st.tuples(st.sampled_from(SegmentType), st.integers(0, 2**40)), max_size=5)
    )
    return References(
        style,
        tuple(type_ for type_, _ in parts),
        tuple(SegmentNo(number) for _, number in parts),
        draw(st.binary(max_size=4)) if style is Style.TOKENS else b"",
    )


@given(
    st.lists(st.integers(0, 2**40).map(TemplateNo)),
    st.lists(st.one_of(st.binary(max_size=200), references())),
)
def test_bodies_come_back(templates: list[TemplateNo], values: list[bytes | References]) -> None:
    body = encode_body(templates, values)
    assert decode_body(body) == Body(tuple(templates), tuple(values))


def test_bytes_of_a_body() -> None:
    user, assistant = SegmentType.USER_TURN, SegmentType.ASSISTANT_TURN
    values: list[bytes | References] = [
        b"hi",
        References(Style.ASCII, (user,), (SegmentNo(0),)),
        References(Style.MINIMAL, (user, assistant), (SegmentNo(1), SegmentNo(9))),
        References(Style.TOKENS, (user,), (SegmentNo(8),), b", "),
    ]
    assert encode_body([300, 1], values).hex(" ") == (
        "02 ac 02 01 "  # two templates: 300, 1
        "04 68 69 "  # two literal bytes
        "25 02 00 "  # one part, style 2; a user turn, the next segment
        "43 02 00 03 0e "  # two parts, style 1; the next segment, and 7 further on
        "3f 02 2c 20 02 03"  # one part, style 15; separator; two back from the next
    )


@given(st.binary(max_size=100))
def test_hostile_bodies(body: bytes) -> None:
    try:
        decoded = decode_body(body)
    except RecordCorrupt:
        return
    with suppress(RecordCorrupt):
        render_body(decoded, lambda number: b"\0" * (number % 3), lambda number, style: b"\xff")


@given(st.binary(max_size=30), st.integers(0, 29), st.integers(1, 255))
def test_damaged_bodies(literal: bytes, at: int, flip: int) -> None:
    values: list[bytes | References] = [
        literal,
        References(Style.ASCII, (SegmentType.OTHER,), (SegmentNo(3),)),
    ]
    body = bytearray(encode_body([1, 2], values))
    body[at % len(body)] ^= flip
    with suppress(RecordCorrupt):
        decode_body(bytes(body))


def test_rendering() -> None:
    body = Body(
        (TemplateNo(0), TemplateNo(1)),
        (
            b"user",
            References(Style.ASCII, (SegmentType.USER_TURN,) * 2, (SegmentNo(0), SegmentNo(1))),
            References(Style.BASE64, (SegmentType.OTHER,) * 2, (SegmentNo(2), SegmentNo(3))),
            References(Style.TOKENS, (SegmentType.OTHER,), (SegmentNo(4),), b", "),
        ),
    )
    templates = [b'{"role":"\0","content":"\0",', b'{"b":"\0","ids":[\0]}']
    parts: list[bytes | list[int]] = [b"a\n", "\u00e9".encode(), b"f", b"oo", [7, 8, 9]]
    content = render_body(body, templates.__getitem__, lambda number, _: parts[number])
    assert content == b'{"role":"user","content":"a\\n\\u00e9",{"b":"Zm9v","ids":[7, 8, 9]}'


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (References(Style.ASCII, (SegmentType.OTHER,), (SegmentNo(0),)), b"\xff"),
        (References(Style.ASCII, (SegmentType.OTHER,), (SegmentNo(0),)), [1, 2]),
        (References(Style.TOKENS, (SegmentType.OTHER,), (SegmentNo(0),)), b"text"),
        (b"literal", b""),
    ],
)
def test_parts_and_slots_that_do_not_fit(value: bytes | References, part: bytes) -> None:
    template = b"no slot" if isinstance(value, bytes) else b"\0"
    with pytest.raises(RecordCorrupt):
        render_body(Body((TemplateNo(0),), (value,)), lambda _: template, lambda *_: part)


def test_a_record_renders_in_well_under_a_millisecond() -> None:
    values: list[bytes | References] = []
    for number in range(40):
        values += [
            b"assistant",
            References(Style.ASCII, (SegmentType.OTHER,), (SegmentNo(number),)),
        ]
    body = encode_body([0] * 40, values)
    text = ("It costs 5 \u20ac.\n" * 23).encode()
    best = float("inf")
    for _ in range(20):
        started = time.perf_counter()
        content = render_body(
            decode_body(body), lambda _: b'{"role":"\0","content":"\0"},', lambda *_: text
        )
        best = min(best, time.perf_counter() - started)
    assert len(content) > 16_000
    assert best < 0.001
