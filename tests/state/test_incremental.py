"""Every state of a grid: restored bit by bit, torn saves dropped, damage told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stowkenfs.errors import SnapshotCorrupt, StateNotFound, StateStoreFailed
from stowkenfs.grids.delta_log import decode_log
from stowkenfs.state import Grid, IncrementalState
from tests.grids.strategies import FINITE, grids
from tests.state.failing import FailingStore
from tests.state.places import FakeClock
from tests.state.using import random_grid, with_store


def sparse_updates(count: int, cells: int = 5, size: int = 50) -> list[Grid]:
    """A grid, and ``count`` later states of it, each with so many cells changed."""
    random = np.random.default_rng(1)
    states = [Grid.of(np.zeros((size, size)))]
    for _ in range(count):
        state = states[-1].copy()
        for x, y in random.integers(0, size, (cells, 2)):
            state[x, y] = random.normal()
        states.append(state)
    return states


def test_any_state_can_be_restored(backend: str, tmp_path: Path) -> None:
    states = sparse_updates(60)

    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", full_every=25, clock=clock)
        times = []
        for number, state in enumerate(states):
            assert await saving.save(state) == number
            times.append(clock.now_ns)
            await clock.pass_time(10)
        other = IncrementalState(store, "memory")
        for number in (0, 1, 24, 25, 26, 49, 50, 60):
            assert await other.restore(number) == states[number]
            assert await other.restore_at(times[number]) == states[number]
            assert await other.restore_at(times[number] + 9 * 10**9) == states[number]
        assert await other.restore() == states[-1]
        points = await other.points()
        assert [point.number for point in points] == list(range(61))
        assert [point.number for point in points if point.is_full] == [0, 25, 50]
        assert [entry.key for entry in await store.list()] == [
            "memory/000000000000.log", "memory/000000000025.log", "memory/000000000050.log"
        ]  # fmt: skip
        for number in (61, 10**6):
            with pytest.raises(StateNotFound, match="60 is the last"):
                await other.restore(number)
        with pytest.raises(StateNotFound):
            await other.restore_at(times[0] - 10**9)
        with pytest.raises(StateNotFound):
            await IncrementalState(store, "other").restore()

    with_store(backend, main, tmp_path / "v")


def test_a_delta_takes_bytes_for_what_changed(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", full_every=1000)
        states = sparse_updates(100)
        await saving.save(states[0])
        (base,) = await store.list()
        for state in states[1:]:
            await saving.save(state)
        (whole,) = await store.list()
        assert base.size_bytes > 20_000
        assert (whole.size_bytes - base.size_bytes) / 100 < 80

    with_store(backend, main)


def test_one_that_is_the_same_takes_nothing(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory")
        grid = random_grid(1)
        assert [await saving.save(grid) for _ in range(3)] == [0, 0, 0]
        assert len(store.changes) == 1
        grid[0, 0] = -0.0
        assert await saving.save(grid) == 1
        grid[0, 0] = 0.0
        assert await saving.save(grid) == 2
        assert len(await saving.points()) == 3

    with_store(backend, main)


def test_what_outgrows_the_base_is_saved_whole(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory")
        states = [random_grid(number) for number in range(5)]
        for number, state in enumerate(states):  # all cells change
            assert await saving.save(state) == number
        assert all(point.is_full for point in await saving.points())
        for entry in await store.list():
            assert entry.size_bytes < 2 * 3400
        # Changes of a half: one fits behind a full one, two do not.
        for number in range(4):
            half = states[-1].cells.copy()
            half[:10] = number
            states.append(Grid.of(half))
            await saving.save(states[-1])
        assert [point.is_full for point in await saving.points()][5:] == [False, True, False, True]
        for number, state in enumerate(states):
            assert await saving.restore(number) == state

    with_store(backend, main)


def test_another_shape_is_saved_whole(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory")
        states = [Grid(2, 3), Grid(3, 2), random_grid(1, 50, 1), Grid(2, 3)]
        for state in states:
            await saving.save(state)
        assert [await saving.restore(number) for number in range(4)] == states

    with_store(backend, main)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(grids(st.just((3, 4))), min_size=1, max_size=12),
    st.integers(1, 5),
    st.lists(st.booleans(), min_size=12, max_size=12),
)
def test_whatever_is_saved_is_restored(
    states: list[Grid], full_every: int, reopened: list[bool]
) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", full_every=full_every)
        expected: list[Grid] = []
        for state, again in zip(states, reopened, strict=False):
            if again:
                saving = IncrementalState(store, "memory", full_every=full_every)
            number = await saving.save(state)
            if expected and state == expected[-1]:
                assert number == len(expected) - 1
            else:
                assert number == len(expected)
                expected.append(state.copy())
        assert [await saving.restore(number) for number in range(len(expected))] == expected
        assert len(await saving.points()) == len(expected)

    with_store("asyncio", main)


@settings(max_examples=20, deadline=None)
@given(FINITE, st.integers(0, 200))
def test_a_save_that_is_cut_short_is_dropped(value: float, torn_bytes: int) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        states = sparse_updates(4, size=10)
        saving = IncrementalState(store, "memory")
        for state in states[:3]:
            await saving.save(state)
        next_state = states[2].copy()
        next_state[1, 1] = value
        whole = next_state == states[2]
        store.fail_in, store.torn_bytes = 0, torn_bytes
        if not whole:
            with pytest.raises(StateStoreFailed):
                await saving.save(next_state)
        store.fail_in = None
        last = await IncrementalState(store, "memory").restore()
        assert last in (states[2], next_state)  # all of it may have been stored
        number = 3 if last == next_state and not whole else 2
        # The one that failed goes on, and so does one that is opened anew.
        for one, state in ((saving, states[3]), (IncrementalState(store, "memory"), states[4])):
            assert await one.save(state) == number + 1
            number += 1
        assert await saving.restore(2) == states[2]
        assert await saving.restore(number) == states[4]
        assert await saving.restore(number - 1) == states[3]

    with_store("asyncio", main)


def test_damage_in_the_middle_is_told_and_what_is_before_it_stays(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        states = sparse_updates(6, size=10)
        saving = IncrementalState(store, "memory")
        for state in states:
            await saving.save(state)
        key = "memory/000000000000.log"
        content = await store.get(key)
        assert content is not None
        log = decode_log(content)
        at = log.end_bytes - (log.end_bytes - log.base_bytes) // 2
        await store.put(key, content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        other = IncrementalState(store, "memory")
        intact = len(await other.points())
        assert 1 <= intact < len(states)
        for number in range(intact):
            assert await other.restore(number) == states[number]
        for wanted in (None, intact, 6):
            with pytest.raises(SnapshotCorrupt, match=f"behind {intact - 1} are lost"):
                await other.restore(wanted)
        # Life goes on behind what is intact.
        assert await other.save(states[-1]) == intact
        assert await other.restore() == states[-1]
        assert await other.restore(0) == states[0]
        assert [point.number for point in await other.points()] == list(range(intact + 1))
        assert decode_log(content).last == 6  # sanity

    with_store(backend, main)


@pytest.mark.parametrize("damaged", [b"", b"SKgl", b"x" * 5000])
def test_a_log_that_is_no_more(backend: str, damaged: bytes) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", full_every=2)
        states = sparse_updates(3, size=10)
        for state in states:
            await saving.save(state)
        await store.put("memory/000000000002.log", damaged)
        other = IncrementalState(store, "memory")
        assert await other.restore(1) == states[1]
        with pytest.raises(SnapshotCorrupt):
            await other.restore()
        assert await other.save(states[-1]) == 3
        assert await other.restore() == states[-1]
        with pytest.raises(SnapshotCorrupt):
            await other.restore(2)

    with_store(backend, main)


def test_old_ones_can_be_forgotten(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", full_every=3)
        states = sparse_updates(10, size=10)
        for state in states:
            await saving.save(state)
        assert await saving.forget_before(7) == 2
        assert [point.number for point in await saving.points()] == [6, 7, 8, 9, 10]
        assert await saving.restore(7) == states[7]
        with pytest.raises(StateNotFound):
            await saving.restore(5)
        assert await saving.forget_before(10**9) == 1
        assert await saving.restore() == states[-1]
        assert await saving.save(states[0]) == 11

    with_store(backend, main)


def test_metadata_is_in_what_is_saved_whole(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        saving = IncrementalState(store, "memory", owner="ann", parameters={"rate": 0.5})
        await saving.save(Grid(2, 2))
        content = await store.get("memory/000000000000.log")
        assert content is not None
        metadata = decode_log(content).base.metadata
        assert (metadata.owner, metadata.parameters) == ("ann", {"rate": 0.5})
        with pytest.raises(ValueError, match="1 is the least"):
            IncrementalState(store, "memory", full_every=0)

    with_store(backend, main)
