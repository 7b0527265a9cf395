"""Every store under every event loop; servers are started once for all tests of a process."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import BACKENDS
from tests.state.places import KINDS, Place, place_of, redis_server, s3_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    redis = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    s3 = request.getfixturevalue("s3_url") if request.param == "s3" else ""
    return place_of(request.param, tmp_path, redis, s3, next(_NUMBERS))


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)
