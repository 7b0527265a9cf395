"""Arrays of ids and definitions of tools are values as a whole, in any bytes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents.payloads import PAYLOAD_BYTES_MIN
from stowkenfs.documents.record import Payload, encode_record, render
from stowkenfs.documents.wholes import TOOL_BYTES_MAX, TOOL_BYTES_MIN, find_wholes


def tool(name: str, **more: object) -> dict[str, object]:
    about = f'Looks up "{name}" {{in brackets]: and says what it found, with a \\ and é.'
    properties = {"query": {"type": "string", "enum": ["a", "b]"], "description": about}}
    parameters = {"type": "object", "properties": properties, "required": ["query"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


TOOLS = [tool("search"), tool("read"), tool("write")]


def pieces(content: bytes) -> list[bytes]:
    return [content[whole.start : whole.end] for whole in find_wholes(content)]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize(
    "key", ["tools", "functions", "function", "functionDeclarations", "function_declarations"]
)
def test_each_tool_is_one(key: str, indent: int | None) -> None:
    content = json.dumps({"model": "m", key: TOOLS, "messages": [{"role": "user"}]}, indent=indent)
    found = pieces(content.encode())
    assert [json.loads(piece) for piece in found] == TOOLS


def test_tools_and_ids_in_order() -> None:
    ids = list(range(1000, 1040))
    content = json.dumps([{"tools": TOOLS[:1]}, {"tokens": ids}, {"tools": TOOLS[1:]}]).encode()
    found = [
        json.loads(piece if piece[:1] == b"{" else b"[%s]" % piece) for piece in pieces(content)
    ]
    assert found == [TOOLS[0], ids, *TOOLS[1:]]


def test_ids_within_a_tool_belong_to_it() -> None:
    one = tool("ids", tokens=list(range(1000, 1040)))
    assert [json.loads(piece) for piece in pieces(json.dumps({"tools": [one]}).encode())] == [one]


@pytest.mark.parametrize(
    "content",
    [
        b'{"tools": []}',
        b'{"tools": [{}]}',
        b'{"tools": [{"name": "short"}]}',
        b'{"tools": ["a string", {"name": "%s"}]}' % (b"x" * 200),
        b'{"tools": {"name": "%s"}}' % (b"x" * 200),
        b'{"tool": [{"name": "%s"}]}' % (b"x" * 200),
        rb'{"text": "\"tools\": [{\"name\": \"%s\"}]"}' % (b"x" * 200),
        b'{"tools": [{"name": "%s"' % (b"x" * 200),
        b'{"tools": [{"name": "%s"}]}' % (b"x" * TOOL_BYTES_MAX),
    ],
)
def test_what_is_no_tool_worth_it(content: bytes) -> None:
    assert find_wholes(content) == []


def test_bounds_of_length() -> None:
    for size, expected in ((TOOL_BYTES_MIN - 1, 0), (TOOL_BYTES_MIN, 1), (TOOL_BYTES_MAX, 1)):
        content = b'{"tools": [{"a": "%s"}]}' % (b"x" * (size - len(b'{"a": ""}')))
        assert len(find_wholes(content)) == expected


def test_a_tool_is_a_segment_of_its_own_and_alike_everywhere() -> None:
    one = json.dumps({"model": "a", "tools": TOOLS, "n": 1}).encode()
    other = json.dumps({"id": 7, "tools": TOOLS[::-1]}).encode()
    texts = []
    for content in (one, other):
        record = encode_record(content, {})
        assert render(record.templates, record.values) == content
        payloads = [value for value in record.values if isinstance(value, Payload)]
        texts.append({payload.parts[0].content for payload in payloads})
        assert all(len(text) >= PAYLOAD_BYTES_MIN for text in texts[-1])
    assert texts[0] == texts[1]
    assert len(texts[0]) == len(TOOLS)


_PIECE = st.sampled_from(
    [b'"tools": [', b'"tokens": [', b"{", b"}", b"[", b"]", b", ", b'"', b"\\", b"\0", b"12, 3456",
     json.dumps(TOOLS[0]).encode(), b'{"tools":[{"a":"' + b"x" * 120 + b'"}', b"1000, " * 30]
)  # fmt: skip


@given(st.lists(_PIECE, max_size=12).map(b"".join))
def test_any_bytes_come_back(content: bytes) -> None:
    wholes = find_wholes(content)
    ends = [0, *(whole.end for whole in wholes)]
    assert all(end <= whole.start < whole.end for end, whole in zip(ends, wholes, strict=False))
    record = encode_record(content, {})
    assert render(record.templates, record.values) == content


@pytest.mark.timeout(20)
def test_hostile_content_takes_linear_time() -> None:
    """A tool without an end costs a look at TOOL_BYTES_MAX, and only a few such looks are had."""
    assert find_wholes(b'"tools": [{"a": ' * 200_000) == []
