"""Documents as people and programs write them, and as nobody should."""

import json
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The first text drawn in a fresh checkout builds a table of all characters."""

TEXTS = st.one_of(
    st.text(),  # no surrogates
    st.text(alphabet='a/\\"\n<&>\u2028\u00e9\u4f60\U0001f600\x7f\x01\t ', max_size=200),
    st.text(min_size=60, max_size=300),
    st.from_regex(r"[A-Za-z0-9+/]{80,120}={0,2}", fullmatch=True),
    st.just("\n\nHuman: what is a unit?\n\nAssistant: a range of bytes.\n\nHuman: thanks"),
)
NUMBERS = st.one_of(
    st.integers(),
    st.floats(),  # NaN and infinities: json.dumps writes them
    st.just(12345678901234567890),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda children: st.one_of(
        st.lists(children, max_size=6),
        st.dictionaries(
            st.one_of(st.sampled_from(["role", "content", "tokens", "text"]), TEXTS),
            children,
            max_size=6,
        ),
        st.fixed_dictionaries({"tokens": st.lists(st.integers(0, 2**32), max_size=40)}),
    ),
    max_leaves=30,
)


def _upper(text: str) -> str:
    pieces = text.split("\\u")
    return "\\u".join([pieces[0], *(piece[:4].upper() + piece[4:] for piece in pieces[1:])])


@st.composite
def json_documents(draw: st.DrawFn) -> bytes:
    """Valid JSON (but for NaN) in one of many formattings."""
    value: Any = draw(VALUES)
    text = json.dumps(
        value,
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 0, 1, 2, 4, "\t"])),
        separators=draw(st.sampled_from([None, (",", ":"), (", ", ": "), (" ,", " : ")])),
    )
    if draw(st.booleans()):
        text = text.replace("/", "\\/")
    if draw(st.booleans()):
        text = _upper(text)
    if draw(st.booleans()):
        text = text.replace("<", "\\u003c").replace("&", "\\u0026")
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    content = text.encode()
    return (
        draw(st.sampled_from([b"", b"\xef\xbb\xbf", b" \n"]))
        + content
        + draw(st.sampled_from([b"", b"\n", b"\r\n", b"\n\n"]))
    )


@st.composite
def broken_documents(draw: st.DrawFn) -> bytes:
    """JSON cut short, run together, or with bytes put in."""
    content = draw(json_documents())
    cut = draw(st.integers(0, len(content)))
    middle = draw(
        st.one_of(
            st.binary(max_size=60),
            st.sampled_from(
                [
                    b"",
                    b"\0",
                    b'"',
                    b"\\",
                    b'"\\ud800 a lone surrogate and some more text to be long enough"',
                    b'"\xff\xfe not UTF-8, and long enough to be a payload of a record"',
                    b'{"a": 1e-05, "a": 00, "b": 0x1f} // comment',
                    b'{"x": "two objects"} {"y": "on a line"}',
                    b'"tokens": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 4294967296]',
                    b'"input_ids":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21]',
                ]
            ),
        )
    )
    rest = content[cut:] if draw(st.booleans()) else b""
    return content[:cut] + middle + rest


DOCUMENTS = st.one_of(st.binary(max_size=400), json_documents(), broken_documents())
LOGS = st.lists(DOCUMENTS, max_size=6).map(b"\n".join)
