"""A grid of float64 whose edges wrap."""

import operator
from dataclasses import dataclass
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import InvalidGrid

Cells = npt.NDArray[np.float64]
Place = tuple[SupportsIndex, SupportsIndex]
"""(x, y): column and row, any whole numbers."""

CELLS_MAX = 1 << 22
"""Cells of one grid: 2,048 x 2,048, 32 MiB. What reads grids from files has to hold them."""


@dataclass(frozen=True, slots=True, eq=False)
class Changes:
    """Cells that differ between two grids of one shape.

    ``indices``: uint32, shape (n,), ascending, ``y * width + x``; ``values``: float64, shape
    (n,), finite, what these cells are now.
    """

    indices: npt.NDArray[np.uint32]
    values: Cells

    def __len__(self) -> int:
        return len(self.indices)


class Grid:
    """``height`` rows of ``width`` finite float64, all 0.0 at first; a torus.

    ``grid[x, y]`` is the cell in column ``x`` of row ``y``. Both wrap: ``grid[-1, 0]`` is the
    last cell of the first row, ``grid[width, 0]`` the first. In arrays the row comes first:
    ``cells[y, x]``. Two grids are equal when all cells are, bit by bit: 0.0 is not -0.0.

    Raises InvalidGrid for a dimension below 1, more than CELLS_MAX cells, NaN, infinities.
    """

    __slots__ = ("_cells",)
    __hash__ = None  # type: ignore[assignment] # it changes

    def __init__(self, width: int, height: int) -> None:
        check_dimensions(width, height)
        self._cells: Cells = np.zeros((height, width))

    @classmethod
    def of(cls, cells: npt.ArrayLike) -> "Grid":
        """A grid with a copy of ``cells``: numbers that float64 can hold, shape (height, width).

        Raises InvalidGrid.
        """
        found = np.asarray(cells)
        if found.dtype.kind not in "fiub":
            raise InvalidGrid(f"cells are real numbers, not {found.dtype}")
        if found.ndim != 2:
            raise InvalidGrid(f"cells have two dimensions, height and width, not {found.ndim}")
        check_dimensions(found.shape[1], found.shape[0])
        with np.errstate(over="ignore"):  # of a wider float: infinite then, and refused
            own = np.array(found, dtype=np.float64, order="C")
        at = first_not_finite(own)
        if at is not None:
            y, x = divmod(at, own.shape[1])
            raise InvalidGrid(f"cell ({x}, {y}) is {own[y, x]}; cells are finite numbers")
        return cls._owning(own)

    @classmethod
    def _owning(cls, cells: Cells) -> "Grid":
        grid = cls.__new__(cls)
        grid._cells = cells  # noqa: SLF001 - its own
        return grid

    @property
    def width(self) -> int:
        """Cells in a row."""
        return int(self._cells.shape[1])

    @property
    def height(self) -> int:
        """Rows."""
        return int(self._cells.shape[0])

    @property
    def cells(self) -> Cells:
        """float64, shape (height, width), C order; read-only, and shows later changes."""
        view = self._cells.view()
        view.flags.writeable = False
        return view

    def __getitem__(self, place: Place) -> float:
        return float(self._cells[self._row_and_column(place)])

    def __setitem__(self, place: Place, value: float) -> None:
        number = float(value)
        if not np.isfinite(number):
            raise InvalidGrid(f"cell {place} cannot be {number}; cells are finite numbers")
        self._cells[self._row_and_column(place)] = number

    def _row_and_column(self, place: Place) -> tuple[int, int]:
        x, y = map(operator.index, place)
        return y % self.height, x % self.width

    def replace(self, cells: npt.ArrayLike) -> None:
        """Make all cells those of ``cells``, of the same shape. Raises InvalidGrid."""
        new = Grid.of(cells)
        self._check_same_shape(new)
        self._cells[:] = new.cells

    def copy(self) -> "Grid":
        """Another grid with the same cells."""
        return self._owning(self._cells.copy())

    def __copy__(self) -> "Grid":
        return self.copy()

    def __deepcopy__(self, _memo: object) -> "Grid":
        return self.copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        if self._cells.shape != other._cells.shape:
            return False
        return bool((bits_of(self) == bits_of(other)).all())

    def changes_from(self, other: "Grid") -> Changes:
        """What ``other`` would have to become to be this grid; compared bit by bit.

        Raises InvalidGrid if their shapes differ.
        """
        self._check_same_shape(other)
        indices = np.flatnonzero(bits_of(self) != bits_of(other)).astype(np.uint32)
        return Changes(indices, self._cells.reshape(-1)[indices])

    def apply(self, changes: Changes) -> None:
        """Make these changes. Raises InvalidGrid, and changes nothing then."""
        cells = self._cells.reshape(-1)
        if len(changes) and int(changes.indices.max()) >= len(cells):
            raise InvalidGrid(f"a change of cell {int(changes.indices.max())} of {len(cells)}")
        if first_not_finite(changes.values) is not None:
            raise InvalidGrid("a change to NaN or an infinity; cells are finite numbers")
        cells[changes.indices] = changes.values

    def _check_same_shape(self, other: "Grid") -> None:
        if self._cells.shape != other.cells.shape:
            raise InvalidGrid(
                f"the grids are {self.width} x {self.height} and {other.width} x {other.height};"
                " only grids of the same width and height can be compared"
            )

    def __repr__(self) -> str:
        return f"<Grid {self.width} x {self.height}>"


def bits_of(grid: Grid) -> npt.NDArray[np.uint64]:
    """The bits of the cells, shape (width * height,), read-only."""
    return grid.cells.view(np.uint64).reshape(-1)


def check_dimensions(width: int, height: int) -> None:
    """Raises InvalidGrid for a dimension below 1, or more than CELLS_MAX cells."""
    if width < 1 or height < 1:
        raise InvalidGrid(f"a grid of {width} x {height}; width and height are 1 or more")
    if width * height > CELLS_MAX:
        raise InvalidGrid(f"a grid of {width} x {height}; {CELLS_MAX} cells are the most")


def first_not_finite(cells: Cells) -> int | None:
    """The index, in C order, of the first NaN or infinity."""
    finite = np.isfinite(cells)
    if finite.all():
        return None
    return int(np.argmin(finite.reshape(-1)))
