"""Fixtures: where recordings and broken states go, and how many states are tried."""

import logging
import os
from collections.abc import Iterator

import pytest

from tests.power.recording import skip_without_compiler

CUTS = int(os.environ.get("STOWKENFS_POWER_CUTS", "5"))
"""Power cuts in each workload. Thousands take a while: some 100 ms each."""


@pytest.fixture(autouse=True)
def _with_compiler() -> None:
    skip_without_compiler()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Vaults without an index say so, hundreds of times."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)
