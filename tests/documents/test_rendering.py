"""Records rendered together; the oracle renders them one by one."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.documents.body import Body, BodyValue, References, encode_body, render_body
from stowkenfs.documents.pieces import pieces_of_bodies
from stowkenfs.documents.rendering import MINIMAL_ESCAPES, render_pieces
from stowkenfs.documents.styles import write
from stowkenfs.documents.values import Style
from stowkenfs.ids import SegmentNo, SegmentType, TemplateNo
from tests.documents.strategies import PATIENT, TEXTS
from tests.kernels import using

CONTENTS = ["", "plain", 'a"b\\c\n\t\x00\x1f\x7f/', "\u2028 <&> \u00e9 \u4f60 \U0001f600", "x" * 99]
STYLES = [style for style in Style if style not in (Style.CELLS, Style.DEFLATE)]
"""Those that write any text."""
TEMPLATES = [b"\0", b'{"a":"\0"', b',"b":\0}\n', b"no slot", b"\0\0"]


def text_of(number: int) -> bytes:
    return CONTENTS[number % len(CONTENTS)].encode()


def texts_of(numbers: npt.NDArray[np.int64]) -> dict[int, bytes]:
    assert (np.diff(numbers) > 0).all()
    return {number: text_of(number) for number in numbers.tolist()}


def minimal_of(numbers: npt.NDArray[np.int64]) -> dict[int, bytes]:
    return {number: write(Style.MINIMAL, [text_of(number)]) for number in numbers.tolist()}


def template_of(number: TemplateNo) -> bytes:
    return TEMPLATES[number % len(TEMPLATES)]


def part_of(number: SegmentNo, style: Style) -> bytes | list[int]:
    return [number, 2, 3] if style is Style.TOKENS else text_of(number)


def together(bodies: list[Body]) -> list[bytes | None]:
    """The bytes of each; None for those that are left to ``render_body``."""
    encoded = [encode_body(body.templates, body.values) for body in bodies]
    ends = np.cumsum([0, *map(len, encoded)])
    pieces = pieces_of_bodies(b"".join(encoded), ends[:-1], ends[1:])
    return render_pieces(
        pieces,
        lambda numbers: [template_of(TemplateNo(number)) for number in numbers],
        texts_of,
        minimal_of,
    )


def has_ids(body: Body) -> bool:
    return any(isinstance(v, References) and v.style is Style.TOKENS for v in body.values)


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    numbers = st.integers(0, 20)
    templates = tuple(map(TemplateNo, draw(st.lists(numbers, max_size=4))))
    values: list[BodyValue] = []
    for _ in range(sum(template_of(number).count(b"\0") for number in templates)):
        if draw(st.booleans()):
            values.append(draw(st.binary(max_size=5)))
            continue
        style = draw(st.sampled_from(STYLES))
        segments = tuple(map(SegmentNo, draw(st.lists(numbers, min_size=1, max_size=3))))
        separator = b", " if style is Style.TOKENS else b""
        types = (SegmentType.OTHER,) * len(segments)
        values.append(References(style, types, segments, separator))
    return Body(templates, tuple(values))


@PATIENT
@given(st.lists(bodies()))
def test_together_as_one_by_one(drawn: list[Body]) -> None:
    expected = [
        None if has_ids(body) else render_body(body, template_of, part_of) for body in drawn
    ]
    for compiled in (kernels.built, None):
        with using(compiled):
            assert together(drawn) == expected


@pytest.mark.parametrize("compiled", [kernels.built, None])
def test_a_part_that_says_how_to_write_the_others(compiled: kernels.Compiled | None) -> None:
    texts = {0: b"\x00\x00\x02, \x00", 1: np.array([0.5, 1e-7]).tobytes(), 2: bytes(8)}
    types = (SegmentType.OTHER, SegmentType.CELLS, SegmentType.CELLS)
    value = References(Style.CELLS, types, (SegmentNo(0), SegmentNo(1), SegmentNo(2)))
    body = encode_body((TemplateNo(0),), (value,))
    with using(compiled):
        ends = np.array([0, len(body), 2 * len(body)])
        pieces = pieces_of_bodies(body * 2, ends[:-1], ends[1:])
        assert pieces.alone == []
        found = render_pieces(pieces, lambda _: [b"[\0]"], lambda _: texts, minimal_of)
    assert found == [b"[0.5, 1e-07, 0.0]"] * 2


@pytest.mark.parametrize("values", [(), (b"1", b"2")])
@pytest.mark.parametrize("compiled", [kernels.built, None])
def test_values_that_do_not_fit(
    values: tuple[bytes, ...], compiled: kernels.Compiled | None
) -> None:
    """They are left alone, and so are found to be damaged; those beside them are not."""
    fits = Body((TemplateNo(0),), (b"1",))
    with using(compiled):
        assert together([fits, Body((TemplateNo(0),), values), fits]) == [b"1", None, b"1"]


@PATIENT
@given(TEXTS | st.text())
def test_minimal_escapes_are_those_of_the_style(text: str) -> None:
    content = text.encode(errors="replace")
    found = content
    for byte, escape in MINIMAL_ESCAPES:
        assert len(byte) == 1
        found = found.replace(byte, escape)
    assert found == write(Style.MINIMAL, [content])
