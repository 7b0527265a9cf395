"""Grids for tests, and files of them."""

import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import numpy as np

from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.vault.vault import Vault
from tests.vault.rebuilding import opened, rewrite

BINARY = encode(Grid.of(np.arange(2500.0).reshape(50, 50)), GridFormat.BINARY)


def drifting(
    seed: int, versions: int, width: int = 20, height: int = 15, changes: int = 5
) -> list[Grid]:
    """Versions of a grid, a tenth of which is not zero; a few cells of each are new."""
    rng = np.random.default_rng(seed)
    cells = np.where(rng.random((height, width)) < 0.1, rng.standard_normal((height, width)), 0.0)
    found = []
    for _ in range(versions):
        found.append(Grid.of(cells))
        some = rng.choice(cells.size, min(changes, cells.size), replace=False)
        cells.reshape(-1)[some] = rng.standard_normal(len(some))
    return found


def files_of(seed: int, versions: int, grid_format: GridFormat, **shape: int) -> list[bytes]:
    return [encode(grid, grid_format) for grid in drifting(seed, versions, **shape)]


def in_vault(main: Callable[[Vault], Awaitable[None]], directory: Path) -> None:
    async def run() -> None:
        async with opened(directory) as vault:
            await main(vault)
            report = await vault.verify()
            assert report.clean, report

    anyio.run(run)


async def read(vault: Vault, path: bytes) -> bytes:
    return await vault.read_file(vault.tree.resolve(path).ino)


def write_draft(vault: Vault, path: bytes, content: bytes) -> None:
    """A file as a program writes it: made or emptied, then written."""
    parent, _, name = path.rpartition(b"/")
    folder = vault.make_directories(parent)
    inode = vault.tree.lookup(folder, name) or vault.tree.create(
        folder, name, stat.S_IFREG | 0o644, 0, 0
    )
    vault.files.truncate(inode.ino, 0)
    rewrite(vault, path, 0, content)
