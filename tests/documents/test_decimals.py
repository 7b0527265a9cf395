"""Cells as decimal text; the second reader spells numbers by the table of FORMAT.md."""

import json
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs.documents.decimals import SEPARATOR_BYTES_MAX, Spelling, layout_of, write_cells
from stowkenfs.errors import RecordCorrupt
from tests.second_reader_cells import cells_as_text

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
EDGES = [
    0.0, -0.0, 1.0, -1.0, 1e-4, 1.5e-4, 9.5e-5, 1e-5, 1e-6, 9e-7, 1e-7, 1e15, 1e16, 1e17, 1e20,
    1e21, 123456789012345680.0, 5e-324, 1.7976931348623157e308, 0.1, 100.0, 2.0**53,
]  # fmt: skip


def packed(numbers: list[float]) -> bytes:
    return struct.pack(f"<{len(numbers)}d", *numbers)


def layout(
    spelling: int, row: int = 0, separator: bytes = b",", row_separator: bytes = b""
) -> bytes:
    return b"".join(
        (
            bytes((spelling, row, len(separator))),
            separator,
            bytes((len(row_separator),)),
            row_separator,
        )
    )


@given(st.lists(NUMBERS, min_size=1, max_size=12), st.sampled_from(Spelling), st.integers(0, 5))
@example(EDGES, Spelling.PYTHON, 0)
@example(EDGES, Spelling.RUST, 3)
@example(EDGES, Spelling.JAVASCRIPT, 1)
def test_it_is_spelled_as_the_second_reader_does(numbers, spelling, row):
    how = layout(spelling, row, b", ", b",\n  ")
    written = write_cells(how, packed(numbers))
    assert written == cells_as_text(how, packed(numbers))
    read = [float(one) for one in written.split(b",")]
    assert packed(read) == packed(numbers) or spelling is Spelling.JAVASCRIPT
    assert read == numbers


@given(st.lists(NUMBERS, min_size=6, max_size=6), st.sampled_from([1, 2, 3, 6]))
def test_the_layout_of_what_python_writes_is_found(numbers, width):
    text = json.dumps(numbers)[1:-1].encode()
    found = layout_of(text, width, packed(numbers))
    assert found == layout(Spelling.PYTHON, 0, b", ")
    rows = [json.dumps(numbers[at : at + width])[1:-1] for at in range(0, 6, width)]
    text = ",\n".join(rows).encode()
    found = layout_of(text, width, packed(numbers))
    assert found is not None
    assert write_cells(found, packed(numbers)) == text


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (b"0.5,1e-05,2.0", Spelling.PYTHON),
        (b"0.5,0.00001,2.0", Spelling.RUST),
        (b"0.5,0.00001,2", Spelling.JAVASCRIPT),
        (b"1e-7,1,2", Spelling.JAVASCRIPT),
        (b"1e-7,1.0,2.0", Spelling.RUST),
    ],
)
def test_who_wrote_it_is_found(text, spelling):
    numbers = [float(one) for one in text.split(b",")]
    assert layout_of(text, 3, packed(numbers)) == layout(spelling)


@pytest.mark.parametrize(
    "text", [b"0.50,1.0,2.0", b"5E-1,1.0,2.0", b"0.5, 1.0,2.0", b"+0.5,1.0,2.0", b"0.5,1,2.0",
             b"-0,1,2", b"0.5 ,1.0 ,2.0", b"0.5,%s1.0,%s2.0" % (b" " * 99, b" " * 99)]
)  # fmt: skip
def test_other_ways_to_write_have_no_layout(text):
    numbers = [float(one) for one in text.split(b",")]
    assert layout_of(text, 3, packed(numbers)) is None


def test_numbers_that_read_as_others_are_not_taken():
    """More digits than there are in a float64."""
    text = b"0.1000000000000000055511151231257827,1.0"
    assert layout_of(text, 2, packed([0.1, 1.0])) is None


@pytest.mark.parametrize(
    "how",
    [b"", b"\3\0\0\0", b"\0", b"\0\0\5,", b"\0\0\1,", b"\0\0\1,\0\0",
     layout(0, 0, b" " * (SEPARATOR_BYTES_MAX + 1))],
)  # fmt: skip
def test_what_is_no_layout_is_refused(how):
    with pytest.raises(RecordCorrupt):
        write_cells(how, packed([1.0, 2.0]))


def test_what_are_no_cells_is_refused():
    with pytest.raises(RecordCorrupt):
        write_cells(layout(0), b"1234567")
    with pytest.raises(RecordCorrupt):
        write_cells(layout(0), bytes(np.zeros((1 << 21) + 1)))
