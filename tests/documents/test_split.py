import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.documents.record import render
from stowkenfs.documents.split import Shape, Splitter, Unit, UnitKind, encode_unit, shape_of
from tests.documents.strategies import DOCUMENTS, LOGS, PATIENT

MIB = 1 << 20
TEXT = "A turn that is long enough to be a payload. "


def units_of(content: bytes, shape: Shape, window_bytes: int = MIB) -> list[Unit]:
    splitter = Splitter(shape)
    units = []
    for start in range(0, len(content), window_bytes):
        units += splitter.feed(content[start : start + window_bytes], final=False)
    return units + splitter.feed(b"", final=True)


def rendered(unit: Unit) -> bytes:
    return b"".join(render(record.templates, record.values) for record in encode_unit(unit))


@PATIENT
@given(st.one_of(DOCUMENTS, LOGS), st.sampled_from(Shape), st.data())
def test_any_windows_give_the_same_units(content: bytes, shape: Shape, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=5)))
    splitter = Splitter(shape)
    units = []
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        units += splitter.feed(content[start:end], final=False)
    units += splitter.feed(b"", final=True)
    assert units == units_of(content, shape)
    assert b"".join(rendered(unit) for unit in units) == content
    ends = [unit.start + len(unit.content) for unit in units]
    assert [0, *ends] == [*(unit.start for unit in units), len(content)]


@PATIENT
@given(LOGS)
def test_each_line_is_a_unit(content: bytes) -> None:
    units = units_of(content, Shape.LINES)
    lines = [unit.content for unit in units]
    assert b"".join(lines) == content
    for line in lines[1:]:
        assert line.strip(b"\r\n") or line == b"\r"
    for line in lines:
        assert b"\n" not in line.rstrip(b"\r\n")


def test_empty_lines_join_the_line_before() -> None:
    content = b'{"a":1}\n\n\r\n{"b":2}\r\n\r\n{"c":3}'
    assert [unit.content for unit in units_of(content, Shape.LINES, 1)] == [
        b'{"a":1}\n\n\r\n',
        b'{"b":2}\r\n\r\n',
        b'{"c":3}',
    ]


@pytest.mark.parametrize(
    ("head", "shape"),
    [
        (b"", Shape.OTHER),
        (b"plain text\n{", Shape.OTHER),
        (b"\x89PNG\r\n", Shape.OTHER),
        (b'{"a": 1}', Shape.JSON),
        (b'\xef\xbb\xbf \n{\n  "a": 1\n}\n', Shape.JSON),
        (b'[\n{"a": 1},\n{"a": 2}\n]', Shape.JSON),
        (b'[{"a": 1},\n {"a": 2}]', Shape.JSON),
        (b'{"a": 1}\n', Shape.LINES),
        (b'{"a": 1}\n\n{"b": 2}\r\n{"c', Shape.LINES),
        (b"\xef\xbb\xbf[1]\n[2]\n", Shape.LINES),
        (b'data: {"a": 1}\n\ndata: [DONE]\n\n', Shape.LINES),
        (b'event: ping\ndata: {"type": "ping"}\n\n', Shape.LINES),
    ],
)
def test_shapes(head: bytes, shape: Shape) -> None:
    assert shape_of(head) is shape


def test_a_large_array_is_cut_between_its_elements() -> None:
    element = {"messages": [{"role": "user", "content": TEXT * 40}]}
    content = json.dumps([element] * 12000).encode()
    units = units_of(content, Shape.JSON)
    assert len(content) > 2 * 8 * MIB
    assert b"".join(unit.content for unit in units) == content
    assert all(unit.content.startswith(b'{"messages"') for unit in units[1:])
    assert all(len(unit.content) <= 8 * MIB for unit in units)
    assert units == units_of(content, Shape.JSON, 3 * MIB + 1)
    records = encode_unit(units[1])
    assert all(16 << 10 <= record.length_bytes <= 33 << 10 for record in records[:-1])
    assert all(record.templates[0].startswith(b'{"messages"') for record in records)


@pytest.mark.parametrize("shape", [Shape.JSON, Shape.LINES])
def test_a_string_longer_than_any_window(shape: Shape) -> None:
    """Raw units up to its closing quote, whatever escapes the windows cut; then JSON again."""
    long = ('say \\"hi\\" \\\\' + TEXT) * 320_000
    content = f'{{"a": "{long}", "b": [{{"c": "{TEXT}{TEXT}"}}]}}\n{{"d": 1}}\n'.encode()
    units = units_of(content, shape)
    assert b"".join(unit.content for unit in units) == content
    assert UnitKind.RAW in {unit.kind for unit in units}
    assert max(len(unit.content) for unit in units) <= 8 * MIB
    *_, raw = (unit for unit in units if unit.kind is UnitKind.RAW)
    assert raw.content.endswith(b'. "')
    after = units[units.index(raw) + 1]
    assert after.content.startswith(b', "b": [')
    assert b', "b": [' in encode_unit(after)[0].templates
    assert rendered(raw) == raw.content
    assert units == units_of(content, shape, 64 << 10)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("pattern", [b"\\", b'"', b'\\"', b"{", b"\n", b'"a",', b"0,"], ids=repr)
def test_a_splitter_is_exact_and_bounded_on_hostile_bytes(pattern: bytes, offset: int) -> None:
    content = b'{"a":"' + b"x" * offset + pattern * (9 * MIB // len(pattern))
    for shape in (Shape.JSON, Shape.LINES):
        splitter = Splitter(shape)
        units = []
        for start in range(0, len(content), MIB):
            units += splitter.feed(content[start : start + MIB], final=False)
            assert len(splitter._rest) <= 8 * MIB
        units += splitter.feed(b"", final=True)
        assert b"".join(unit.content for unit in units) == content


def test_long_json_is_cut_into_records_at_braces() -> None:
    element = {"role": "user", "content": TEXT * 50, "meta": {"n": 1, "list": [{"x": 2}]}}
    content = json.dumps({"messages": [element] * 200}, indent=2).encode()
    (unit,) = units_of(content, Shape.JSON)
    records = encode_unit(unit)
    assert rendered(unit) == content
    assert len(records) > 10
    assert all(16 << 10 <= record.length_bytes <= 33 << 10 for record in records[:-1])
    assert all(record.templates[0].startswith(b'{\n      "role"') for record in records[1:])


def test_long_json_without_braces_is_cut_at_commas() -> None:
    content = json.dumps(["short", TEXT] * 5000).encode()
    (unit,) = units_of(content, Shape.JSON)
    records = encode_unit(unit)
    assert rendered(unit) == content
    assert max(record.length_bytes for record in records) <= 64 << 10


def test_a_line_of_256_kib_is_one_record() -> None:
    line = json.dumps({"m": [{"content": TEXT * 20}] * 250}).encode() + b"\n"
    assert 200 << 10 < len(line) < 256 << 10
    (unit,) = units_of(line, Shape.LINES)
    assert len(encode_unit(unit)) == 1
    (unit,) = units_of(line, Shape.JSON)
    assert len(encode_unit(unit)) > 1


def test_lines_of_text_are_no_templates() -> None:
    (unit,) = units_of(b"2026-11-21 10:07 started\n", Shape.LINES)
    (record,) = encode_unit(unit)
    assert record.templates == (b"\0",)


def test_other_documents_are_chunks() -> None:
    content = b"".join(b"%d squared is %d\n" % (n, n * n) for n in range(100_000))
    units = units_of(content, Shape.OTHER)
    assert {unit.kind for unit in units} == {UnitKind.RAW}
    assert all(len(encode_unit(unit)) == 1 for unit in units)
    edited = units_of(content[:MIB] + b"an edit" + content[MIB:], Shape.OTHER)
    shared = {unit.content for unit in units} & {unit.content for unit in edited}
    assert len(shared) > len(units) - 5
