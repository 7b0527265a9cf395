"""Compiled code that makes records, against the Python beside it, on any bytes."""

from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.documents.body import References, encode_body
from stowkenfs.documents.lexer import lex
from stowkenfs.documents.occurring import occurring
from stowkenfs.documents.record import Record, renders_to
from stowkenfs.documents.split import encode_unit
from stowkenfs.documents.styles import unescape, write
from stowkenfs.documents.units import Unit, UnitKind
from stowkenfs.documents.values import Style
from stowkenfs.ids import SegmentNo, SegmentType
from tests.kernels import both

ESCAPING = [style for style in Style if Style.MINIMAL <= style <= Style.ASCII_SLASH]

# What the lexer looks for, in pieces that come together as something else too.
_WORDS = [
    *(b'"', b'""', b'":', b'" :', b"\\", b'\\"', b"\0", b"{", b"}", b"[", b"]", b",", b" ", b"\n"),
    *(b"-", b"0", b"-7", b"1.5e+9", b"12", b"e", b"+", b"true", b"tru", b"false", b"null", b"nul"),
    *(b"NaN", b"N", b"Infinity", b"-Infinity", b"-I", b"t", b"f", b"n", b"I", b"key", b"\xff"),
    *(
        b'"tokens": [',
        b"1, 2, 3, " * 9,
        b'"tools": [',
        b'{"name": "%s"}' % (b"x" * 100),
        b"\xc3\xa9",
    ),
    *(b"k" * 126, b"k" * 127, b"k" * 128, b"long " * 10),
]
contents = st.lists(st.sampled_from(_WORDS) | st.binary(max_size=9), max_size=24).map(b"".join)

_ESCAPES = [
    *(r"\n", r"\/", r"\\", r"\"", r"\u00e9", r"\u00E9", r"\ud83d", r"\ude00", r"\u12", r"\x"),
    *("\\", '"', "/", "<", ">", "&", "\u2028", "\u2029", "é", "\U0001f600", "\x7f", "\x1f", "\b"),
    *("a", "text ", "\u0800", "\uffff", "\U0010ffff", r"\u0000", r"\u003c", r"\uD83D\uDE00"),
]
texts = st.lists(st.sampled_from(_ESCAPES) | st.text(max_size=3), max_size=12).map("".join)
utf8s = texts.map(lambda text: text.encode(errors="replace"))
damaged = [
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80",
    b"\xff",
    b"\x80",
    b"\xf0",
]


@given(contents)
@example(b"")
@example(b'"')
@example(b'"\\')
@example(b'"%s":1' % (b"k" * 127))
@example(b'"%s":1' % (b"k" * 128))
@example(b'""\t:1"":"":""')
@example(b"-Infinity-1NaNnull-")
@example(b'{"a":"\0","b\0":1}')
def test_lexing(content: bytes) -> None:
    both(lambda: lex(content))


@given(contents, st.integers(0, 4))
def test_lexing_no_more_than_there_may_be(content: bytes, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stowkenfs.documents.lexer.VALUES_MAX", most)
        both(lambda: lex(content))


@given(contents, st.sampled_from(UnitKind))
def test_units(content: bytes, kind: UnitKind) -> None:
    both(lambda: encode_unit(Unit(0, content, kind)))


@given(utf8s | st.binary(max_size=9), st.sampled_from([b"", *damaged]))
def test_strings_of_json(literal: bytes, damage: bytes) -> None:
    both(lambda: unescape(literal + damage))
    both(lambda: unescape(damage + literal))


@given(utf8s | st.binary(max_size=9), st.sampled_from([b"", *damaged]))
def test_styles(text: bytes, damage: bytes) -> None:
    for style in ESCAPING:
        both(partial(_written, style, text + damage))


def _written(style: Style, text: bytes) -> Any:
    try:
        return write(style, (text,))
    except UnicodeDecodeError as error:
        return str(error)


@given(st.binary(max_size=30) | st.text("ab", max_size=30).map(str.encode))
def test_what_occurs(content: bytes) -> None:
    both(lambda: occurring(content, (b"a", b"ab", b"aab", b"abb")))


@given(
    st.lists(st.sampled_from([b"a", b"\0", b"{\0", b"b\0\0c"]), max_size=3),
    st.lists(st.sampled_from([b"", b"a", b"bc"]), max_size=4),
    st.sampled_from([b"", b"a", b"c"]),
)
def test_whether_records_render(templates: list[bytes], values: list[bytes], more: bytes) -> None:
    pieces = b"".join(templates).split(b"\0")
    content = b"".join(a + b for a, b in zip_longest(pieces, values, fillvalue=b"")) + more
    both(lambda: renders_to(Record(len(content), tuple(templates), tuple(values)), content))


_NUMBERS = st.integers(0, 300) | st.integers(0, 2**64 - 1)


@st.composite
def _references(draw: st.DrawFn) -> References:
    segments = draw(st.lists(_NUMBERS.map(SegmentNo), max_size=3))
    types = tuple(draw(st.sampled_from(SegmentType)) for _ in segments)
    style = draw(st.sampled_from(Style))
    return References(style, types, tuple(segments), draw(st.sampled_from([b"", b", "])))


@given(
    st.lists(_NUMBERS, max_size=4),
    st.lists(st.sampled_from([b"", b"x" * 63, b"y" * 64, b"z" * 9000]) | _references(), max_size=5),
)
def test_bodies(templates: list[int], values: list[Any]) -> None:
    both(lambda: encode_body(templates, values))


def test_kernels_refuse_what_does_not_fit() -> None:
    built: Any = kernels.built
    assert built is not None
    calls: list[Callable[[], Any]] = [
        lambda: built.lex(b"{}", b"", 9, 9),
        lambda: built.lex(b"{}", b"12345678", 9, 9),
        lambda: built.occurring(b"", ()),
        lambda: built.occurring(b"", (b"",)),
        lambda: built.occurring(b"", (b"a", b"b")),
        lambda: built.occurring(b"", (b"a",) * 9),
        lambda: built.escape(b"", 0),
        lambda: built.escape(b"", 7),
        lambda: built.is_filled(b"", (1,), ()),
        lambda: built.is_filled(b"", [b""], ()),
        lambda: built.encode_body([], [None]),
        lambda: built.encode_body([], [(0, (), (1,), b"")]),
        lambda: built.encode_body(["1"], []),
    ]
    for call in calls:
        with pytest.raises((TypeError, ValueError)):
            call()
    with pytest.raises(OverflowError):
        built.encode_body([-1], [])
