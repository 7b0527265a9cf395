"""Stores together, as a production system has them: hot in Redis, far away in a bucket."""

from pathlib import Path

import anyio

from stowkenfs import Vault
from stowkenfs.state import (
    CachedState,
    CheckpointManager,
    Grid,
    IncrementalState,
    SessionStore,
    SQLiteStateStore,
    StateStore,
    VaultStateStore,
)
from tests.running import run
from tests.state.places import CONFIG, Place, place_of
from tests.state.using import random_grid


def test_a_cache_in_redis_and_a_backup_in_a_bucket(
    backend: str, tmp_path: Path, redis_url: str, s3_url: str
) -> None:
    number = 1000 + (backend == "trio")
    hot = place_of("redis", tmp_path, redis_url, "", number)
    far = place_of("s3", tmp_path, "", s3_url, number)

    async def serve() -> None:
        async with hot.open() as near, far.open() as away:
            async with CachedState.open(near, "agent-7", lambda: Grid(50, 50)) as memory:
                for turn in range(100):
                    memory[turn, turn] = turn + 0.5
                await memory.flush()
                await CheckpointManager(away, "agent-7").save(100, Grid.of(memory.cells))
                memory[0, 1] = 7.0
            assert await near.get("agent-7") is not None
            await near.delete("agent-7")  # what is in memory only may go

    async def restore() -> None:
        async with hot.open() as near, far.open() as away:
            latest = await CheckpointManager(away, "agent-7").load_latest()
            assert latest is not None
            restored = latest.snapshot.grid
            async with CachedState.open(near, "agent-7", restored.copy) as memory:
                assert (memory[99, 99], memory[0, 1]) == (99.5, 0.0)

    run(backend, serve)
    run(backend, restore)


def test_everything_works_in_every_store(backend: str, place: Place) -> None:
    """What is kept in a store knows nothing of its kind."""

    async def main() -> None:
        async with place.open() as store:
            await use(store)

    async def use(store: StateStore) -> None:
        states = [random_grid(1)]
        saving = IncrementalState(store, "all/states", full_every=3)
        checkpoints = CheckpointManager(store, "all/checkpoints", keep=2)
        sessions = SessionStore(store, "all/sessions", clock=place.clock)
        for number in range(5):
            await saving.save(states[-1])
            await checkpoints.save(number, states[-1], {"number": number})
            await sessions.save("ann", states[-1])
            states.append(states[-1].copy())
            states[-1][number, number] = number + 0.5
        for number in range(5):
            assert await saving.restore(number) == states[number]
        assert await checkpoints.steps() == [3, 4]
        latest = await checkpoints.load_latest()
        assert latest is not None
        assert latest.snapshot.grid == (await sessions.load("ann")).grid == states[4]
        (session,) = await sessions.sessions()
        assert session.expires_ns is not None
        assert 29 < (session.expires_ns - place.clock()) / 86_400e9 < 31

    run(backend, main)


def test_a_large_grid_does_not_hold_up_the_others(backend: str, tmp_path: Path) -> None:
    """What takes long is done in threads: another task goes on meanwhile."""

    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await anyio.sleep(0.001)
                ticks += 1

        grid = random_grid(1, 1000, 1000)
        async with (
            Vault.open(tmp_path / "v", CONFIG) as vault,
            VaultStateStore.open(vault) as in_vault,
            SQLiteStateStore.open(tmp_path / "state.db") as in_database,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(tick)
            stores: tuple[StateStore, ...] = (in_vault, in_database)
            for store in stores:
                before = ticks
                saving = IncrementalState(store, "large")
                assert await saving.save(grid) == 0
                assert await saving.restore() == grid
                assert ticks - before > 20
            tasks.cancel_scope.cancel()

    run(backend, main)
