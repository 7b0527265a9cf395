"""Files of a vault: only their owner reads them, and none of them is a link."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from stowkenfs.errors import NotOwnFile
from stowkenfs.index.connection import Connection
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.lock import Holder, is_locked, read_holder
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.superblock import Superblock, read_superblock, write_superblock
from stowkenfs.vault.vault import Vault
from tests.mount.mounted import Mount, cli_command, environment, skip_without_fuse
from tests.running import run

CONFIG = VaultConfig(lock_wait_seconds=0)
TEXT = b'{"id": "c", "messages": [{"role": "user", "content": "%s"}]}\n' % (b"words and " * 20)
VICTIM = b"nobody may change this"


async def _filled(directory: Path) -> None:
    async with Vault.open(directory, CONFIG) as vault:
        await vault.write_document(b"/a/one.json", TEXT)
        await vault.write_document(b"/log.jsonl", TEXT * 3)
        await vault.write_namespace()


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("closed") / "vault"
    run("trio", _filled, directory)
    return directory


@pytest.fixture
def vault_path(closed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(closed, tmp_path / "vault"))


async def _open(directory: Path) -> None:
    async with Vault.open(directory, CONFIG):
        pass


def too_wide(directory: Path) -> list[str]:
    """What is there whose mode is not that of a vault's."""
    return [
        f"{path.relative_to(directory)} {stat.S_IMODE(path.lstat().st_mode):o}"
        for path in [directory, *directory.rglob("*")]
        if stat.S_IMODE(path.lstat().st_mode) != (0o700 if path.is_dir() else 0o600)
    ]


# Modes


@pytest.mark.mount
def test_a_mount_makes_nothing_that_others_read(tmp_path: Path) -> None:
    skip_without_fuse()
    before = os.umask(0)
    try:
        mount = Mount(tmp_path / "one", "seal_after=0.1,workers=0")
        try:
            mount.start()
        finally:
            os.umask(before)
        (mount.path / "a.json").write_bytes(TEXT)
        with (mount.path / "holes").open("wb", buffering=0) as file:
            for at in range(0, 12 << 20, 3 << 20):
                file.seek(at)
                file.write(os.urandom(1 << 20))
            os.fsync(file.fileno())
            assert too_wide(mount.vault) == []
        for job in ("compact", "reindex"):
            (mount.control / job).write_text("1\n")
            assert too_wide(mount.vault) == []
        mount.unmount()
        assert too_wide(mount.vault) == []
    finally:
        mount.close()


@pytest.mark.parametrize("has_index", [True, False])
def test_rebuilding_the_index_makes_nothing_that_others_read(
    vault_path: Path, has_index: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor while it is made: of each file that is opened the mode is looked at."""
    if not has_index:
        (vault_path / "index.db").unlink()
    seen: set[str] = set()
    connect = Connection.checkpoint

    def looking(connection: Connection) -> None:
        seen.update(path.name for path in vault_path.iterdir())
        assert too_wide(vault_path) == []
        connect(connection)

    monkeypatch.setattr(Connection, "wal_bytes", lambda _self: 1 << 40)
    monkeypatch.setattr(Connection, "checkpoint", looking)
    before = os.umask(0)
    try:
        rebuild_closed(vault_path, lambda _done, _total: None)
    finally:
        os.umask(before)
    assert too_wide(vault_path) == []
    assert {"index.db.new", "index.db.scan"} <= seen


def test_a_draft_that_moves_to_another_file_is_private(tmp_path: Path) -> None:
    from stowkenfs.vault.draft_files import Move

    before = os.umask(0)
    try:
        Move(1, tmp_path / "1.1", [b"bytes"]).write()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "1.1").stat().st_mode) == 0o600


# Links

NAMES = [
    "superblock", "lock", "index.db", "index.db-wal", "reserve", "opened-1", "log",
    "superblock.new", "packs/00000001.pack", "packs/00000009.pack", "drafts/2.1",
    "drafts/spool-1", "packs", "drafts", "index.db.new", "index.db.ready", "index.db.damaged",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("has_target", [True, False])
def test_a_link_in_the_place_of_a_file_is_refused(
    vault_path: Path, tmp_path: Path, name: str, has_target: bool
) -> None:
    outside, there = tmp_path / "outside", vault_path / name
    if there.exists():
        there.rename(tmp_path / "moved")
    if has_target and there.parent == vault_path and name in ("packs", "drafts"):
        outside.mkdir()
    elif has_target:
        outside.write_bytes(VICTIM)
    there.symlink_to(outside)
    with pytest.raises(NotOwnFile, match=f"{there.name} is a symbolic link"):
        run("trio", _open, vault_path)
    with pytest.raises(NotOwnFile):
        rebuild_closed(vault_path, lambda _done, _total: None)
    if outside.is_file():
        assert outside.read_bytes() == VICTIM
    elif has_target:
        assert list(outside.iterdir()) == []
    else:
        assert not os.path.lexists(outside)


@pytest.mark.parametrize("name", ["superblock", "lock", "index.db", "packs/00000001.pack"])
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(vault_path: Path, name: str) -> None:
    (vault_path / name).unlink()
    os.mkfifo(vault_path / name)
    with pytest.raises(NotOwnFile, match="no file of a vault"):
        run("trio", _open, vault_path)
    assert read_holder(vault_path) is None
    assert not is_locked(vault_path)


def test_links_are_not_followed_by_those_who_come_later(tmp_path: Path) -> None:
    """Who looks before is not enough: it might be put there afterwards."""
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    directory = tmp_path / "vault"
    directory.mkdir()
    (directory / "superblock.new").symlink_to(victim)
    (directory / "lock").symlink_to(victim)
    superblock = read_superblock(Path(__file__).parents[1] / "vaults" / "v4" / "vault")
    assert isinstance(superblock, Superblock)
    with pytest.raises(OSError, match="symbolic links"):
        write_superblock(directory, superblock)
    with pytest.raises(OSError, match="symbolic links"):
        run("trio", _open, directory)
    packs = directory / "packs"
    packs.mkdir()
    (packs / "00000001.pack").symlink_to(victim)
    store = LocalStore(packs)
    with pytest.raises(OSError, match="symbolic links"):
        store.write(1, 0, b"x")  # type: ignore[arg-type]
    (directory / "index.db").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        Connection(directory / "index.db")
    assert victim.read_bytes() == VICTIM


def test_the_directory_itself_may_be_a_link(vault_path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(vault_path)
    run("trio", _open, tmp_path / "link")


def test_the_command_says_it_in_a_sentence(vault_path: Path, tmp_path: Path) -> None:
    (vault_path / "reserve").symlink_to(tmp_path / "elsewhere")
    done = subprocess.run(
        cli_command("verify", vault_path),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 4
    assert "is a symbolic link" in done.stderr
    assert "Traceback" not in done.stderr


# Who holds it

LOCKS = [
    b"[" * 100_000, b'{"pid": 1e999}', b'{"pid": ' + b"9" * 5000 + b"}", b"\xff", b"", b"[]",
    b'{"pid": "1"}', b'{"pid": true}', b'{"pid": 1, "mountpoint": 7}',
]  # fmt: skip


@pytest.mark.parametrize("content", LOCKS)
def test_a_lock_that_names_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "lock").write_bytes(content)
    assert read_holder(tmp_path) is None


def test_a_lock_that_names_somebody(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b'{"pid": 7, "mountpoint": "/mnt", "leaving": true}')
    assert read_holder(tmp_path) == Holder(7, "/mnt", leaving=True)
