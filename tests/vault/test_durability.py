"""What fsync waits for: many callers share syncs, and a failure is told to whom it concerns."""

import errno
import os
import stat
from collections import Counter
from pathlib import Path

import anyio
import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.ids import ROOT_INODE, InodeNo
from tests.running import run

BROKEN: list[str] = []
"""A word while files of single drafts cannot be synced."""

CONFIG = VaultConfig(seal_after_seconds=3600, lock_wait_seconds=0)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was synced, by name; see ``BROKEN``."""
    BROKEN.clear()
    names: Counter[str] = Counter()
    fdatasync = os.fdatasync

    def noted(fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115 - which resolves it
        names[path.name] += 1
        if path.parent.name == "drafts" and not path.name.startswith("spool") and BROKEN:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fdatasync(fd)

    monkeypatch.setattr(os, "fdatasync", noted)
    return names


def make(vault: Vault, name: bytes, *pieces: bytes) -> InodeNo:
    ino = vault.tree.create(ROOT_INODE, name, stat.S_IFREG | 0o600, 0, 0).ino
    vault.files.acquire(ino, writing=True)
    at = 0
    for piece in pieces:
        at += vault.files.write(ino, at, piece)
    return ino


def test_callers_share_syncs(tmp_path: Path, synced: Counter[str]) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            made = [make(vault, b"%d" % number, b"text") for number in range(50)]
            synced.clear()
            async with anyio.create_task_group() as tasks:
                for ino in made:
                    tasks.start_soon(vault.sync_file, ino)
            assert synced["spool-1"] <= 2
            assert synced["index.db-wal"] <= 2
            for ino in made:
                vault.files.release(ino, writing=True)

    run("trio", main)


def test_a_file_that_cannot_be_synced(tmp_path: Path, synced: Counter[str]) -> None:
    """Its caller is told, now and whenever they ask again; others are not concerned."""
    refused: list[InodeNo] = []

    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            short, long = make(vault, b"short", b"a"), make(vault, b"long", b"a", b"b")

            async def sync(ino: InodeNo) -> None:
                try:
                    await vault.sync_file(ino)
                except OSError:
                    refused.append(ino)

            BROKEN.append("yes")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sync, long)
                tasks.start_soon(sync, short)
            assert refused == [long]
            BROKEN.clear()
            await sync(long)
            assert refused == [long, long]
            for ino in (short, long):
                vault.files.release(ino, writing=True)

    run("trio", main)
    assert synced["spool-1"]


def test_what_was_not_written_again_is_not_synced_again(
    tmp_path: Path, synced: Counter[str]
) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            ino = make(vault, b"a", b"first")
            await vault.sync_file(ino)
            vault.files.write(ino, 5, b"second")
            synced.clear()
            await vault.sync_file(ino)
            assert synced == {f"{ino:x}.1": 1, "index.db-wal": 1}
            vault.files.write(ino, 0, b"F")  # where it is, in the spool
            synced.clear()
            await vault.sync_file(ino)
            assert synced == {"spool-1": 1, "index.db-wal": 1}
            vault.files.release(ino, writing=True)

    run("trio", main)
