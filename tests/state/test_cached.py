"""A grid in memory: saved when it is due, at the end, and never worse than before."""

from contextlib import suppress

import anyio
import numpy as np
import pytest

from stowkenfs.errors import SnapshotCorrupt, StateStoreFailed
from stowkenfs.state import CachedState, Grid, Snapshot, load_snapshot, save_snapshot
from tests.state.failing import FailingStore
from tests.state.places import FakeClock
from tests.state.using import random_grid, with_store


def make() -> Grid:
    return Grid(4, 4)


def is_dirty(state: CachedState) -> bool:
    """For mypy, which takes what was asserted of a property for granted from then on."""
    return state.is_dirty


def test_it_is_saved_when_an_interval_is_over(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        async with CachedState.open(store, "key", make, interval_seconds=30, clock=clock) as state:
            assert is_dirty(state)  # it is new
            await state.flush()
            assert not is_dirty(state)
            changes = len(store.changes)
            for at in range(100):
                state[at, -at] = at + 0.5
                assert not await state.save_if_due()
            assert len(store.changes) == changes
            assert is_dirty(state)
            await clock.pass_time(31)
            assert await state.save_if_due()
            assert len(store.changes) == changes + 1
            assert not is_dirty(state)
            await clock.pass_time(31)
            assert not await state.save_if_due()  # nothing changed
            assert len(store.changes) == changes + 1
            saved = await load_snapshot(store, "key")
            assert saved.grid == Grid.of(state.cells)
            assert state[99, -99] == 99.5

    with_store(backend, main)


def test_what_is_dirty_at_the_end_is_saved(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        async with CachedState.open(store, "key", make, clock=clock) as state:
            state[1, 2] = 3.0
        with suppress(KeyError):
            async with CachedState.open(store, "key", make, clock=clock) as state:
                assert (state.width, state.height, state[1, 2]) == (4, 4, 3.0)
                assert not is_dirty(state)
                state.replace(np.full((4, 4), 7.0))
                raise KeyError
        assert (await load_snapshot(store, "key")).grid == Grid.of(np.full((4, 4), 7.0))
        changes = len(store.changes)
        async with CachedState.open(store, "key", make, clock=clock) as state:
            pass
        assert len(store.changes) == changes

    with_store(backend, main)


def test_it_is_saved_though_its_task_is_cancelled(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        with anyio.CancelScope() as scope:
            async with CachedState.open(store, "key", make, clock=clock) as state:
                state[0, 0] = 5.0
                scope.cancel()
                await anyio.sleep_forever()
        assert (await load_snapshot(store, "key")).grid[0, 0] == 5.0

    with_store(backend, main)


def test_a_failed_save_leaves_it_dirty_and_the_old_state_saved(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        await save_snapshot(store, "key", Snapshot(random_grid(1, 4, 4)))
        async with CachedState.open(store, "key", make, interval_seconds=1, clock=clock) as state:
            state[0, 0] = 5.0
            store.fail_in = 0
            await clock.pass_time(2)
            with pytest.raises(StateStoreFailed):
                await state.save_if_due()
            assert is_dirty(state)
            assert (await load_snapshot(store, "key")).grid == random_grid(1, 4, 4)
            store.fail_in = None
            assert await state.save_if_due()
        assert (await load_snapshot(store, "key")).grid[0, 0] == 5.0

    with_store(backend, main)


def test_changes_during_a_save_stay_to_be_saved(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        async with CachedState.open(store, "key", make, clock=clock) as state:

            class Changing(FailingStore):
                async def put(self, key, content, *, expires_after=None):
                    await super().put(key, content, expires_after=expires_after)
                    state[3, 3] = 9.0

            state._store = Changing(store)
            await state.flush()
            assert is_dirty(state)
            assert (await load_snapshot(store, "key")).grid[3, 3] == 0.0
            state._store = store
        assert (await load_snapshot(store, "key")).grid[3, 3] == 9.0

    with_store(backend, main)


def test_a_task_beside_keeps_it_saved(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        state_of = CachedState.open(store, "key", make, interval_seconds=0.01, clock=clock)
        async with state_of as state, anyio.create_task_group() as tasks:
            tasks.start_soon(state.keep_saved)
            store.fail_in = 0
            await clock.pass_time(1)
            await anyio.sleep(0.05)  # it fails, and tries again
            assert is_dirty(state)
            store.fail_in = None
            with anyio.fail_after(20):
                while state.is_dirty:
                    await clock.pass_time(1)
                    await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    with_store(backend, main)


def test_what_is_damaged_is_not_replaced_by_something_new(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        await store.put("key", b"damaged")
        with pytest.raises(SnapshotCorrupt):
            async with CachedState.open(store, "key", make, clock=clock):
                pass
        assert await store.get("key") == b"damaged"

    with_store(backend, main)
