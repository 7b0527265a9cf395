"""Grids for tests, and files of them."""

import numpy as np

from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid


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
