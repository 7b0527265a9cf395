"""What a sync promised of the index's log, and a log that has lost some of it."""

from pathlib import Path

import pytest

from stowkenfs.index.connection import Connection
from stowkenfs.index.log_mark import lost_of_log


def written(path: Path, rows: int) -> Connection:
    connection = Connection(path)
    for number in range(rows):
        connection.execute("INSERT INTO setting VALUES (?, ?)", (f"row {number}", number))
    connection.sync()
    return connection


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of an index in use, as a kill leaves it."""
    connection = written(tmp_path / "used.db", 1200)
    for suffix in ("", "-wal", "-synced"):
        (tmp_path / f"index.db{suffix}").write_bytes((tmp_path / f"used.db{suffix}").read_bytes())
    connection.close()
    return tmp_path / "index.db-wal"


def test_a_whole_log_lacks_nothing(log: Path) -> None:
    assert lost_of_log(log.with_name("index.db")) is None
    log.write_bytes(log.read_bytes() + b"torn")
    assert lost_of_log(log.with_name("index.db")) is None


@pytest.mark.parametrize("at", [0, 5, 12, 17, 28, 33, 41, 50, 200, 100_000, -1])
def test_each_damage_of_what_was_synced_is_seen(log: Path, at: int) -> None:
    content = bytearray(log.read_bytes())
    content[at] ^= 1
    log.write_bytes(content)
    assert "damaged" in (lost_of_log(log.with_name("index.db")) or "")


def test_a_log_that_is_cut_or_gone(log: Path) -> None:
    log.write_bytes(log.read_bytes()[:-1])
    assert "damaged in frame" in (lost_of_log(log.with_name("index.db")) or "")
    log.unlink()
    assert "cannot be read" in (lost_of_log(log.with_name("index.db")) or "")


def test_what_came_after_the_last_sync_may_be_torn(tmp_path: Path) -> None:
    connection = written(tmp_path / "index.db", 3)
    log = tmp_path / "index.db-wal"
    synced = log.read_bytes()
    connection.execute("INSERT INTO setting VALUES ('late', 1)")
    assert len(log.read_bytes()) > len(synced)
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "index.db-synced").write_bytes((tmp_path / "index.db-synced").read_bytes())
    (copy / "index.db-wal").write_bytes(synced + b"\0" * 50)
    assert lost_of_log(copy / "index.db") is None
    connection.close()


def test_a_log_that_is_begun_anew_is_not_the_one_that_was_synced(tmp_path: Path) -> None:
    connection = written(tmp_path / "index.db", 50)
    connection.checkpoint()
    connection.execute("INSERT INTO setting VALUES ('over the beginning', 1)")
    assert lost_of_log(tmp_path / "index.db") is None
    connection.empty_log()
    assert lost_of_log(tmp_path / "index.db") is None
    connection.close()
    assert not (tmp_path / "index.db-synced").exists()


def test_a_log_that_was_just_cut_is_whole(tmp_path: Path) -> None:
    """It has no header until the next commit, and a sync may come before that."""
    connection = written(tmp_path / "index.db", 50)
    connection.checkpoint()
    connection.empty_log()
    connection.sync()
    assert (tmp_path / "index.db-wal").stat().st_size == 0
    assert lost_of_log(tmp_path / "index.db") is None
    connection.execute("INSERT INTO setting VALUES ('after it', 1)")
    connection.sync()
    assert lost_of_log(tmp_path / "index.db") is None
    connection.close()
