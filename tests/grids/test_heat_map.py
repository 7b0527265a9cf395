"""A grid as a picture, looked at with another library's eyes."""

import io
import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from stowkenfs.grids.grid import Grid
from stowkenfs.grids.heat_map import CELL_PIXELS_MAX, SIDE_PIXELS, heat_map

DARK, BRIGHT = (0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25)

finite = st.floats(allow_nan=False, allow_infinity=False)


def seen(grid: Grid) -> Image.Image:
    picture = Image.open(io.BytesIO(heat_map(grid)))
    picture.verify()  # checksums
    picture = Image.open(io.BytesIO(heat_map(grid)))
    picture.load()
    return picture


def lightness(colour: tuple[int, ...]) -> float:
    """Relative luminance, as WCAG has it."""
    parts = [part / 255 for part in colour]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_cells_are_where_they_are() -> None:
    """Column x from the left, row y from the top; each cell a square."""
    grid = Grid(3, 2)
    grid[2, 1] = 4.0
    grid[0, 0] = -4.0
    picture = seen(grid)
    assert picture.size == (3 * CELL_PIXELS_MAX, 2 * CELL_PIXELS_MAX)
    pixels = np.asarray(picture.convert("RGB"))
    squares = pixels.reshape(2, CELL_PIXELS_MAX, 3, CELL_PIXELS_MAX, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    cells = squares[:, 0, :, 0]
    assert tuple(cells[0, 0]) == DARK
    assert tuple(cells[1, 2]) == BRIGHT
    assert (cells[0, 1:] == cells[0, 1]).all()
    assert lightness(DARK) < lightness(tuple(map(int, cells[0, 1]))) < lightness(BRIGHT)


def test_brighter_is_more() -> None:
    ramp = seen(Grid.of(np.linspace(-1e-3, 7e9, 256).reshape(1, 256))).convert("RGB")
    colours = [ramp.getpixel((x * 2, 0)) for x in range(256)]
    light = [lightness(colour) for colour in colours]  # type: ignore[arg-type]
    assert all(a < b + 1e-3 for a, b in itertools.pairwise(light))
    assert all(a < b for a, b in itertools.pairwise(light[::5]))


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, 1.7976931348623157e308, -3.5])
def test_one_value_everywhere(value: float) -> None:
    picture = seen(Grid.of(np.full((4, 7), value)))
    assert picture.convert("RGB").getcolors() == [(28 * CELL_PIXELS_MAX**2, DARK)]
    assert float(picture.info["minimum"]) == float(picture.info["maximum"]) == value


@pytest.mark.parametrize("shape", [(1, 1), (20, 20), (50, 50), (512, 3), (1, 2000), (700, 700)])
def test_small_grids_are_shown_large(shape: tuple[int, int]) -> None:
    height, width = shape
    picture = seen(Grid.of(np.arange(height * width, dtype=float).reshape(shape)))
    side = max(picture.size)
    assert picture.size[0] * height == picture.size[1] * width
    assert side == max(shape) or SIDE_PIXELS / 2 < side <= SIDE_PIXELS or side == CELL_PIXELS_MAX
    assert picture.info["Title"] == f"{width} x {height} cells"


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite))
def test_any_grid_has_a_picture(cells: npt.NDArray[np.float64]) -> None:
    picture = seen(Grid.of(cells))
    assert float(picture.info["minimum"]) == cells.min()
    assert float(picture.info["maximum"]) == cells.max()
    if cells.min() < cells.max():
        pixels = np.asarray(picture.convert("RGB"))
        step = picture.size[0] // cells.shape[1]
        seen_cells = pixels[::step, ::step]
        assert (seen_cells[cells == cells.max()] == BRIGHT).all()
        assert (seen_cells[cells == cells.min()] == DARK).all()
