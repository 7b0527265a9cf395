"""Time is linear in the input: twice the bytes, about twice the time, for the worst patterns."""

import time

import pytest

from stowkenfs.documents.record import encode_record, render
from stowkenfs.documents.shapes import payload_types, turns
from stowkenfs.documents.split import Unit, UnitKind, encode_unit

PATTERNS = [
    b'"\\',
    b'\\"',
    b'"',
    b'" ',
    b"{",
    b"}",
    b"[",
    b'{"a":',
    b"{},",
    b"t",
    b"-",
    b"1",
    b"0,",
    b"\\",
    b"\n",
    b'"tokens":[1,',
    b'"tokens":[1,2 ,',
    b"\n\nHuman:\n\nAssistant:",
    b"\\u00",
    b"A",
    b"\xff",
    b"\0",
]


def seconds(content: bytes) -> float:
    started = time.perf_counter()
    records = encode_unit(Unit(0, content, UnitKind.JSON))
    took = time.perf_counter() - started
    assert b"".join(render(one.templates, one.values) for one in records) == content
    return took


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("before", [b"", b'{"k":"', b'{"role":"user","content":"'])
def test_time_is_linear(before: bytes, pattern: bytes) -> None:
    size = 1 << 18
    small = min(seconds((before + pattern * size)[:size]) for _ in range(3))
    large = seconds((before + pattern * size * 8)[: size * 8])
    assert large < 32 * (small + 0.01)  # 8 if linear, 64 if quadratic


@pytest.mark.parametrize("pattern", [b'"\\', b'\\"', b'{"a":', b'"a",'])
def test_four_megabytes_in_one_record(pattern: bytes) -> None:
    content = pattern * (4_000_000 // len(pattern))
    record = encode_record(content, {})
    assert render(record.templates, record.values) == content


@pytest.mark.parametrize("opening", ["[", '{"content":', '{"role":"user","content":[', '{"input":'])
def test_depth_never_overflows_the_stack(opening: str) -> None:
    for depth in (60, 200, 900, 100_000):
        payload_types(opening * depth)
        payload_types(opening * depth + '"x"')
    value: object = "x"
    for _ in range(5000):
        value = {"role": "user", "content": [value]}
    assert turns(value) == []
