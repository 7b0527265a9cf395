"""When files are sealed, and that many short ones are sealed together."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.ids import InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.vault import opening
from stowkenfs.vault.due import WAIT_SECONDS_MAX, WAITING_MAX
from stowkenfs.vault.ranges import WHOLE_BYTES_MAX
from stowkenfs.vault.sealer import PARTS_AT_ONCE
from tests.running import BACKENDS, run
from tests.vault.test_files import LINE, create, put, seal

SECOND = 1_000_000_000
CONFIG = VaultConfig(seal_after_seconds=1)


class Clock:
    """Nanoseconds since some day; it stands still."""

    now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * SECOND)


class Counting(Connection):
    """An index that counts what it commits."""

    commits = 0

    def _commit(self) -> None:
        self.commits += 1
        super()._commit()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "Connection", Counting)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sealing_waits_while_files_are_written(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = Clock()
        async with Vault.open(tmp_path / "v", CONFIG, clock=clock) as vault:
            assert not vault.sealer.due.waits_for_writers()
            for number in range(3):
                create(vault, b"%d" % number, LINE)
                clock.advance(0.9)
                assert vault.sealer.due.waits_for_writers()
            clock.advance(0.1)
            assert not vault.sealer.due.waits_for_writers()

    run(backend, body)


@pytest.mark.parametrize("backend", BACKENDS)
def test_sealing_does_not_wait_for_ever(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        clock = Clock()
        async with Vault.open(tmp_path / "v", CONFIG, clock=clock) as vault:
            waits = []
            for number in range(int(WAIT_SECONDS_MAX) * 2 + 2):
                create(vault, b"%d" % number, LINE)
                waits.append(vault.sealer.due.waits_for_writers())
                clock.advance(0.5)
            assert waits == [True] * (len(waits) - 2) + [False] * 2

    run(backend, body)


def test_sealing_waits_with_so_many_files_only(tmp_path: Path) -> None:
    async def body() -> None:
        async with Vault.open(tmp_path / "v", CONFIG, clock=Clock()) as vault:
            for number in range(WAITING_MAX - 1):
                vault.sealer.due.left(InodeNo(number + 1_000))
            assert vault.sealer.due.waits_for_writers()
            vault.sealer.due.left(InodeNo(999))
            assert not vault.sealer.due.waits_for_writers()

    run("asyncio", body)


def contents() -> Iterator[bytes]:
    """Of each shape, short, and one too long to be taken as a whole."""
    for number in range(3 * PARTS_AT_ONCE):
        yield LINE * (number % 3) + b'{"number": %d}\n' % number
        yield b'{"role": "user",\n "content": "%d"}' % number
        yield b"\xff\0text, number %d" % number
    yield LINE * (WHOLE_BYTES_MAX // len(LINE) + 1)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.usefixtures("counted")
def test_short_files_are_sealed_together(backend: str, tmp_path: Path) -> None:
    async def body() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            assert isinstance(vault._connection, Counting)
            files = {create(vault, b"%d" % n, one): one for n, one in enumerate(contents())}
            # Some have a hole, are written in pieces, or are open for writing.
            odd = list(files)[:3]
            vault.files.truncate(odd[0], len(files[odd[0]]) + 5)
            files[odd[0]] += bytes(5)
            put(vault, odd[1], len(files[odd[1]]), b" ")
            files[odd[1]] += b" "
            vault.files.acquire(odd[2], writing=True)
            before = vault._connection.commits
            await seal(vault)
            assert vault._connection.commits - before < len(files) / 3
            vault.files.release(odd[2], writing=True)
            await seal(vault)
            for ino, content in files.items():
                assert vault.files.unsealed_bytes(ino) == 0
                live = vault.files.acquire(ino, writing=False)
                assert await vault.files.read(live, 0, len(content) + 1) == content
                vault.files.release(ino, writing=False)

    run(backend, body)
