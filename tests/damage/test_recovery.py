"""What was damaged once, and then lost more than it had to, or read as what nobody wrote."""

from pathlib import Path

import pytest

from stowkenfs.vault.reindex.rebuild import rebuild_closed
from tests.damage.actions import swap
from tests.damage.subjects import Subject
from tests.damage.trial import Expecting, ask, write


def test_packs_that_were_swapped_can_be_swapped_back(
    subjects: dict[str, Subject], work: Path
) -> None:
    """The longer one is not taken for what a crash left at the end of the shorter one."""
    subject = subjects["hot"]
    packs = sorted((subject.copy(work) / "packs").iterdir())
    assert len({path.stat().st_size for path in packs}) == 2
    swap(*packs)
    expecting = Expecting(subject)
    failed = ask(expecting, work).failed
    assert failed
    assert ask(expecting, work, write).refused is None
    assert ask(expecting, work).failed.keys() == failed.keys()
    swap(*packs)
    found = ask(expecting, work)
    assert found.refused is None
    assert not found.failed


@pytest.mark.parametrize("part", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_no_zeros_are_made_up_where_statements_are_lost(
    subjects: dict[str, Subject], work: Path, part: float
) -> None:
    """A file of which only the attributes were told again has extents that are not known."""
    subject = subjects["hot"]
    directory = subject.copy(work)
    ask(Expecting(subject), directory, write)
    pack = min((directory / "packs").iterdir())
    pack.write_bytes(pack.read_bytes()[: int(pack.stat().st_size * part)])
    (directory / "index.db").unlink()
    found = ask(Expecting(subject, "before"), directory)
    assert found.refused is None


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_superblock_is_made_again(subjects: dict[str, Subject], work: Path, damage: str) -> None:
    subject = subjects["dense"]
    path = subject.copy(work) / "superblock"
    content = path.read_bytes()
    path.unlink()
    if damage == "flipped":
        path.write_bytes(content[:20] + bytes((content[20] ^ 1,)) + content[21:])
    assert ask(Expecting(subject), work).refused is not None
    rebuild_closed(work)
    assert path.read_bytes()[12:19] == content[12:19]  # what the index knows of the id
    found = ask(Expecting(subject), work)  # drafts too: the index went with it
    assert found.refused is None
    assert not found.failed
