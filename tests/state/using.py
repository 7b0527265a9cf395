"""Stores for tests of what is kept in them: a vault's, in memory or on disk."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np

from stowkenfs import Vault
from stowkenfs.state import Grid, VaultStateStore
from tests.running import run
from tests.state.failing import FailingStore
from tests.state.places import CONFIG, FakeClock

Main = Callable[[FailingStore, FakeClock], Awaitable[None]]


def with_store(backend: str, main: Main, path: Path | None = None) -> None:
    """Run it with a store in a new vault, in memory if no path is given, and a clock."""

    async def opened() -> None:
        clock = FakeClock()
        vault = Vault.memory(CONFIG) if path is None else Vault.open(path, CONFIG)
        async with vault as it, VaultStateStore.open(it, clock=clock) as store:
            await main(FailingStore(store), clock)
            assert (await it.verify()).clean

    run(backend, opened)


def random_grid(seed: int, width: int = 20, height: int = 20) -> Grid:
    return Grid.of(np.random.default_rng(seed).normal(size=(height, width)))
