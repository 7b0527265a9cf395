"""A torus of finite numbers, compared bit by bit."""

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import InvalidGrid
from stowkenfs.grids.grid import CELLS_MAX, Changes, Grid
from tests.grids.strategies import FINITE, grids

ANY = st.integers(-(10**12), 10**12)


def test_x_is_the_column_and_y_the_row() -> None:
    grid = Grid(3, 2)
    assert (grid.width, grid.height, grid.cells.shape) == (3, 2, (2, 3))
    grid[2, 1] = 7.0
    assert grid.cells[1, 2] == 7.0
    assert grid.cells.reshape(-1)[1 * 3 + 2] == 7.0
    assert grid.cells.sum() == 7.0


def test_edges_wrap() -> None:
    grid = Grid.of([[0.0, 1.0, 2.0], [10.0, 11.0, 12.0]])
    assert grid[-1, 0] == 2.0
    assert grid[3, 0] == 0.0
    assert grid[0, -1] == 10.0
    assert grid[-4, -3] == 12.0
    assert grid[3, 2] == 0.0


@given(grids(), ANY, ANY, FINITE)
def test_any_place_is_a_cell(grid: Grid, x: int, y: int, value: float) -> None:
    before = grid.cells.copy()
    grid[x, y] = value
    before[y % grid.height, x % grid.width] = value
    assert grid == Grid.of(before)
    assert np.float64(grid[x + grid.width, y - 5 * grid.height]).tobytes() == (
        np.float64(value).tobytes()
    )


def test_places_are_whole_numbers() -> None:
    grid = Grid(2, 2)
    grid[np.int64(3), np.uint8(2)] = 1.0
    assert grid[1, 0] == 1.0
    with pytest.raises(TypeError):
        grid[0.5, 0]  # type: ignore[index]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused(value: float) -> None:
    grid = Grid(2, 2)
    with pytest.raises(InvalidGrid):
        grid[0, 0] = value
    with pytest.raises(InvalidGrid, match=r"cell \(1, 0\)"):
        grid.replace([[0.0, value], [1.0, 2.0]])
    with pytest.raises(InvalidGrid):
        grid.apply(Changes(np.array([0, 1], np.uint32), np.array([1.0, value])))
    assert grid == Grid(2, 2)


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 5), (CELLS_MAX + 1, 1), (1 << 40, 1 << 40)])
def test_impossible_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InvalidGrid):
        Grid(*size)


def test_other_arrays_are_refused() -> None:
    wrong: tuple[Any, ...] = ([1.0, 2.0], [[1j]], [["a"]], [[[1.0]]], [[]], [[None]])
    for cells in wrong:
        with pytest.raises(InvalidGrid):
            Grid.of(cells)


def test_its_array_cannot_be_written() -> None:
    grid = Grid(2, 2)
    with pytest.raises(ValueError, match="read-only"):
        grid.cells[0, 0] = 1.0
    shown = grid.cells
    grid[0, 0] = 1.0
    assert shown[0, 0] == 1.0


def test_equal_is_by_bits() -> None:
    assert Grid.of([[0.0]]) != Grid.of([[-0.0]])
    assert Grid(2, 3) != Grid(3, 2)
    assert Grid(2, 3) == Grid.of(np.zeros((3, 2), np.int8))
    assert Grid(1, 1) != 0.0


@given(grids())
def test_a_copy_is_another(grid: Grid) -> None:
    for made in (grid.copy(), copy.copy(grid), copy.deepcopy(grid)):
        assert made == grid
        made[0, 0] = 1.0 if grid[0, 0] != 1.0 else 2.0
        assert made != grid


@given(st.data())
def test_changes_lead_from_one_to_the_other(data: st.DataObject) -> None:
    old = data.draw(grids())
    new = data.draw(grids(st.just((old.height, old.width))))
    changes = new.changes_from(old)
    differing = [
        i
        for i, (one, other) in enumerate(zip(old.cells.flat, new.cells.flat, strict=True))
        if one.tobytes() != other.tobytes()
    ]
    assert changes.indices.tolist() == differing
    made = old.copy()
    made.apply(changes)
    assert made == new
    assert len(new.changes_from(made)) == 0


def test_other_shapes_are_no_changes() -> None:
    with pytest.raises(InvalidGrid, match="2 x 3 and 3 x 2"):
        Grid(2, 3).changes_from(Grid(3, 2))
    with pytest.raises(InvalidGrid):
        Grid(2, 2).apply(Changes(np.array([4], np.uint32), np.array([1.0])))
