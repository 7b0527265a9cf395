"""tests/vectors of saved state, both ways, and read by a reader that knows only FORMAT.md."""

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Sequence

import pytest

from stowkenfs import errors
from stowkenfs.grids.delta_log import Delta, begin_log, decode_log, encode_delta
from stowkenfs.state import (
    Grid,
    GridFormat,
    Metadata,
    Snapshot,
    decode,
    decode_snapshot,
    detect,
    encode,
    encode_snapshot,
)
from tests.format_vectors import Vector, content_of, vectors

Rows = Sequence[Sequence[float]]


def rows_of(vector: Vector) -> Rows:
    return [[float.fromhex(cell) for cell in row] for row in vector["cells"]]


def same(rows: Rows, others: Rows) -> bool:
    return [list(map(float.hex, row)) for row in rows] == [list(map(float.hex, r)) for r in others]


# The second reader


def read_binary(content: bytes) -> Rows:
    width, height = struct.unpack_from("<II", content)
    cells = struct.unpack(f"<{width * height}d", content[8:])
    return [cells[at : at + width] for at in range(0, len(cells), width)]


def read_snapshot(content: bytes) -> tuple[Rows, dict[str, object]]:
    magic, version, form, zero, metadata, grid = struct.unpack_from("<4sHBBII", content)
    assert (magic, version, form, zero) == (b"SKsn", 2, 1, 0)
    end = 16 + metadata + grid
    assert hashlib.sha256(content[:end]).digest()[:16] == content[end:]
    return read_binary(content[16 + metadata : end]), json.loads(content[16 : 16 + metadata])


def read_log(content: bytes) -> tuple[int, Sequence[Sequence[float]], Sequence[int]]:
    """Of grids with one row: the first number, states, times of all but the first."""
    magic, version, zero, first, length = struct.unpack_from("<4sHHQI", content)
    assert (magic, version, zero) == (b"SKgl", 1, 0)
    (row,), _ = read_snapshot(content[20 : 20 + length])
    at = 20 + length
    chain = hashlib.sha256(content[:at]).digest()[:8]
    assert content[at : at + 8] == chain
    at += 8
    states, times = [list(row)], []
    while at < len(content):
        length, check = struct.unpack_from("<II", content, at)
        assert check == zlib.crc32(chain + content[at : at + 4])
        end = at + 8 + length
        chain = hashlib.sha256(chain + content[at:end]).digest()[:8]
        if content[end : end + 8] != chain:
            break
        time, count, wide = struct.unpack_from("<qIB", content, at + 8)
        gaps = struct.unpack_from(f"<{count}{ {1: 'B', 2: 'H', 4: 'I'}[wide] }", content, at + 21)
        values = struct.unpack_from(f"<{count}d", content, at + 21 + count * wide)
        state, cell = list(states[-1]), -1
        for gap, value in zip(gaps, values, strict=True):
            cell += gap + 1
            state[cell] = value
        states.append(state)
        times.append(time)
        at = end + 8
    return first, states, times


# Grids


@vectors("grid")
def test_grid(vector: Vector) -> None:
    content, form = content_of(vector), GridFormat[vector["format"]]
    grid = decode(content, form)
    assert (grid.width, grid.height) == (vector["width"], vector["height"])
    assert same(grid.cells.tolist(), rows_of(vector))
    assert detect(content) is form
    if form is not GridFormat.COMPRESSED:  # releases of zlib may differ
        assert encode(Grid.of(rows_of(vector)), form) == content


@vectors("grid")
def test_the_second_reader_reads_grids(vector: Vector) -> None:
    content = content_of(vector)
    match vector["format"]:
        case "BINARY":
            rows = read_binary(content)
        case "COMPRESSED":
            rows = read_binary(gzip.decompress(content))
        case "JSON":
            rows = [json.loads(content)["data"]]
        case "NPY":
            rows = [struct.unpack("<3d", content[128:])]
    assert same(rows, rows_of(vector))


@vectors("grid", bad=True)
def test_a_grid_that_is_refused(vector: Vector) -> None:
    with pytest.raises(errors.GridFormatError) as caught:
        decode(content_of(vector), GridFormat[vector["format"]])
    assert caught.value.offset_bytes == vector["offset"]


# Snapshots


@vectors("snapshot")
def test_snapshot(vector: Vector) -> None:
    names = ("created_ns", "modified_ns", "owner", "parameters")
    metadata = Metadata(*(vector[name] for name in names))
    expected = Snapshot(Grid.of(rows_of(vector)), metadata)
    assert decode_snapshot(content_of(vector)) == expected
    assert encode_snapshot(expected, GridFormat[vector["format"]]) == content_of(vector)
    rows, fields = read_snapshot(content_of(vector))
    assert same(rows, rows_of(vector))
    assert fields == {name: vector[name] for name in names}


@vectors("snapshot", "grid-log", bad=True)
def test_saved_state_that_is_refused(vector: Vector) -> None:
    read = decode_log if content_of(vector).startswith(b"SKgl") else decode_snapshot
    with pytest.raises(getattr(errors, vector["error"])):
        read(content_of(vector))


# Logs of a grid


@vectors("grid-log")
def test_log_of_a_grid(vector: Vector) -> None:
    log = decode_log(content_of(vector))
    states = [[float.fromhex(cell) for cell in row] for row in vector["states"]]
    assert (log.first, log.tail.name) == (vector["first"], vector["tail"])
    restored = [log.restore(log.first + at).cells[0].tolist() for at in range(len(states))]
    assert same(restored, states)
    assert log.last == log.first + len(states) - 1
    assert [delta.time_ns for delta in log.deltas] == vector["times_ns"][1:]
    if vector["tail"] == "NOTHING":
        assert read_log(content_of(vector)) == (log.first, states, vector["times_ns"][1:])
        assert written(states, vector) == content_of(vector)


def written(states: Rows, vector: Vector) -> bytes:
    times = vector["times_ns"]
    base = Snapshot(Grid.of([states[0]]), Metadata(times[0], times[0]))
    content, chain = begin_log(vector["first"], encode_snapshot(base))
    for at in range(1, len(states)):
        changes = Grid.of([states[at]]).changes_from(Grid.of([states[at - 1]]))
        record, chain = encode_delta(Delta(times[at], changes), chain)
        content += record
    return content
