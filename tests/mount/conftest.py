"""Fixtures: a fresh mount for a test, or one that a whole module shares."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.mount.mounted import Mount, skip_without_fuse

MakeMount = Callable[..., Mount]

SOON = "seal_after=0.2"
"""So that no test waits the second that users do until a file is sealed."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.mount)


@pytest.fixture
def make_mount(tmp_path: Path) -> Iterator[MakeMount]:
    """``make_mount(options="", name="one")``: another mount, taken away at the end."""
    skip_without_fuse()
    made: list[Mount] = []

    def make(options: str = "", name: str = "one") -> Mount:
        mount = Mount(tmp_path / name, options)
        made.append(mount)
        return mount.start()

    try:
        yield make
    finally:
        for mount in made:
            mount.close()
    for mount in made:
        mount.check_log()


@pytest.fixture
def mount(make_mount: MakeMount) -> Mount:
    """A new vault, mounted."""
    return make_mount(SOON)


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """``say(line)``: a figure worth seeing, in the report of a run that succeeds too."""

    def write(line: str) -> None:
        capture = request.config.pluginmanager.getplugin("capturemanager")
        reporter = request.config.pluginmanager.getplugin("terminalreporter")
        if capture is not None and reporter is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line("")
                reporter.write_line(line)

    return write


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mount]:
    """A mount that the tests of a module share, each in a folder of its own."""
    skip_without_fuse()
    mount = Mount(tmp_path_factory.mktemp("shared"), SOON)
    try:
        yield mount.start()
    finally:
        mount.close()


def folder_for(request: pytest.FixtureRequest, mounted: Mount) -> Iterator[Path]:
    """An empty folder in a mount that tests share, for one of them; the daemon outlives it."""
    name = "".join(c if c.isalnum() else "_" for c in request.node.name)[:200]
    path = mounted.path / name
    path.mkdir(0o755)
    yield path
    assert mounted.alive, f"the daemon died:\n{mounted.log()}"
    mounted.check_log()


@pytest.fixture
def folder(shared: Mount, request: pytest.FixtureRequest) -> Iterator[Path]:
    """An empty folder in the shared mount, which is the same after a remount."""
    yield from folder_for(request, shared)
