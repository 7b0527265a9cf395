"""Room for the index when there is none, and what a failed change leaves in memory."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from stowkenfs import Vault
from stowkenfs.index import space
from stowkenfs.index.space import PLENTY_BYTES, RESERVE_BYTES, Reserve, giving_room
from tests.mount.disks import SmallDisk, small_disk

TEXT = b"a document of some length, that is not there twice: %d\n"


@pytest.fixture(params=["ext4", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path, 16, request.param) as made:
        yield made


def test_the_reserve_is_given_up_once_and_made_again(disk: SmallDisk) -> None:
    reserve = Reserve(disk.path / "reserve")
    assert reserve.make()
    assert (disk.path / "reserve").stat().st_size == RESERVE_BYTES
    assert Reserve(disk.path / "reserve").is_held
    disk.fill()
    assert disk.free == 0
    assert [reserve.release() for _ in range(2)] == [True, False]
    assert disk.free >= RESERVE_BYTES
    assert not reserve.make()  # what there is now is for those who make room
    assert disk.free >= RESERVE_BYTES
    disk.empty()
    reserve._again = 0.0
    assert reserve.make()


def test_a_reserve_for_later_is_what_there_is(disk: SmallDisk) -> None:
    reserve = Reserve(disk.path / "reserve")
    disk.fill()
    reserve.settle()
    assert not reserve.is_held
    with (disk.path / "filler").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) - RESERVE_BYTES // 2)
    reserve.settle()
    assert 0 < (disk.path / "reserve").stat().st_size <= RESERVE_BYTES // 2
    assert not Reserve(disk.path / "reserve").is_held
    assert Reserve(disk.path / "reserve").release()


def test_on_a_disk_with_room_nothing_is_kept_for_later(tmp_path: Path) -> None:
    if os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize < PLENTY_BYTES:
        pytest.skip("the disk is nearly full")
    reserve = Reserve(tmp_path / "reserve")
    assert reserve.make()
    reserve.settle()
    assert not (tmp_path / "reserve").exists()


def test_it_says_when_it_takes_no_more(disk: SmallDisk) -> None:
    anyio.run(_fill_and_go_on, disk)


async def _write_on(vault: Vault) -> None:
    for at in range(20):
        await vault.write_document(b"/more/%d" % at, os.urandom(100_000))


async def _fill_and_go_on(disk: SmallDisk) -> None:
    path = disk.path / "vault"
    async with Vault.open(path) as vault:
        for at in range(50):
            await vault.write_document(b"/kept/%d" % at, TEXT % at * 50)
        disk.fill()
        with pytest.raises(OSError, match="No space") as refused:
            await _write_on(vault)
        assert refused.value.errno == errno.ENOSPC
        for at in range(40):
            folder = vault.tree.resolve(b"/kept")
            vault.tree.unlink(folder.ino, b"%d" % at)
        for at in range(40, 50):
            ino = vault.tree.resolve(b"/kept/%d" % at).ino
            assert await vault.read_file(ino) == TEXT % at * 50
    assert not (path / "index.db-wal").exists()
    async with Vault.open(path) as vault:
        names = {name for name, inode in [entry async for entry in vault.walk()]}
        assert {b"/kept/%d" % at for at in range(40, 50)} <= names
        assert b"/kept/3" not in names
        disk.empty()
        await vault.gc()
        assert (await vault.verify()).clean
        await vault.write_document(b"/new", b"there is room\n")


def test_room_is_taken_ahead_and_given_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            await vault.write_document(b"/one", b"one\n")
            log = (tmp_path / "vault/index.db-wal").stat()
            assert log.st_blocks * 512 >= log.st_size + space.LOG_ROOM_BYTES
            assert (tmp_path / "vault/reserve").stat().st_size == RESERVE_BYTES
            with giving_room():
                vault.tree.unlink(1, b"one")  # type: ignore[arg-type]
        index = (tmp_path / "vault/index.db").stat()
        assert index.st_blocks * 512 < index.st_size + 8192

    anyio.run(main)
