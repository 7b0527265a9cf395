"""Vaults that the tests of this folder share: nobody changes them."""

from pathlib import Path

import pytest

from tests.damage.subjects import NAMES, Subject, make_subject


@pytest.fixture(scope="session")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Subject]:
    """One of each name."""
    folder = tmp_path_factory.mktemp("damage")
    made: dict[str, Subject] = {}
    for name in NAMES:
        (folder / name).mkdir()
        made[name] = make_subject(name, folder / name)
    return made


@pytest.fixture(params=NAMES)
def subject(request: pytest.FixtureRequest, subjects: dict[str, Subject]) -> Subject:
    """Each of them in turn."""
    return subjects[request.param]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Where a vault is damaged."""
    return tmp_path / "work"
