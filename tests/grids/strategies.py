"""Grids to draw: all finite float64, awkward ones often."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from stowkenfs.grids.grid import Grid

AWKWARD = (0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 0.1, 1e23)
FINITE = st.one_of(
    st.sampled_from(AWKWARD), st.floats(allow_nan=False, allow_infinity=False, width=64)
)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def grids(draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, int]] = SHAPES) -> Grid:
    """Of (height, width) from ``shapes``; some are sparse."""
    shape = draw(shapes)
    fill = draw(st.sampled_from((st.nothing(), st.just(0.0))))
    return Grid.of(draw(st_numpy.arrays(np.float64, shape, elements=FINITE, fill=fill)))
