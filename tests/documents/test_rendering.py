"""Records rendered together; the oracle renders them one by one."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents.body import Body, BodyValue, References, render_body
from stowkenfs.documents.rendering import MINIMAL_ESCAPES, render_bodies
from stowkenfs.documents.styles import write
from stowkenfs.documents.values import Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo
from tests.documents.strategies import PATIENT, TEXTS

CONTENTS = ["", "plain", 'a"b\\c\n\t\x00\x1f\x7f/', "\u2028 <&> \u00e9 \u4f60 \U0001f600", "x" * 99]
TEMPLATES = [b"\0", b'{"a":"\0"', b',"b":\0}\n', b"no slot", b"\0\0"]


def text_of(number: int) -> bytes:
    return CONTENTS[number % len(CONTENTS)].encode()


def minimal_of(numbers: Iterable[SegmentNo]) -> dict[int, bytes]:
    return {number: write(Style.MINIMAL, [text_of(number)]) for number in numbers}


def template_of(number: TemplateNo) -> bytes:
    return TEMPLATES[number % len(TEMPLATES)]


def part_of(number: SegmentNo, style: Style) -> bytes | list[int]:
    return [number, 2, 3] if style is Style.TOKENS else text_of(number)


def together(bodies: list[Body]) -> list[bytes]:
    return render_bodies(
        bodies,
        template_of,
        part_of,
        lambda numbers: {number: text_of(number) for number in numbers},
        minimal_of,
    )


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    numbers = st.integers(0, 20)
    templates = tuple(map(TemplateNo, draw(st.lists(numbers, max_size=4))))
    values: list[BodyValue] = []
    for _ in range(sum(template_of(number).count(b"\0") for number in templates)):
        if draw(st.booleans()):
            values.append(draw(st.binary(max_size=5)))
            continue
        style = draw(st.sampled_from(Style))
        segments = tuple(map(SegmentNo, draw(st.lists(numbers, min_size=1, max_size=3))))
        separator = b", " if style is Style.TOKENS else b""
        types = (SegmentType.OTHER,) * len(segments)
        values.append(References(style, types, segments, separator))
    return Body(templates, tuple(values))


@PATIENT
@given(st.lists(bodies()))
def test_together_as_one_by_one(drawn: list[Body]) -> None:
    assert together(drawn) == [render_body(body, template_of, part_of) for body in drawn]


@pytest.mark.parametrize("values", [(), (b"1", b"2")])
def test_values_that_do_not_fit(values: tuple[bytes, ...]) -> None:
    with pytest.raises(RecordCorrupt):
        together([Body((TemplateNo(0),), values)])


@PATIENT
@given(TEXTS | st.text())
def test_minimal_escapes_are_those_of_the_style(text: str) -> None:
    content = text.encode(errors="replace")
    found = content
    for byte, escape in MINIMAL_ESCAPES:
        assert len(byte) == 1
        found = found.replace(byte, escape)
    assert found == write(Style.MINIMAL, [content])
