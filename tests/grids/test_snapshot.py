"""A grid with what is said of it: versions, metadata, damage."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import SnapshotCorrupt, UnknownSnapshotVersion, Unstorable
from stowkenfs.grids.formats import GridFormat, detect, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.snapshot import (
    METADATA_BYTES_MAX,
    VERSION,
    Metadata,
    Snapshot,
    checksum,
    decode_snapshot,
    encode_snapshot,
    grid_within,
    version_of,
)
from tests.grids.strategies import grids

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
TIMES = st.none() | st.integers(-(2**63), 2**63 - 1)
METADATA = st.builds(Metadata, TIMES, TIMES, TEXTS, JSON)
SNAPSHOTS = st.builds(Snapshot, grids(), METADATA)


@given(SNAPSHOTS, st.sampled_from(GridFormat))
def test_round_trip(snapshot: Snapshot, form: GridFormat) -> None:
    content = encode_snapshot(snapshot, form)
    assert decode_snapshot(content) == snapshot
    assert encode_snapshot(snapshot, form) == content
    assert version_of(content) == VERSION
    assert detect(content) is None


@given(grids(), st.sampled_from(GridFormat))
def test_bare_grids_are_version_1_and_migrate(grid: Grid, form: GridFormat) -> None:
    old = encode(grid, form)
    assert version_of(old) == 1
    snapshot = decode_snapshot(old)
    assert snapshot == Snapshot(grid, Metadata(None, None, "", {}))
    assert version_of(encode_snapshot(snapshot)) == VERSION


@given(SNAPSHOTS, st.sampled_from(GridFormat))
def test_where_the_grid_is(snapshot: Snapshot, form: GridFormat) -> None:
    content = encode_snapshot(snapshot, form)
    found = grid_within(content[:16], len(content))
    assert found is not None
    start, end, found_form = found
    assert (content[start:end], found_form) == (encode(snapshot.grid, form), form)
    assert grid_within(content[:16], len(content) + 1) is None
    assert grid_within(content[:15], len(content)) is None
    assert grid_within(content[:4] + b"\3" + content[5:], len(content)) is None
    assert grid_within(content[:6] + b"\t" + content[7:], len(content)) is None


def test_a_newer_version_is_refused_by_name() -> None:
    content = bytearray(encode_snapshot(Snapshot(Grid(2, 2))))
    content[4] = VERSION + 1
    with pytest.raises(UnknownSnapshotVersion, match=rf"version {VERSION + 1}.*{VERSION};.*newer"):
        decode_snapshot(bytes(content))


@given(SNAPSHOTS, st.data())
def test_damage_is_seen(snapshot: Snapshot, data: st.DataObject) -> None:
    content = encode_snapshot(snapshot)
    kind = data.draw(st.sampled_from(("flip", "cut", "extend")))
    if kind == "flip":
        at = data.draw(st.integers(0, len(content) - 1))
        flipped = content[at] ^ data.draw(st.integers(1, 255))
        damaged = content[:at] + bytes([flipped]) + content[at + 1 :]
    elif kind == "cut":
        damaged = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        damaged = content + data.draw(st.binary(min_size=1, max_size=30))
    with pytest.raises((SnapshotCorrupt, UnknownSnapshotVersion)) as caught:
        decode_snapshot(damaged)
    if isinstance(caught.value, UnknownSnapshotVersion):
        assert damaged[4:6] != content[4:6]


@given(st.binary(max_size=80))
def test_any_bytes(content: bytes) -> None:
    with pytest.raises((SnapshotCorrupt, UnknownSnapshotVersion)):
        decode_snapshot(content)
    with pytest.raises((SnapshotCorrupt, UnknownSnapshotVersion)):
        decode_snapshot(b"SKsn" + content)


def made(metadata: bytes, content: bytes, code: int = 1) -> bytes:
    body = struct.pack("<4sHBxII", b"SKsn", 2, code, len(metadata), len(content))
    body += metadata + content
    return body + checksum(body)


def test_what_has_a_checksum_is_checked_all_the_same() -> None:
    grid = encode(Grid(1, 1), GridFormat.BINARY)
    assert decode_snapshot(made(b'{"later": 1}', grid)) == Snapshot(Grid(1, 1))
    with pytest.raises(SnapshotCorrupt, match="no grid format 9"):
        decode_snapshot(made(b"{}", grid, code=9))
    nan = struct.pack("<IId", 1, 1, float("nan"))
    with pytest.raises(SnapshotCorrupt, match=r"byte 26.*finite float64 at byte 8"):
        decode_snapshot(made(b"{}", nan))
    for metadata in (b"", b"[]", b"\xff", b'{"created_ns": 1.5}', b'{"owner": null}', b"[" * 9999):
        with pytest.raises(SnapshotCorrupt, match="metadata"):
            decode_snapshot(made(metadata, grid))


def test_metadata_that_would_not_come_back_is_refused() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for parameters in (
        {1: 2},
        (1, 2),
        float("nan"),
        b"",
        deep,
        "x" * METADATA_BYTES_MAX,
    ):
        with pytest.raises(Unstorable):
            encode_snapshot(Snapshot(Grid(1, 1), Metadata(parameters=parameters)))


def test_metadata_is_json_that_people_can_find_in_the_file() -> None:
    diffusion = {"rate": 0.25, "steps": 3, "kernel": [0.1, 0.8, 0.1]}
    content = encode_snapshot(Snapshot(Grid(1, 1), Metadata(1, 2, "user_123", diffusion)))
    text = content[16 : 16 + int.from_bytes(content[8:12], "little")]
    assert json.loads(text) == {
        "created_ns": 1, "modified_ns": 2, "owner": "user_123", "parameters": diffusion
    }  # fmt: skip
