"""The index's connection: transactions, threads, full disks, odd paths, damaged files."""

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from stowkenfs.errors import IndexDamaged, UnknownFormat
from stowkenfs.index.connection import Connection
from stowkenfs.index.schema import VERSION
from tests.running import BACKENDS as BOTH
from tests.running import names_in
from tests.running import run as run_under

BACKENDS = pytest.mark.parametrize("backend", BOTH)


@pytest.fixture(params=["file", "memory"])
def connection(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    found = Connection(tmp_path / "index.db" if request.param == "file" else None)
    yield found
    found.close()


def put(connection: Connection, name: str, value: int = 1) -> None:
    connection.execute("INSERT OR REPLACE INTO setting VALUES (?, ?)", (name, value))


def names(connection: Connection) -> list[str]:
    rows = connection.all("SELECT name FROM setting WHERE name <> 'written' ORDER BY name")
    return [row[0] for row in rows]


class Stop(Exception):
    """Leaves a transaction."""


# Transactions


def test_a_transaction_is_all_or_nothing(connection: Connection) -> None:
    with connection.transaction():
        put(connection, "a")
    with pytest.raises(Stop), connection.transaction():  # noqa: PT012
        put(connection, "b")
        raise Stop
    assert names(connection) == ["a"]


def test_nested_transactions_are_one(connection: Connection) -> None:
    with pytest.raises(Stop), connection.transaction():  # noqa: PT012
        with connection.transaction():
            put(connection, "inner")
        put(connection, "outer")
        raise Stop
    assert names(connection) == []
    with connection.transaction():
        with connection.transaction():
            put(connection, "inner")
        assert connection.read_one("SELECT count(*) FROM setting WHERE name = 'x'") == (0,)
    assert names(connection) == ["inner"]


def test_a_transaction_is_usable_after_a_failed_one(connection: Connection) -> None:
    for _ in range(3):
        with pytest.raises(Stop), connection.transaction(), connection.transaction():
            raise Stop
    with connection.transaction():
        put(connection, "a")
    assert names(connection) == ["a"]


def test_rollback_hooks_run_after_each_rollback_only(connection: Connection) -> None:
    seen: list[tuple[str, list[str]]] = []
    connection.on_rollback(lambda: seen.append(("one", names(connection))))
    connection.on_rollback(lambda: seen.append(("two", names(connection))))
    with connection.transaction():
        put(connection, "a")
    assert seen == []
    with pytest.raises(Stop), connection.transaction(), connection.transaction():  # noqa: PT012
        put(connection, "b")
        raise Stop
    assert seen == [("one", ["a"]), ("two", ["a"])]


def test_a_bug_in_a_statement_is_not_taken_for_a_disk_error(connection: Connection) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        connection.one("SELECT * FROM absent")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute("INSERT INTO setting VALUES ('a', NULL)")


# Space


def test_a_full_disk_is_enospc_and_leaves_what_was_there(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "index.db")
    rolled_back: list[bool] = []
    connection.on_rollback(lambda: rolled_back.append(True))
    (pages,) = connection.all("PRAGMA page_count")[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 5}")
    with pytest.raises(OSError, match="full") as caught, connection.transaction():  # noqa: PT012
        put(connection, "before")
        connection.execute_many(
            "INSERT INTO xattr VALUES (1, ?, ?)", [(b"%d" % n, bytes(4000)) for n in range(99)]
        )
    assert caught.value.errno == errno.ENOSPC
    assert rolled_back == [True]
    assert names(connection) == []
    with connection.transaction():
        put(connection, "small")
    assert names(connection) == ["small"]
    connection.close()
    again = Connection(tmp_path / "index.db")
    assert names(again) == ["small"]
    again.close()


# Threads and loops


def test_threads_read_only_what_is_committed(tmp_path: Path) -> None:
    """Each committed state has pairs; a reader never sees half of one."""
    connection = Connection(tmp_path / "index.db")
    stop, odd = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            row = connection.read_one("SELECT count(*) FROM setting WHERE name LIKE 'pair%'")
            if row is None or row[0] % 2:
                odd.append(row)
            connection.read_all("SELECT * FROM setting LIMIT 5")

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(150):
        with connection.transaction():
            put(connection, f"pair {n} a")
            put(connection, f"pair {n} b")
        if n % 50 == 0:
            connection.checkpoint()
            connection.sync()
    stop.set()
    for reader in readers:
        reader.join()
    connection.close()
    assert not odd


def test_threads_read_memory_while_it_is_written() -> None:
    connection = Connection(None)
    stop, errors = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                connection.read_one("SELECT count(*) FROM setting")
            except Exception as error:  # noqa: BLE001 - reported by the test
                errors.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(200):
        with connection.transaction():
            put(connection, f"{n}")
            put(connection, f"{n} again")
    stop.set()
    for reader in readers:
        reader.join()
    connection.close()
    assert not errors


def test_the_reader_cannot_write(connection: Connection) -> None:
    with pytest.raises(Exception, match=r"readonly|read-only|query_only"):
        connection.read_all("DELETE FROM setting")


@BACKENDS
def test_a_scan_goes_on_while_rows_are_written(connection: Connection, backend: str) -> None:
    for n in range(1000):
        put(connection, f"{n:04d}")

    async def scan() -> list[str]:
        found: list[str] = []
        async with connection.scanner() as scanner:
            ((count,),) = await scanner.all("SELECT count(*) FROM setting WHERE name <> 'written'")
            assert count == 1000
            query = "SELECT name FROM setting WHERE name <> 'written' ORDER BY name"
            async for rows in scanner.batches(query, rows=100):
                assert len(rows) <= 100
                found += [row[0] for row in rows]
                put(connection, f"new {len(found)}")
        return found

    found = run_under(backend, scan)
    assert found[:1000] == [f"{n:04d}" for n in range(1000)]


@BACKENDS
def test_scans_side_by_side_and_abandoned(connection: Connection, backend: str) -> None:
    for n in range(100):
        put(connection, f"{n:02d}")

    async def one(found: list[int]) -> None:
        async with connection.scanner() as scanner:
            async for rows in scanner.batches("SELECT name FROM setting", rows=10):
                found.append(len(rows))
                await anyio.lowlevel.checkpoint()

    async def main() -> None:
        found: list[int] = []
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(one, found)
        assert sum(found) >= 300
        with anyio.CancelScope() as scope:
            async with connection.scanner() as scanner:
                async for _ in scanner.batches("SELECT name FROM setting", rows=10):
                    scope.cancel()
                    await anyio.lowlevel.checkpoint()
        async with connection.scanner() as scanner:
            assert await scanner.all("SELECT 1") == [(1,)]

    run_under(backend, main)


@BACKENDS
def test_an_error_in_a_scan_reaches_the_caller(connection: Connection, backend: str) -> None:
    async def main() -> None:
        async with connection.scanner() as scanner:
            await scanner.all("SELECT * FROM absent")

    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        run_under(backend, main)


# Files


def test_memory_databases_are_apart() -> None:
    one, other = Connection(None), Connection(None)
    put(one, "here")
    assert (names(one), names(other)) == (["here"], [])
    assert one.read_one("SELECT count(*) FROM setting") == (1,)
    one.sync()
    one.checkpoint()
    assert one.wal_bytes() == 0
    one.close()
    other.close()


@pytest.mark.parametrize(
    "name",
    [
        "a b",
        "what?",
        "100%",
        "%41",
        "a#b",
        "a&mode=memory",
        "é你😀",
        "file:x",
        "'\"",
        "back\\slash",
    ],
)
def test_any_directory_name(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    connection = Connection(directory / "index.db")
    put(connection, "kept")
    assert connection.read_one("SELECT value FROM setting WHERE name = 'kept'") == (1,)
    connection.sync()
    assert names_in(directory) == [
        "index.db", "index.db-shm", "index.db-synced", "index.db-wal",
    ]  # fmt: skip
    connection.close()
    assert names_in(directory) == ["index.db"]
    assert names_in(tmp_path) == [name]
    again = Connection(directory / "index.db")
    assert names(again) == ["kept"]
    again.close()


def test_a_directory_name_that_is_not_utf8(tmp_path: Path) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    directory.mkdir()
    connection = Connection(directory / "index.db")
    put(connection, "kept")
    connection.close()
    assert names_in(directory) == ["index.db"]


def test_the_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        connection = Connection(tmp_path / "index.db")
    finally:
        os.umask(before)
    for name in ("index.db", "index.db-wal"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    connection.close()


def test_commits_are_there_after_the_process_died(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "index.db")
    put(connection, "acknowledged")
    for name in ("index.db", "index.db-wal"):
        (tmp_path / f"{name}.copy").write_bytes((tmp_path / name).read_bytes())
    connection.close()
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("index.db", "index.db-wal"):
        (tmp_path / f"{name}.copy").rename(crashed / name)
    again = Connection(crashed / "index.db")
    assert names(again) == ["acknowledged"]
    again.close()


def test_a_checkpoint_keeps_everything(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "index.db")
    for n in range(50):
        put(connection, f"{n:02d}")
        connection.checkpoint()
        connection.sync()
    assert names(connection) == [f"{n:02d}" for n in range(50)]
    connection.close()


def test_an_index_without_tables_is_lost_where_there_must_be_some(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    for _ in range(2):  # the first try must not make what the second would believe
        with pytest.raises(IndexDamaged, match="empty"):
            Connection(path, create=False)
    Connection(path).close()
    Connection(path, create=False).close()


def test_a_later_version_is_refused_by_name(tmp_path: Path) -> None:
    connection = Connection(tmp_path / "index.db")
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(UnknownFormat, match=f"version {VERSION + 1}"):
        Connection(tmp_path / "index.db")


@pytest.mark.parametrize(
    "content", [b"garbage", b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 9000]
)
def test_garbage_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "index.db"
    path.write_bytes(content)
    with pytest.raises(IndexDamaged, match=r"index\.db"):
        Connection(path)
    assert path.read_bytes() == content


def test_damage_within_is_named_when_it_is_met(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    connection = Connection(path)
    rows = [(1, b"%05d" % n, bytes(100)) for n in range(2000)]
    connection.execute_many("INSERT INTO xattr VALUES (?, ?, ?)", rows)
    connection.close()
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xa5" * (len(content) - len(content) // 2)
    path.write_bytes(content)

    async def scan(connection: Connection) -> None:
        async with connection.scanner() as scanner:
            async for _ in scanner.batches("SELECT * FROM xattr ORDER BY ino, name"):
                pass

    with pytest.raises(IndexDamaged):  # noqa: PT012
        damaged = Connection(path)
        query = "SELECT count(length(value)) FROM xattr"
        try:
            for read in (
                lambda: damaged.all(query),
                lambda: damaged.one(query),
                lambda: damaged.read_one(query),
                lambda: damaged.read_all(query),
                lambda: run_under("trio", scan, damaged),
            ):
                with pytest.raises(IndexDamaged):
                    read()
            raise IndexDamaged(path, "seen")
        finally:
            damaged.close()
