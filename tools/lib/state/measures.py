"""What is measured: grids as files, in a vault, and as changes."""

import gzip
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lib.density.sizes import disk_bytes

from stowkenfs import Vault, VaultConfig
from stowkenfs.state import (
    CheckpointManager,
    Grid,
    GridFormat,
    IncrementalState,
    Snapshot,
    VaultStateStore,
    decode,
    encode,
    load_snapshot,
    save_snapshot,
)

SIZE = 50
GRIDS = 20
"""Different ones, of which sizes and times are the average."""
UPDATES = 100
CELLS = 5
"""That each update changes."""

Told = dict[str, Any]


def sparse(random: np.random.Generator) -> Grid:
    """A tenth of the cells is set."""
    cells = random.normal(size=(SIZE, SIZE))
    return Grid.of(np.where(random.random((SIZE, SIZE)) < 0.1, cells, 0.0))


def dense(random: np.random.Generator) -> Grid:
    """No cell is like another: the worst there is."""
    return Grid.of(random.normal(size=(SIZE, SIZE)))


KINDS: dict[str, Callable[[np.random.Generator], Grid]] = {"sparse": sparse, "dense": dense}


def updated(grid: Grid, random: np.random.Generator) -> Grid:
    """Another, of which some cells are others."""
    grid = grid.copy()
    for x, y in random.integers(0, SIZE, (CELLS, 2)):
        grid[x, y] = random.normal()
    return grid


# Formats


async def formats(kind: str, rounds: int) -> Told:
    """{format: its bytes, microseconds to encode and decode, the same in a vault}."""
    random = np.random.default_rng(1)
    grids = [KINDS[kind](random) for _ in range(GRIDS)]
    told: Told = {form.name.lower(): _encoded(grids, form, rounds) for form in GridFormat}
    for form in GridFormat:
        told[form.name.lower()] |= await _in_vault(grids, form)
    told["snapshot"] = await _snapshots(grids)
    told["delta"] = await _deltas(grids[0], random)
    return told


def _encoded(grids: Sequence[Grid], form: GridFormat, rounds: int) -> Told:
    files = [encode(grid, form) for grid in grids]
    for grid, file in zip(grids, files, strict=True):
        assert decode(file, form) == grid
    return {
        "bytes": statistics.mean(map(len, files)),
        "save_us": _microseconds(lambda: [encode(grid, form) for grid in grids], rounds),
        "load_us": _microseconds(lambda: [decode(file, form) for file in files], rounds),
    }


def _microseconds(work: Callable[[], object], rounds: int) -> float:
    """For one grid; the median of the rounds."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter_ns()
        work()
        took.append((time.perf_counter_ns() - began) / 1000 / GRIDS)
    return statistics.median(took)


Work = Callable[[VaultStateStore, int], Awaitable[object]]


async def _in_vault(grids: Sequence[Grid], form: GridFormat) -> Told:
    async def save(store: VaultStateStore, number: int) -> None:
        await store.put(f"{number}{form.suffix}", encode(grids[number], form))

    async def load(store: VaultStateStore, number: int) -> Grid:
        content = await store.get(f"{number}{form.suffix}")
        assert content is not None
        return decode(content, form)

    return await _vault_told(save, load, grids)


async def _snapshots(grids: Sequence[Grid]) -> Told:
    async def save(store: VaultStateStore, number: int) -> None:
        await save_snapshot(store, f"{number}", Snapshot(grids[number]))

    async def load(store: VaultStateStore, number: int) -> Grid:
        return (await load_snapshot(store, f"{number}")).grid

    told = await _vault_told(save, load, grids)
    return {"bytes": told.pop("file_bytes"), "save_us": None, "load_us": None} | told


async def _deltas(grid: Grid, random: np.random.Generator) -> Told:
    """Each state some cells from the one before; sizes without the first, which is full."""
    states = [grid]
    while len(states) <= GRIDS:
        states.append(updated(states[-1], random))

    with tempfile.TemporaryDirectory(prefix="stowkenfs-state-") as scratch:
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            saving = IncrementalState(store, "memory")
            await saving.save(states[0])
            (base,) = await store.list()
            save = await _each(lambda number: saving.save(states[number + 1]))
            (whole,) = await store.list()
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            saved = IncrementalState(store, "memory")

            async def check(number: int) -> None:
                assert await saved.restore(number) == states[number]

            load = await _each(check)
    size = (whole.size_bytes - base.size_bytes) / GRIDS
    return {"bytes": size, "vault_save_us": save, "vault_load_us": load}


async def _vault_told(save: Work, load: Work, grids: Sequence[Grid]) -> Told:
    with tempfile.TemporaryDirectory(prefix="stowkenfs-state-") as scratch:
        async with _opened(scratch) as vault:
            pass
        empty = _pack_bytes(scratch)
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            save_us = await _each(lambda number: save(store, number))
            file_bytes = statistics.mean(entry.size_bytes for entry in await store.list())
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:

            async def check(number: int) -> None:
                assert await load(store, number) == grids[number]

            load_us = await _each(check)
        stored = _pack_bytes(scratch) - empty
    return {
        "file_bytes": file_bytes,
        "vault_bytes": stored / GRIDS,
        "vault_save_us": save_us,
        "vault_load_us": load_us,
    }


async def _each(work: Callable[[int], Awaitable[object]]) -> float:
    """Microseconds for one; the median, since some wait for a disk that others use."""
    took = []
    for number in range(GRIDS):
        began = time.perf_counter_ns()
        await work(number)
        took.append((time.perf_counter_ns() - began) / 1000)
    return statistics.median(took)


# A hundred sparse updates


async def updates() -> Told:
    """{way to save them: bytes of its files, of packs, of the disk, before and after compaction}.

    Sizes are what a vault with the first state grows by.
    """
    random = np.random.default_rng(2)
    states = [sparse(random)]
    while len(states) <= UPDATES:
        states.append(updated(states[-1], random))
    full = [encode(state, GridFormat.BINARY) for state in states[1:]]
    told: Told = {
        "full files": {"bytes": sum(map(len, full)), "du": _du_of_files(full)},
        "full files, compressed": {
            "bytes": sum(len(encode(state, GridFormat.COMPRESSED)) for state in states[1:])
        },
        "all full files in one gzip": {"bytes": len(gzip.compress(b"".join(full), 9))},
    }

    async def as_file(store: VaultStateStore, number: int) -> None:
        await store.put("memory.bin", encode(states[number], GridFormat.BINARY))

    async def as_files(store: VaultStateStore, number: int) -> None:
        key = f"memory_{number:06d}.bin"
        await store.put(key, encode(states[number], GridFormat.BINARY))

    told["in the vault, a file for each"] = await _grown(as_files)
    over_and_over = await _grown(as_file)
    told["in the vault, one file over and over"] = over_and_over | {"bytes": sum(map(len, full))}

    async def as_snapshots(store: VaultStateStore, number: int) -> None:
        checkpoints = CheckpointManager(store, keep=None)
        await checkpoints.save(number, states[number], {"number": number})

    told["in the vault, a checkpoint for each"] = await _grown(as_snapshots)

    saving: dict[VaultStateStore, IncrementalState] = {}

    async def as_changes(store: VaultStateStore, number: int) -> None:
        state = saving.setdefault(store, IncrementalState(store, "memory", full_every=1000))
        assert await state.save(states[number]) == number

    async def check(store: VaultStateStore) -> None:
        state = IncrementalState(store, "memory")
        for number in range(0, UPDATES + 1, 10):
            assert await state.restore(number) == states[number]

    told["in the vault, IncrementalState"] = await _grown(as_changes, check)
    return told


async def _grown(
    save: Work, check: Callable[[VaultStateStore], Awaitable[None]] | None = None
) -> Told:
    with tempfile.TemporaryDirectory(prefix="stowkenfs-state-") as scratch:
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            await save(store, 0)
            first = sum(entry.size_bytes for entry in await store.list())
        packs, disk = _pack_bytes(scratch), disk_bytes(Path(scratch))
        began = time.perf_counter()
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            for number in range(1, UPDATES + 1):
                await save(store, number)
            size = sum(entry.size_bytes for entry in await store.list()) - first
        told: Told = {"bytes": size, "seconds": time.perf_counter() - began}
        told["packs"] = _pack_bytes(scratch) - packs
        told["du"] = disk_bytes(Path(scratch)) - disk
        async with _opened(scratch) as vault, VaultStateStore.open(vault) as store:
            await vault.compact()
            await vault.gc()
            if check is not None:
                await check(store)
        told["packs_compacted"] = _pack_bytes(scratch) - packs
        told["du_compacted"] = disk_bytes(Path(scratch)) - disk
    return told


def _opened(scratch: str) -> Any:
    return Vault.open(Path(scratch) / "vault", VaultConfig(seal_after_seconds=0))


def _pack_bytes(scratch: str) -> int:
    return sum(
        path.stat().st_size
        for path in (Path(scratch) / "vault" / "packs").rglob("*")
        if path.is_file()
    )


def _du_of_files(files: Sequence[bytes]) -> int:
    with tempfile.TemporaryDirectory(prefix="stowkenfs-state-") as scratch:
        empty = disk_bytes(Path(scratch))
        for number, file in enumerate(files):
            (Path(scratch) / f"{number}").write_bytes(file)
        return disk_bytes(Path(scratch)) - empty
