"""The journal: entries are found again, in order, and nothing else is taken for one."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.index.journal import ROOM_BYTES, Journal, entries, has_entries

DATABASE = 7


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def written(path: Path, *contents: bytes, number: int = 0, database: int = DATABASE) -> Journal:
    journal = Journal(path, database, number)
    for content in contents:
        journal.append(content)
    return journal


def test_entries_come_back_in_order(path: Path) -> None:
    written(path, b"one", b"", b"three").close(remove=False)
    assert list(entries(path, DATABASE, 0)) == [b"one", b"", b"three"]


def test_entries_that_the_database_has_are_passed_over(path: Path) -> None:
    written(path, b"one", b"two", b"three").close(remove=False)
    assert list(entries(path, DATABASE, 2)) == [b"three"]


def test_entries_behind_a_gap_do_not_count(path: Path) -> None:
    """A power cut may keep the journal and take back what the database had before it."""
    written(path, b"eleven", number=10).close(remove=False)
    assert list(entries(path, DATABASE, 9)) == []


def test_entries_from_before_it_was_begun_anew_do_not_count(path: Path) -> None:
    journal = written(path, b"1" * 100, b"2" * 100, b"3" * 100)
    journal.begin_anew()
    journal.append(b"5" * 100)
    journal.close(remove=False)
    assert journal.number == 5
    assert list(entries(path, DATABASE, 4)) == [b"5" * 100]


def test_those_of_another_database_do_not_count(path: Path) -> None:
    written(path, b"one").close(remove=False)
    assert list(entries(path, DATABASE + 1, 0)) == []


def test_a_new_one_has_none(path: Path) -> None:
    written(path, b"one").close(remove=False)
    written(path).close(remove=False)
    assert list(entries(path, DATABASE, 0)) == [b"one"]  # still there, for its own database
    written(path, database=DATABASE + 1).close(remove=False)
    assert list(entries(path, DATABASE + 1, 0)) == []


def test_removing_it(path: Path) -> None:
    written(path, b"one").close(remove=True)
    assert not path.exists()
    assert not has_entries(path)


def test_what_does_not_fit_is_refused(path: Path) -> None:
    journal = written(path, bytes(ROOM_BYTES // 2))
    assert journal.fits(bytes(1000))
    assert not journal.fits(bytes(ROOM_BYTES // 2))
    journal.close(remove=True)


def test_it_is_for_its_owner_only(path: Path) -> None:
    written(path).close(remove=False)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"kept")
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        Journal(path, DATABASE, 0)
    assert target.read_bytes() == b"kept"


@settings(deadline=None)
@given(cut=st.integers(0, 400), flip=st.integers(0, 400), bit=st.integers(0, 7), data=st.data())
def test_damage_ends_it(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, bit: int, data: st.DataObject
) -> None:
    """Whatever was done to the file, it gives the first of the entries that were written."""
    contents = data.draw(st.lists(st.binary(max_size=40), max_size=6))
    path = tmp_path_factory.mktemp("damaged") / "journal"
    written(path, *contents).close(remove=False)
    damaged = bytearray(path.read_bytes()[:cut])
    if flip < len(damaged):
        damaged[flip] ^= 1 << bit
    path.write_bytes(damaged)
    found = list(entries(path, DATABASE, 0))
    assert found == contents[: len(found)]
