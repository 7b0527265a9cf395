"""Damage of any file of a vault, and any operation after it (docs/RELIABILITY.md).

``STOWKENFS_DAMAGE_EXAMPLES=N`` tries N random cells of the matrix instead of a few, and each
byte of each small file with each of its actions; ``STOWKENFS_DAMAGE_SEED`` takes others.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import pytest

from stowkenfs.store.block import BlockKind
from tests.damage.cells import Cell, random_cells, small_cells, whole_cells
from tests.damage.subjects import Subject
from tests.damage.trial import Broken
from tests.second_reader import stored_blocks

EXAMPLES = int(os.environ.get("STOWKENFS_DAMAGE_EXAMPLES", "0"))
SEED = int(os.environ.get("STOWKENFS_DAMAGE_SEED", "1"))
FEW = 6
"""Cells of a part in CI."""

Say = Callable[[str], None]


def try_all(cells: Iterable[Cell], work: Path, say: Say) -> None:
    """Run them, tell what came of them, and fail with all that are broken."""
    outcomes: Counter[str] = Counter()
    broken = []
    for cell in cells:
        try:
            outcomes[cell.run(work).what] += 1
        except Broken as error:
            outcomes["broken"] += 1
            broken.append(str(error))
    say(f"{sum(outcomes.values())} cells: {dict(outcomes)}")
    assert not broken, "\n\n".join(broken[:20])


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Say:
    """Totals, shown where the matrix is large."""
    reporter = request.config.pluginmanager.getplugin("terminalreporter")
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def write(line: str) -> None:
        if EXAMPLES and reporter is not None and capture is not None:
            with capture.global_and_fixture_disabled():
                reporter.write_line(f"{request.node.name}: {line}")

    return write


def test_the_subjects_have_something_of_everything(subjects: dict[str, Subject]) -> None:
    kinds = set()
    for subject in subjects.values():
        for pack in sorted((subject.directory / "packs").iterdir()):
            kinds |= {(block.kind, block.layout) for block in stored_blocks(pack.read_bytes())}
        assert any(entry.drafted for entry in subject.entries.values())
        assert any(entry.target for entry in subject.entries.values())
        assert any(entry.xattrs for entry in subject.entries.values())
    assert {kind for kind, _ in kinds} == set(BlockKind)
    assert {layout for _, layout in kinds} == {0, 1, 2}
    assert "index.db-wal" in subjects["killed"].files()


def test_undamaged_vaults_pass_all_of_it(subject: Subject, work: Path) -> None:
    """So that what fails below fails of the damage."""
    cell = Cell(subject, "superblock", 52, "append", "verify")
    assert cell.run(work).what == "right"
    assert Cell(subject, "superblock", 52, "append", "rebuild").run(work).what == "right"


def test_each_byte_of_each_small_file(subject: Subject, work: Path, say: Say) -> None:
    cells = list(small_cells(subject))
    if not EXAMPLES:
        cells = random.Random(SEED).sample(cells, min(FEW, len(cells)))
    try_all(cells, work, say)


@pytest.mark.timeout(900)
def test_each_file_missing_replaced_and_swapped(subject: Subject, work: Path, say: Say) -> None:
    cells = list(whole_cells(subject, random.Random(SEED)))
    if not EXAMPLES:
        cells = random.Random(SEED).sample(cells, min(FEW, len(cells)))
    try_all(cells, work, say)


@pytest.mark.timeout(0)
def test_any_byte_any_action_any_operation(
    subjects: dict[str, Subject], work: Path, say: Say
) -> None:
    cells = random_cells(list(subjects.values()), random.Random(SEED))
    try_all(islice(cells, EXAMPLES or FEW), work, say)
