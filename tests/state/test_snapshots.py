"""Snapshots in a store: times, old versions, backups."""

from datetime import timedelta

import pytest

from stowkenfs.errors import (
    SnapshotCorrupt,
    StateNotFound,
    StateStoreFailed,
    UnknownSnapshotVersion,
)
from stowkenfs.state import (
    Grid,
    GridFormat,
    Metadata,
    Snapshot,
    encode,
    load_or_backup,
    load_snapshot,
    save_snapshot,
    save_with_backup,
    upgrade_snapshots,
)
from tests.state.failing import FailingStore
from tests.state.places import FakeClock
from tests.state.using import random_grid, with_store

DIFFUSION = {"rate": 0.25, "steps": 10, "kernel": [[0.0, 0.1], [0.1, 0.6]], "name": None}


@pytest.mark.parametrize("form", GridFormat)
def test_metadata_comes_back_with_the_grid(backend: str, form: GridFormat) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        grid = random_grid(1)
        given = Snapshot(grid, Metadata(owner="ann", parameters=DIFFUSION))
        before = clock.now_ns
        saved = await save_snapshot(store, "key", given, form, clock=clock)
        loaded = await load_snapshot(store, "key")
        assert loaded == saved
        assert loaded.grid == grid
        assert (loaded.metadata.owner, loaded.metadata.parameters) == ("ann", DIFFUSION)
        created = loaded.metadata.created_ns
        assert created is not None
        assert before < created <= clock.now_ns
        await clock.pass_time(60)
        again = await save_snapshot(store, "key", loaded, form, clock=clock)
        assert again.metadata.created_ns == created
        assert again.metadata.modified_ns is not None
        assert again.metadata.modified_ns - created >= 60 * 10**9

    with_store(backend, main)


def test_what_is_saved_is_the_grid_as_it_was(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        grid = Grid(2, 2)
        saved = await save_snapshot(store, "key", Snapshot(grid))
        grid[0, 0] = 1.0
        assert saved.grid == (await load_snapshot(store, "key")).grid == Grid(2, 2)

    with_store(backend, main)


def test_absent_damaged_and_newer(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        with pytest.raises(StateNotFound, match=r"^there is no state 'key'$"):
            await load_snapshot(store, "key")
        await save_snapshot(store, "key", Snapshot(Grid(2, 2)))
        content = await store.get("key")
        assert content is not None
        await store.put("key", content[:-1])
        with pytest.raises(SnapshotCorrupt):
            await load_snapshot(store, "key")
        await store.put("key", content[:4] + b"\3" + content[5:])
        with pytest.raises(UnknownSnapshotVersion, match="version 3"):
            await load_snapshot(store, "key")

    with_store(backend, main)


def test_files_of_the_first_version_load_and_are_upgraded(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        old = {f"old/{form.name}{form.suffix}": form for form in GridFormat}
        for number, (key, form) in enumerate(old.items()):
            await store.put(key, encode(random_grid(number), form))
            loaded = await load_snapshot(store, key)
            assert loaded == Snapshot(random_grid(number), Metadata())
        await store.put("old/soon", encode(Grid(1, 1), GridFormat.BINARY),
                        expires_after=timedelta(days=1))  # fmt: skip
        await save_snapshot(store, "old/new", Snapshot(Grid(1, 1)))
        assert await upgrade_snapshots(store, "old/", clock=clock) == len(old) + 1
        assert await upgrade_snapshots(store, "old/", clock=clock) == 0
        for number, key in enumerate(old):
            loaded = await load_snapshot(store, key)
            assert loaded.grid == random_grid(number)
            assert loaded.metadata.created_ns == loaded.metadata.modified_ns
            assert loaded.metadata.created_ns is not None
        await clock.pass_time(86_500)
        assert "old/soon" not in [entry.key for entry in await store.list()]

    with_store(backend, main)


# Save with backup


@pytest.mark.parametrize("fail_in", [0, 1])
def test_the_old_state_survives_a_failed_save(backend: str, fail_in: int) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        old = await save_with_backup(store, "key", Snapshot(random_grid(1)))
        store.fail_in = fail_in  # of copying what is there, and of saving
        with pytest.raises(StateStoreFailed):
            await save_with_backup(store, "key", Snapshot(random_grid(2)))
        assert await load_or_backup(store, "key") == old
        store.fail_in = None
        new = await save_with_backup(store, "key", Snapshot(random_grid(3)))
        assert await load_or_backup(store, "key") == new
        assert [entry.key for entry in await store.list()] == ["key"]

    with_store(backend, main)


def test_a_save_that_damages_leaves_the_backup(backend: str) -> None:
    class Damaging(FailingStore):
        async def put(self, key, content, *, expires_after=None):
            content = content if key.endswith(".backup") else content[:-3]
            await super().put(key, content, expires_after=expires_after)

    async def main(store: FailingStore, clock: FakeClock) -> None:
        old = await save_with_backup(store, "key", Snapshot(random_grid(1)))
        for _ in range(2):  # the second finds something damaged, which is worth no backup
            with pytest.raises(SnapshotCorrupt):
                await save_with_backup(Damaging(store.store), "key", Snapshot(random_grid(2)))
            assert await load_or_backup(store, "key") == old
        new = await save_with_backup(store, "key", Snapshot(random_grid(3)))
        assert await load_or_backup(store, "key") == new
        assert [entry.key for entry in await store.list()] == ["key"]

    with_store(backend, main)


def test_a_backup_that_is_no_better(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        with pytest.raises(StateNotFound):
            await load_or_backup(store, "key")
        await store.put("key", b"damaged")
        await store.put("key.backup", b"damaged too")
        with pytest.raises(SnapshotCorrupt):
            await load_or_backup(store, "key")

    with_store(backend, main)


# Research: variants side by side


def test_experiments_start_from_one_baseline(backend: str) -> None:
    async def main(store: FailingStore, clock: FakeClock) -> None:
        baseline = random_grid(1, 30, 30)
        await save_snapshot(store, "experiments/baseline_v1.snapshot", Snapshot(baseline))
        for name, value in (("a", 1.5), ("b", -2.5)):
            loaded = await load_snapshot(store, "experiments/baseline_v1.snapshot")
            assert loaded.grid == baseline
            loaded.grid[-1, -1] = value
            metadata = Metadata(parameters={"variant": name, "best": name == "b"})
            snapshot = Snapshot(loaded.grid, metadata)
            key = f"experiments/experiment_{name}_v1.snapshot"
            await save_snapshot(store, key, snapshot, GridFormat.JSON)
        entries = await store.list("experiments/experiment_")
        found = [await load_snapshot(store, entry.key) for entry in entries]
        assert [one.metadata.parameters["variant"] for one in found] == ["a", "b"]
        changes = found[1].grid.changes_from(found[0].grid)
        assert changes.indices.tolist() == [899]
        assert changes.values.tolist() == [-2.5]
        assert [one.metadata.parameters["best"] for one in found] == [False, True]

    with_store(backend, main)
