"""Fixtures: mounts for their owner alone, and mounts that other users may enter.

``shared`` and ``folder``, ``mount`` and ``make_mount`` are those of ``tests/mount``. ``public``
and ``commons`` are as ``shared`` and ``folder``, with ``allow_other``; they need root.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import SOON, folder, folder_for, make_mount, mount, say, shared
from tests.mount.mounted import Mount, skip_without_fuse

__all__ = ["commons", "folder", "make_mount", "mount", "public", "reachable", "say", "shared"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.mount)


@pytest.fixture(scope="module")
def reachable() -> Iterator[Path]:
    """A directory that each user can get to, as those of pytest are not. Needs root."""
    if os.getuid() != 0:
        pytest.skip("becoming another user needs root")
    path = Path(tempfile.mkdtemp(prefix="stowkenfs-public-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def public(reachable: Path) -> Iterator[Mount]:
    """A mount with ``allow_other`` that the tests of a module share."""
    skip_without_fuse()
    mounted = Mount(reachable / "public", f"{SOON},allow_other")
    try:
        mounted.start()
        mounted.path.chmod(0o755)
        yield mounted
    finally:
        mounted.close()


@pytest.fixture
def commons(public: Mount, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder of root, 0755, in the public mount."""
    yield from folder_for(request, public)
