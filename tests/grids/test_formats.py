"""Every format gives every cell back; nothing else is taken for a grid."""

import gzip
import io
import json
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import GridFormatError
from stowkenfs.grids.formats import HEAD_BYTES, GridFormat, decode, detect, encode, guess
from stowkenfs.grids.grid import CELLS_MAX, Grid
from tests.grids.strategies import AWKWARD, grids

FORMATS = pytest.mark.parametrize("form", GridFormat, ids=lambda form: form.name.lower())


def saved(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version, allow_pickle=True)
    return out.getvalue()


def refused(content: bytes, form: GridFormat) -> GridFormatError:
    with pytest.raises(GridFormatError) as caught:
        decode(content, form)
    assert f"byte {caught.value.offset_bytes}" in str(caught.value)
    assert caught.value.expected in str(caught.value)
    assert detect(content) is None
    return caught.value


# Round trips, each also against another reader


@FORMATS
@given(grid=grids())
def test_round_trip(form: GridFormat, grid: Grid) -> None:
    content = encode(grid, form)
    assert decode(content, form) == grid
    assert encode(grid, form) == content
    assert detect(content) is form
    assert guess(content[:HEAD_BYTES], len(content)) is form


@FORMATS
def test_awkward_numbers(form: GridFormat) -> None:
    bits = np.array([1, 2**52 - 1, 2**52, 2**63, 2**63 + 1, 0x7FEF_FFFF_FFFF_FFFF], np.uint64)
    grid = Grid.of([[*AWKWARD, *bits.view(np.float64)]])
    assert decode(encode(grid, form), form).cells.tobytes() == grid.cells.tobytes()


@given(grids())
def test_others_read_the_same(grid: Grid) -> None:
    binary = encode(grid, GridFormat.BINARY)
    cells = [cell for row in grid.cells.tolist() for cell in row]
    assert binary == struct.pack(f"<II{len(cells)}d", grid.width, grid.height, *cells)
    assert gzip.decompress(encode(grid, GridFormat.COMPRESSED)) == binary
    text = json.loads(encode(grid, GridFormat.JSON))
    assert text == {"width": grid.width, "height": grid.height, "data": cells}
    loaded = np.load(io.BytesIO(encode(grid, GridFormat.NPY)), allow_pickle=False)
    assert loaded.dtype == "<f8"
    assert loaded.tobytes() == grid.cells.tobytes()


def test_sizes_are_those_of_the_seed() -> None:
    assert len(encode(Grid(20, 20), GridFormat.BINARY)) == 3208
    assert len(encode(Grid(50, 50), GridFormat.BINARY)) == 20008
    assert encode(Grid(2, 1), GridFormat.BINARY) == bytes.fromhex("02000000 01000000") + bytes(16)
    assert encode(Grid.of([[0.5, -0.0]]), GridFormat.JSON) == (
        b'{"width": 2, "height": 1, "data": [\n0.5, -0.0\n]}\n'
    )


def test_suffixes() -> None:
    assert GridFormat.of_name("a.bin.gz") is GridFormat.COMPRESSED
    assert [GridFormat.of_name(f"x/y{form.suffix}") for form in GridFormat] == list(GridFormat)
    assert GridFormat.of_name("a.gz") is None


# Damage


@FORMATS
@given(grid=grids(), data=st.data())
def test_cut_off_or_extended_is_refused(form: GridFormat, grid: Grid, data: st.DataObject) -> None:
    content = encode(grid, form)
    body = content.rstrip(b"\n") if form is GridFormat.JSON else content
    refused(body[: data.draw(st.integers(0, len(body) - 1))], form)
    more = data.draw(st.binary(min_size=1, max_size=40).filter(bytes.strip))
    refused(content + more, form)


@FORMATS
@given(grid=grids(), data=st.data())
def test_flipped_bits_are_refused_or_another_grid(
    form: GridFormat, grid: Grid, data: st.DataObject
) -> None:
    content = bytearray(encode(grid, form))
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    try:
        found = decode(bytes(content), form)
    except GridFormatError as error:
        assert 0 <= error.offset_bytes <= max(len(content), 8 + 8 * grid.width * grid.height)  # noqa: PT017
        return
    assert isinstance(found, Grid)
    assert np.isfinite(found.cells).all()
    if form is GridFormat.COMPRESSED:  # it has a checksum: only its header may differ
        assert found == grid


@FORMATS
@given(content=st.binary(max_size=200))
def test_any_bytes(form: GridFormat, content: bytes) -> None:
    try:
        found = decode(content, form)
    except GridFormatError:
        assert detect(content) is not form
        return
    assert decode(encode(found, form), form) == found


# What is refused, and where it says so


@pytest.mark.parametrize(
    ("content", "offset", "expected"),
    [
        (b"", 0, "8 bytes"),
        (b"\1\0\0\0", 4, "8 bytes"),
        (struct.pack("<II", 0, 1), 0, "width of 1"),
        (struct.pack("<II", 1, 0), 4, "height of 1"),
        (struct.pack("<II", 2**32 - 1, 2**32 - 1), 0, "limit"),
        (struct.pack("<II", CELLS_MAX, 2), 0, "limit"),
        (struct.pack("<IId", 1, 2, 1.0), 16, "24 bytes in all"),
        (struct.pack("<IIdB", 1, 1, 1.0, 0), 16, "the end"),
        (struct.pack("<IIdd", 1, 2, 1.0, float("nan")), 16, "finite"),
        (struct.pack("<IIdd", 2, 1, float("-inf"), 1.0), 8, "finite"),
    ],
)
def test_binary(content: bytes, offset: int, expected: str) -> None:
    error = refused(content, GridFormat.BINARY)
    assert (error.offset_bytes, expected in error.expected) == (offset, True), error
    if len(content) >= 16:
        assert refused(gzip.compress(content), GridFormat.COMPRESSED).offset_bytes == offset


def test_gzip_beside_what_it_holds() -> None:
    content = encode(Grid(4, 4), GridFormat.COMPRESSED)
    assert refused(content + content, GridFormat.COMPRESSED).offset_bytes == len(content)
    assert refused(b"PK" + content, GridFormat.COMPRESSED).offset_bytes == 0
    wrong_checksum = content[:-8] + bytes([content[-8] ^ 1]) + content[-7:]
    assert "intact gzip" in refused(wrong_checksum, GridFormat.COMPRESSED).expected


def test_a_bomb_gives_no_more_than_its_header_says() -> None:
    import tracemalloc

    bomb = gzip.compress(struct.pack("<II", 10, 10) + bytes(200_000_000), 9)
    tracemalloc.start()
    refused(bomb, GridFormat.COMPRESSED)
    assert tracemalloc.get_traced_memory()[1] < 10 * len(bomb) + 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "offset", "expected"),
    [
        ("", 0, "{"),
        ("[]", 0, "{"),
        ("{}", 1, "name"),
        ('{"width": 1, "height": 1, "data": [1.0]', 39, "}"),
        ('{"width": 1, "height": 1, "data": [1.0]} x', 41, "the end"),
        ('{"width": 1, "height": 1, "data": [1.0], "more": 1}', 39, "}"),
        ('{"width": 1, "width": 1, "data": [1.0]}', 13, "height, data"),
        ('{"width": 1, "data": [1], "data": [1]}', 26, "height"),
        ('{"width": 1, "heigth": 1, "data": [1.0]}', 13, "height"),
        ('{"width": 0, "height": 1, "data": []}', 10, "1 or more"),
        ('{"width": -1, "height": 1, "data": [1]}', 10, "1 or more"),
        ('{"width": 1.0, "height": 1, "data": [1]}', 10, "1 or more"),
        ('{"width": 1e1, "height": 1, "data": [1]}', 10, "1 or more"),
        ('{"width": true, "height": 1, "data": [1]}', 10, "1 or more"),
        ('{"width": 4294967296, "height": 4294967296, "data": [1]}', 0, "limit"),
        ('{"width": 1, "height": 1, "data": []}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": [1, 2]}', 34, "1 numbers"),
        ('{"width": 2, "height": 2, "data": [1, 2, 3]}', 34, "4 numbers"),
        ('{"width": 1, "height": 1, "data": [NaN]}', 35, "a number"),
        ('{"width": 2, "height": 1, "data": [1, Infinity]}', 38, "a number"),
        ('{"width": 1, "height": 1, "data": [-Infinity]}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": [1e999]}', 35, "float64 can hold"),
        ('{"width": 1, "height": 1, "data": [null]}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": [true]}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": ["1"]}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": [[1]]}', 35, "a number"),
        ('{"width": 2, "height": 1, "data": [1 2]}', 37, ", or ]"),
        ('{"width": 1, "height": 1, "data": [1,]}', 37, "a number"),
        ('{"width": 1, "height": 1, "data": [01]}', 36, ", or ]"),
        ('{"width": 1, "height": 1, "data": [.5]}', 35, "a number"),
        ('{"width": 1, "height": 1, "data": [' + "[" * 100_000, 34, "brackets"),
        ('\ufeff{"width": 1, "height": 1, "data": [1]}', 0, "{"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_json(text: str, offset: int, expected: str) -> None:
    error = refused(text.encode(), GridFormat.JSON)
    assert (error.offset_bytes, expected in error.expected) == (offset, True), error


@pytest.mark.parametrize(
    "text",
    [
        '{"data":[1,-0,3e2,0.25],"height":2,"width":2}',
        ' {\t"width" : 2 ,\r\n"height":2, "\\u0064ata": [ 1 , -0 , 300, 25e-2 ] } \n\n',
    ],
)
def test_json_of_others(text: str) -> None:
    assert decode(text.encode(), GridFormat.JSON) == Grid.of([[1.0, -0.0], [300.0, 0.25]])


def test_json_integers_are_numbers_however_long() -> None:
    text = '{"width": 1, "height": 1, "data": [1%s]}'
    assert decode((text % ("0" * 300)).encode(), GridFormat.JSON)[0, 0] == 1e300
    digits = sys.get_int_max_str_digits() + 10
    assert decode((text % ("." + "3" * digits)).encode(), GridFormat.JSON)[0, 0] == 4 / 3
    refused((text % ("0" * digits)).encode(), GridFormat.JSON)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(6, dtype="<f4").reshape(2, 3),
        np.arange(6, dtype=np.float16).reshape(2, 3),
        np.arange(6, dtype=np.int8).reshape(2, 3),
        np.arange(6, dtype=">u8").reshape(2, 3),
        np.array([[2**53, -(2**53)]]),
        np.array([[True, False]]),
    ],
    ids=lambda array: f"{array.dtype.str}",
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_of_others(array: np.ndarray, version: tuple[int, int]) -> None:
    content = saved(array, version)
    assert decode(content, GridFormat.NPY) == Grid.of(array)
    assert detect(content) is GridFormat.NPY


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0),
        np.zeros((1, 2, 3)),
        np.zeros((0, 3)),
        np.array(1.0),
        np.array([[1j]]),
        np.array([["a"]]),
        np.array([[object()]]),
        np.zeros((2, 2), [("a", "f8")]),
        np.zeros((2, 2), "M8[s]"),
        np.array([[2**53 + 1]]),
        np.array([[2**64 - 1]], np.uint64),
        np.array([[1.0, np.nan]]),
        np.array([[np.inf]], np.float32),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_npy_that_is_no_grid(array: np.ndarray) -> None:
    content = saved(array) if not array.dtype.hasobject else _saved_objects(array)
    refused(content, GridFormat.NPY)


def _saved_objects(array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.save(out, array.astype(str).astype(object), allow_pickle=True)
    return out.getvalue()


def test_npy_headers_are_not_evaluated() -> None:
    def with_header(header: str) -> bytes:
        text = header.encode().ljust(118) + b"\n"
        return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(8)

    good = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }"
    assert decode(with_header(good), GridFormat.NPY) == Grid(1, 1)
    for bad in (
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), 'more': 1}",
        "{'descr': '<f8', 'fortran_order': False, 'fortran_order': False}",
        "{'descr': '<f1', 'fortran_order': False, 'shape': (1, 8)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': (1, 1)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 1)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (4294967295, 4294967295)}",
        "__import__('os').system('false')",
    ):
        refused(with_header(bad), GridFormat.NPY)
    refused(b"\x93NUMPY\2\0" + b"\xff" * 40, GridFormat.NPY)
    refused(b"\x93NUMPY\4\0" + bytes(100), GridFormat.NPY)


def test_other_files_are_no_grids() -> None:
    conversation = b'{"messages": [{"role": "user", "content": "hello"}], "width": 1}'
    for content in (b"", b"text", conversation, gzip.compress(b"text" * 9), bytes(1000)):
        assert detect(content) is None
        assert guess(content[:HEAD_BYTES], len(content)) is None
