"""A log of a grid's states: restored bit by bit, cut off anywhere, damaged anywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import SnapshotCorrupt, UnknownSnapshotVersion
from stowkenfs.grids.delta_log import Delta, Tail, begin_log, decode_log, encode_delta
from stowkenfs.grids.grid import Changes, Grid
from stowkenfs.grids.snapshot import Metadata, Snapshot, encode_snapshot
from tests.grids.strategies import grids

STATES = st.tuples(st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: st.lists(grids(st.just(shape)), min_size=1, max_size=6)
)


def written(states: list[Grid], first: int = 0) -> tuple[bytes, list[int]]:
    """The log of ``states``, and where each of them ends."""
    content, chain = begin_log(first, encode_snapshot(Snapshot(states[0], Metadata(7))))
    ends = [len(content)]
    for number in range(1, len(states)):
        changes = states[number].changes_from(states[number - 1])
        record, chain = encode_delta(Delta(1000 + number, changes), chain)
        content += record
        ends.append(len(content))
    return content, ends


@given(STATES, st.integers(0, 2**64 - 1000))
def test_every_state_comes_back(states: list[Grid], first: int) -> None:
    content, ends = written(states, first)
    log = decode_log(content)
    assert (log.first, log.last, log.tail) == (first, first + len(states) - 1, Tail.NOTHING)
    assert log.base == Snapshot(states[0], Metadata(7))
    assert [delta.time_ns for delta in log.deltas] == [1000 + n for n in range(1, len(states))]
    assert log.end_bytes == ends[-1]
    for number, state in enumerate(states):
        assert log.restore(first + number) == state


@given(STATES, st.data())
def test_one_cut_off_anywhere_ends_with_the_state_before(
    states: list[Grid], data: st.DataObject
) -> None:
    content, ends = written(states)
    at = data.draw(st.integers(ends[0], len(content)))
    log = decode_log(content[:at])
    whole = sum(end <= at for end in ends)
    assert log.last == whole - 1
    assert log.end_bytes == ends[whole - 1]
    assert log.tail is (Tail.NOTHING if at in ends else Tail.TORN)
    assert log.restore(log.last) == states[whole - 1]


@given(STATES, st.integers(1, 200))
def test_zeros_behind_are_torn(states: list[Grid], zeros: int) -> None:
    content, _ = written(states)
    log = decode_log(content + bytes(zeros))
    assert (log.last, log.end_bytes) == (len(states) - 1, len(content))
    assert log.tail is Tail.TORN


@given(STATES, st.data())
def test_what_is_flipped_is_never_believed(states: list[Grid], data: st.DataObject) -> None:
    content, ends = written(states)
    at = data.draw(st.integers(0, len(content) - 1))
    flipped = bytes([content[at] ^ data.draw(st.integers(1, 255))])
    damaged = content[:at] + flipped + content[at + 1 :]
    if at < ends[0]:
        with pytest.raises((SnapshotCorrupt, UnknownSnapshotVersion)):
            decode_log(damaged)
        return
    hit = next(number for number, end in enumerate(ends) if at < end)
    log = decode_log(damaged)
    assert log.last == hit - 1
    assert log.tail is not Tail.NOTHING
    if hit < len(states) - 1:  # states behind it are lost, and that is told
        assert log.tail is Tail.DAMAGED
    assert log.restore(log.last) == states[hit - 1]


@given(STATES.filter(lambda states: len(states) > 2))
def test_a_record_in_another_place_is_not_believed(states: list[Grid]) -> None:
    content, ends = written(states)
    without_one = content[: ends[0]] + content[ends[1] :]
    log = decode_log(without_one)
    assert (log.last, log.tail) == (0, Tail.DAMAGED)


@given(st.binary(max_size=200))
def test_any_bytes_behind(behind: bytes) -> None:
    content, _ = written([Grid(2, 2)])
    log = decode_log(content + behind)
    assert (log.last, log.end_bytes) == (0, len(content))
    with pytest.raises((SnapshotCorrupt, UnknownSnapshotVersion)):
        decode_log(behind)


def test_records_that_nobody_can_have_written() -> None:
    content, chain = begin_log(0, encode_snapshot(Snapshot(Grid(2, 2))))
    for changes in (
        Changes(np.array([4], np.uint32), np.array([1.0])),
        Changes(np.array([0], np.uint32), np.array([np.nan])),
    ):
        with pytest.raises(SnapshotCorrupt, match="a change"):
            decode_log(content + encode_delta(Delta(0, changes), chain)[0])


def test_a_newer_version_is_refused_by_name() -> None:
    content, _ = written([Grid(1, 1)])
    with pytest.raises(UnknownSnapshotVersion, match="version 2"):
        decode_log(content[:4] + b"\2" + content[5:])


def test_a_sparse_delta_takes_bytes_for_what_changed() -> None:
    old, new = Grid(50, 50), Grid(50, 50)
    for at in range(5):
        new[7 * at, 9 * at] = at + 0.5
    record, _ = encode_delta(Delta(0, new.changes_from(old)), bytes(8))
    assert len(record) == 8 + 13 + 5 * (2 + 8) + 8
