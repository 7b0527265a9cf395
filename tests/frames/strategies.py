"""Arrays and texts that the frame tests draw from."""

import numpy as np
from hypothesis import strategies as st

from stowkenfs.frames.varints import TokenArray

EDGES = [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1, 2**28, 2**32 - 1]

ids = st.one_of(st.integers(0, 255), st.sampled_from(EDGES), st.integers(0, 2**32 - 1))


def array(numbers: list[int]) -> TokenArray:
    return np.array(numbers, np.uint32)


# Repeating reaches the numpy paths and makes zstd worth its header.
arrays = st.builds(
    lambda numbers, times: array(numbers * times),
    st.lists(ids),
    st.sampled_from([1, 1, 2, 50, 500]),
)
texts = st.builds(
    lambda text, times: text * times,
    st.text(st.characters(exclude_categories=["Cs"])),
    st.sampled_from([1, 1, 3, 200]),
)
