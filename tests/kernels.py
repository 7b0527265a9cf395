"""Running the same with compiled code and without."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from stowkenfs import kernels
from stowkenfs.errors import Corrupt


@contextmanager
def using(compiled: kernels.Compiled | None) -> Iterator[None]:
    """Inside, ``compiled`` is what runs: ``kernels.built``, or None for Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "compiled", compiled)
        yield


def outcome(run: Callable[[], Any]) -> Any:
    """What ``run`` returns, or the kind of Corrupt that it raises. Arrays are lists."""
    try:
        found = run()
    except Corrupt as error:
        return type(error)
    return found.tolist() if isinstance(found, np.ndarray) else found


def both(run: Callable[[], Any]) -> Any:
    """The outcome of ``run``, which is the same both ways."""
    assert kernels.built is not None
    with using(kernels.built):
        compiled = outcome(run)
    with using(None):
        assert outcome(run) == compiled
    return compiled
