"""A vault that cannot be written: it is read, checked, and told to be as it is."""

import errno
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest

from stowkenfs import Conversation, Message, Vault
from tests.mount.disks import SmallDisk, small_disk
from tests.mount.mounted import Mount, cli_command, detach, environment, skip_without_fuse
from tests.mount.test_full_disk import assert_same, chats


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    skip_without_fuse()
    with small_disk(tmp_path, 24, "tmpfs") as made:
        yield made


@pytest.fixture
def mount(disk: SmallDisk, tmp_path: Path) -> Iterator[Mount]:
    made = Mount(tmp_path / "mounts", "seal_after=0.2,workers=0")
    made.vault = disk.path / "vault"
    try:
        yield made
    finally:
        made.close()
    made.check_log()


def written(mount: Mount) -> dict[Path, bytes]:
    mount.start()
    kept = chats(mount.path / "kept", 40, 1)
    for path, content in kept.items():
        path.write_bytes(content)
    mount.wait_sealed()
    return kept


def snapshot(vault: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in vault.rglob("*") if path.is_file()}


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        cli_command(*words), capture_output=True, text=True, env=environment(), check=False
    )


@pytest.mark.parametrize("killed", [False, True])
def test_mounted_read_only(mount: Mount, disk: SmallDisk, killed: bool) -> None:
    kept = written(mount)
    if killed:  # with drafts, and an index whose last changes are in its log
        for at in range(3):
            kept[mount.path / f"draft {at}"] = content = b"%d\n" % at * 40_000
            (mount.path / f"draft {at}").write_bytes(content)
        fd = os.open(mount.path / "removed", os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"gone\n")
        (mount.path / "removed").unlink()
        mount.kill()
        with suppress(OSError):
            os.close(fd)
        detach(mount.path)
    else:
        mount.unmount()
    before = snapshot(mount.vault)
    assert disk.remount("ro")
    mount.start()
    assert "cannot be written: it is mounted read-only" in mount.log()
    assert_same(kept)
    assert not (mount.path / "removed").exists()
    assert {path for path in mount.path.rglob("*") if path.is_file()} == set(kept)
    some = next(iter(kept))
    changes: list[Callable[[], object]] = [
        partial((mount.path / "new").write_bytes, b"x"),
        some.unlink,
        partial(some.open, "ab"),
        partial((mount.path / "kept").rename, mount.path / "moved"),
        partial(os.utime, some, (1, 1)),
        (mount.path / "folder").mkdir,
    ]
    for change in changes:
        with pytest.raises(OSError, match="Read-only") as refused:
            change()
        assert refused.value.errno == errno.EROFS
    assert (mount.control / "stats").read_text()
    checked = command("verify", mount.vault)
    assert checked.returncode == 0, checked.stderr
    mount.unmount()
    assert snapshot(mount.vault) == before
    assert disk.remount("rw")
    mount.start()
    assert_same(kept)
    (mount.path / "new").write_bytes(b"x")


def test_in_the_background(mount: Mount, disk: SmallDisk) -> None:
    """Also without a place for its log."""
    kept = written(mount)
    mount.unmount()
    assert disk.remount("ro")
    done = command("mount", mount.vault, mount.path)
    try:
        assert done.returncode == 0, done.stderr
        assert "read-only" in done.stderr
        assert_same(kept)
    finally:
        assert command("umount", mount.path).returncode == 0


def test_without_an_index(mount: Mount, disk: SmallDisk) -> None:
    written(mount)
    mount.unmount()
    (mount.vault / "index.db").unlink()
    assert disk.remount("ro")
    done = command("mount", "-f", mount.vault, mount.path)
    assert done.returncode == 4
    assert "cannot be written, and its index is not there" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_library_reads_it(tmp_path: Path) -> None:
    with small_disk(tmp_path, 24, "tmpfs") as disk:
        anyio.run(_use, disk)


async def _use(disk: SmallDisk) -> None:
    path = disk.path / "vault"
    conversation = Conversation(id="one", messages=[Message(role="user", content="hello")])
    async with Vault.open(path) as vault:
        await vault.store(conversation)
        assert not vault.read_only
    before = snapshot(path)
    assert disk.remount("ro")
    async with Vault.open(path) as vault, Vault.open(path) as other:  # as many as like
        assert vault.read_only
        assert (await vault.retrieve("one")).messages == conversation.messages
        assert other.list() == ["one"]
        assert (await other.verify()).clean
        changes: list[Callable[[], Awaitable[object]]] = [
            partial(vault.store, conversation),
            partial(vault.delete, "one"),
            vault.compact,
            vault.gc,
        ]
        for change in changes:
            with pytest.raises(OSError, match=r"Read-only|readonly") as refused:
                await change()
            assert refused.value.errno == errno.EROFS
        assert (await vault.retrieve("one")).messages == conversation.messages
    assert snapshot(path) == before
