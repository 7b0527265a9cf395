"""What is behind a store is not there, is something else, or dies."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stowkenfs import Vault
from stowkenfs.errors import MissingExtra, StateStoreFailed
from stowkenfs.state import (
    IncrementalState,
    RedisStateStore,
    S3StateStore,
    SQLiteStateStore,
    VaultStateStore,
)
from tests.running import run
from tests.state.places import CONFIG, S3_OPTIONS, redis_server, s3_server


def test_no_redis_answers(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(StateStoreFailed, match="Redis"):
            async with RedisStateStore.open(f"unix://{tmp_path}/nothing"):
                pass

    run(backend, main)


def test_a_redis_that_dies(backend: str) -> None:
    async def main() -> None:
        server = redis_server()
        url = server.__enter__()
        async with RedisStateStore.open(url) as store:
            await store.put("key", b"x")
            server.__exit__(None, None, None)
            for call in (store.get("key"), store.put("key", b"y"), store.list()):
                with pytest.raises(StateStoreFailed, match="Redis"):
                    await call

    run(backend, main)


def test_a_key_of_another_program_in_redis(backend: str, redis_url: str) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.set("other:key", b"no hash")

    async def main() -> None:
        async with RedisStateStore.open(redis_url, prefix="other:") as store:
            with pytest.raises(StateStoreFailed, match="Redis"):
                await store.get("key")

    run(backend, main)


@pytest.mark.parametrize("what", ["server", "bucket"])
def test_no_such_bucket(backend: str, what: str) -> None:
    async def main() -> None:
        with s3_server() as url:
            endpoint = url if what == "bucket" else "http://127.0.0.1:1"
            with pytest.raises(StateStoreFailed, match="S3"):
                async with S3StateStore.open("absent", endpoint_url=endpoint, **S3_OPTIONS):
                    pass

    run(backend, main)


def test_a_database_of_another_program(backend: str, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other.db")
    connection.execute("CREATE TABLE states (theirs)")
    connection.commit()
    connection.close()
    (tmp_path / "no.db").write_bytes(b"no database " * 100)

    async def main() -> None:
        for name, words in (("other.db", "another program's"), ("no.db", "not a database")):
            before = (tmp_path / name).read_bytes()
            with pytest.raises(StateStoreFailed, match=words):
                async with SQLiteStateStore.open(tmp_path / name):
                    pass
            assert (tmp_path / name).read_bytes() == before
        with pytest.raises(StateStoreFailed, match="unable to open"):
            async with SQLiteStateStore.open(tmp_path / "absent" / "state.db"):
                pass

    run(backend, main)


def test_a_database_of_a_newer_release(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "state.db"
        async with SQLiteStateStore.open(path) as store:
            await store.put("key", b"x")
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 2")
        connection.close()
        with pytest.raises(StateStoreFailed, match=r"version 2.*newer stowkenfs"):
            async with SQLiteStateStore.open(path):
                pass

    run(backend, main)


def test_others_query_the_database(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "state.db"
        async with SQLiteStateStore.open(path) as store:
            await store.put("sessions/ann", b"content")
            connection = sqlite3.connect(path)
            found = connection.execute("SELECT key, length(content) FROM states").fetchall()
            connection.execute("DELETE FROM states")
            connection.commit()
            connection.close()
            assert found == [("sessions/ann", 7)]
            assert await store.list() == []

    run(backend, main)


@pytest.mark.parametrize(
    ("module", "store", "extra"),
    [("redis.asyncio", "RedisStateStore", "redis"), ("boto3", "S3StateStore", "s3")],
)
def test_an_extra_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, module: str, store: str, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    async def main() -> None:
        opened: Any = {"RedisStateStore": RedisStateStore, "S3StateStore": S3StateStore}[store]
        with pytest.raises(MissingExtra, match=rf"pip install stowkenfs\[{extra}\]"):
            async with opened.open("anywhere"):
                pass

    run("asyncio", main)


def test_importing_it_loads_no_driver() -> None:
    code = (
        "import sys, stowkenfs.state; "
        "assert not {'numpy', 'aiosqlite', 'redis', 'boto3', 'trio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


SAVER = """
import sys, anyio
from stowkenfs import Vault, VaultConfig
from stowkenfs.state import Grid, IncrementalState, SQLiteStateStore, VaultStateStore

async def save(store):
    states = IncrementalState(store, "memory", full_every=40)
    grid = Grid(30, 30)
    for turn in range(10**9):
        grid[turn, turn // 30] = turn + 1.0
        number = await states.save(grid)
        assert number == turn
        print(number, flush=True)

async def main(kind, path):
    if kind == "sqlite":
        async with SQLiteStateStore.open(path) as store:
            await save(store)
    else:
        async with Vault.open(path) as vault, VaultStateStore.open(vault) as store:
            await save(store)

anyio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("kind", ["vault", "sqlite"])
@pytest.mark.parametrize("told", [1, 39, 100])
def test_what_was_saved_survives_being_killed(tmp_path: Path, kind: str, told: int) -> None:
    path = tmp_path / "place"
    child = subprocess.Popen(
        [sys.executable, "-c", SAVER, kind, path], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    last = -1
    for line in child.stdout:
        last = int(line)
        if last >= told:
            break
    child.send_signal(signal.SIGKILL)
    child.wait(30)
    last = max([last, *map(int, child.stdout.read().split())])
    child.stdout.close()

    async def check(store: VaultStateStore | SQLiteStateStore) -> None:
        states = IncrementalState(store, "memory", full_every=40)
        points = await states.points()
        assert last <= points[-1].number <= last + 1
        for number in {0, last // 2, last}:
            grid = await states.restore(number)
            for turn in range(max(number - 29, 0), number + 1):
                assert grid[turn, turn // 30] == turn + 1.0
            after = number + 1
            assert grid[after, after // 30] in (0.0, after + 1.0 - 900)
        again = (await states.restore()).copy()
        again[0, 0] = -1.0
        assert await states.save(again) == points[-1].number + 1

    async def main() -> None:
        if kind == "sqlite":
            async with SQLiteStateStore.open(path) as store:
                await check(store)
        else:
            async with Vault.open(path, CONFIG) as vault:
                async with VaultStateStore.open(vault) as in_vault:
                    await check(in_vault)
                assert (await vault.verify()).clean

    run("asyncio", main)
