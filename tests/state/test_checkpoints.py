"""Checkpoints of a run: the last five, and one to resume from whatever happened."""

import pytest

from stowkenfs.errors import SnapshotCorrupt, StateNotFound, StateStoreFailed
from stowkenfs.state import CheckpointManager, Grid
from tests.state.failing import FailingStore
from tests.state.places import FakeClock
from tests.state.using import random_grid, with_store


def test_the_last_five_stay(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        manager = CheckpointManager(store, clock=clock)
        assert await manager.load_latest() is None
        for step in range(0, 500, 50):
            await manager.save(step, random_grid(step), {"step": step})
        assert await manager.steps() == [250, 300, 350, 400, 450]
        latest = await manager.load_latest()
        assert latest is not None
        assert (latest.step, latest.snapshot.grid) == (450, random_grid(450))
        assert latest.snapshot.metadata.parameters == {"step": 450}
        assert (await manager.load(300)).grid == random_grid(300)
        with pytest.raises(StateNotFound):
            await manager.load(200)
        assert (await store.list())[0].key == ("checkpoints/checkpoint_000250.snapshot")

    with_store(backend, main)


def test_all_stay_if_asked(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        manager = CheckpointManager(store, "runs/a", keep=None)
        for step in range(12):
            await manager.save(step, Grid(1, 1))
        assert await manager.steps() == list(range(12))
        assert await CheckpointManager(store, "runs", keep=1).steps() == []

    with_store(backend, main)


def test_steps_of_any_length_are_in_order(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        manager = CheckpointManager(store, keep=3)
        for step in (999_999, 1_000_000, 9, 10_000_000, 20):
            await manager.save(step, Grid(1, 1))
        assert await manager.steps() == [20, 1_000_000, 10_000_000]

    with_store(backend, main)


@pytest.mark.parametrize("fail_in", [0, 1])
def test_resume_after_a_crash_in_a_save(backend: str, fail_in: int) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        for step in (10, 20):
            await CheckpointManager(store, keep=2).save(step, random_grid(step))
        store.fail_in = fail_in  # of the checkpoint itself, and of the clean-up behind it
        with pytest.raises(StateStoreFailed):
            await CheckpointManager(store, keep=2).save(30, random_grid(30))
        store.fail_in = None
        manager = CheckpointManager(store, keep=2)
        latest = await manager.load_latest()
        assert latest is not None
        assert latest.step == (20, 30)[fail_in]
        assert latest.snapshot.grid == random_grid(latest.step)
        await manager.save(40, random_grid(40))
        assert await manager.steps() == [latest.step, 40]

    with_store(backend, main)


def test_one_that_is_damaged_is_passed_over(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        manager = CheckpointManager(store)
        for step in (1, 2, 3):
            await manager.save(step, random_grid(step))
        for step in (3, 2):
            content = await store.get(manager.key(step))
            assert content is not None
            await store.put(manager.key(step), content[: len(content) // 2])
        latest = await manager.load_latest()
        assert latest is not None
        assert (latest.step, latest.snapshot.grid) == (1, random_grid(1))
        await store.put(manager.key(1), b"")
        with pytest.raises(SnapshotCorrupt):
            await manager.load_latest()

    with_store(backend, main)


def test_what_others_put_there_is_left_alone(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        names = ("checkpoint_1.snapshot", "checkpoint_000001.bin", "checkpoint_best", "notes")
        for name in names:
            await store.put(f"checkpoints/{name}", b"x")
        manager = CheckpointManager(store, keep=1)
        await manager.save(5, Grid(1, 1))
        await manager.save(6, Grid(1, 1))
        assert await manager.steps() == [6]
        assert len(await store.list("checkpoints/")) == len(names) + 1

    with_store(backend, main)


def test_impossible_numbers(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        with pytest.raises(ValueError, match="1 is the least"):
            CheckpointManager(store, keep=0)
        for step in (-1, 10**15):
            with pytest.raises(ValueError, match="steps are"):
                await CheckpointManager(store).save(step, Grid(1, 1))

    with_store(backend, main)
