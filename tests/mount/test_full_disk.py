"""A vault on a disk that is full: what is acknowledged stays, and deleting makes room."""

import errno
import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.disks import MEBI, SmallDisk, small_disk
from tests.mount.mounted import Mount, skip_without_fuse

FULL_LINES = ["disk is full", "disk of the vault is full"]
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]


@pytest.fixture(params=["ext4", "tmpfs"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallDisk]:
    skip_without_fuse()
    with small_disk(tmp_path, 24, request.param) as made:
        yield made


@pytest.fixture
def mount(disk: SmallDisk, tmp_path: Path) -> Iterator[Mount]:
    """A vault on the small disk; the mount's log is elsewhere."""
    made = Mount(tmp_path / "mounts", "seal_after=0.2,workers=1")
    made.vault = disk.path / "vault"
    made.expected = FULL_LINES
    try:
        yield made.start()
    finally:
        made.close()
    made.check_log()
    assert sum("full" in line for line in made.log().splitlines()) < 12, made.log()


def write(path: Path, content: bytes) -> int | None:
    """The errno that writing a file ended with, or None."""
    try:
        with path.open("wb", buffering=0) as file:
            for at in range(0, len(content), MEBI // 8):
                assert file.write(content[at : at + MEBI // 8]) == len(content[at : at + MEBI // 8])
    except OSError as error:
        return error.errno
    return None


def assert_same(files: dict[Path, bytes]) -> None:
    different = [str(path) for path, content in files.items() if path.read_bytes() != content]
    assert not different


def wait_for_room(disk: SmallDisk, free: int) -> None:
    deadline = time.monotonic() + 10
    while disk.free < free:
        assert time.monotonic() < deadline, f"{disk.free} of {free} bytes are free"
        time.sleep(0.1)


def chats(folder: Path, count: int, seed: int) -> dict[Path, bytes]:
    rng = random.Random(seed)
    folder.mkdir(parents=True)
    return {
        folder / f"chat-{at}.json": json.dumps(
            {"id": f"{seed}-{at}", "messages": [{"content": " ".join(rng.choices(WORDS, k=400))}]}
        ).encode()
        for at in range(count)
    }


def packs_bytes(mount: Mount) -> int:
    return sum(path.stat().st_size for path in (mount.vault / "packs").iterdir())


def test_writers_are_told_and_what_they_wrote_stays(mount: Mount, disk: SmallDisk) -> None:
    rng = random.Random(5)
    kept: dict[Path, bytes] = {}
    for name, size in (("big", 5 * MEBI), ("middle", 90_000), ("small", 3000), ("tiny", 9)):
        for at in range(20_000):
            path, content = mount.path / f"{name} {at}", rng.randbytes(size)
            code = write(path, content)
            if code is not None:
                assert code == errno.ENOSPC
                break
            kept[path] = content
        else:
            pytest.fail("the disk never became full")
    assert_same(kept)
    time.sleep(1.5)  # sealing fails, or not, and sizes are noted, or not
    assert_same(kept)
    mount.remount()
    assert_same(kept)
    big = [path for path in kept if path.name.startswith("big")]
    before = disk.free
    for path in big[:2]:
        path.unlink()
        del kept[path]
    (mount.control / "gc").write_text("1\n")
    wait_for_room(disk, before + 9 * MEBI)
    kept[mount.path / "new"] = rng.randbytes(4 * MEBI)
    assert write(mount.path / "new", kept[mount.path / "new"]) is None
    assert_same(kept)
    mount.crash()
    assert_same(kept)
    (mount.control / "verify").write_text("1\n")
    mount.unmount()


@pytest.mark.parametrize("compacted", [False, True])
def test_deleting_and_collecting_without_a_free_block(
    mount: Mount, disk: SmallDisk, compacted: bool
) -> None:
    kept = chats(mount.path / "kept", 30, 1)
    gone = chats(mount.path / "gone", 600, 2)
    for path, content in (kept | gone).items():
        assert write(path, content) is None
    mount.wait_sealed()
    if compacted:
        (mount.control / "compact").write_text("1\n")
    disk.fill()
    assert write(mount.path / "more", bytes(200_000)) == errno.ENOSPC
    assert_same(kept | gone)
    before = packs_bytes(mount)
    shutil.rmtree(mount.path / "gone")
    assert not (mount.path / "gone").exists()
    assert_same(kept)
    (mount.control / "gc").write_text("1\n")
    assert packs_bytes(mount) < before / 3
    wait_for_room(disk, before // 2)
    assert_same(kept)
    again = chats(mount.path / "again", 20, 3)
    for path, content in again.items():
        assert write(path, content) is None
    assert_same(kept | again)
    mount.remount()
    assert_same(kept | again)
    (mount.control / "verify").write_text("1\n")


@pytest.mark.parametrize("killed", [False, True])
def test_it_mounts_on_a_full_disk(mount: Mount, disk: SmallDisk, killed: bool) -> None:
    kept = chats(mount.path / "kept", 100, 1)
    for path, content in kept.items():
        assert write(path, content) is None
    mount.wait_sealed()
    if killed:
        disk.fill()
        mount.kill()
    else:
        mount.unmount()
        disk.fill()
    assert disk.free == 0
    mount.recover()
    assert_same(kept)
    for path in list(kept)[:50]:
        path.unlink()
        del kept[path]
    mount.unmount()
    disk.fill()
    mount.start()
    assert_same(kept)
    assert set(mount.path.rglob("*.json")) == set(kept)
    (mount.control / "gc").write_text("1\n")
    disk.empty()
    assert write(mount.path / "new", bytes(MEBI)) is None
    assert (mount.path / "new").read_bytes() == bytes(MEBI)


def test_drafts_that_cannot_be_sealed_stay(mount: Mount, disk: SmallDisk) -> None:
    rng = random.Random(7)
    kept = {mount.path / f"draft {at}": rng.randbytes(700_000) for at in range(8)}
    for path, content in kept.items():
        if len(kept) - list(kept).index(path) == 4:
            disk.fill()
            break
        assert write(path, content) is None
    else:
        pytest.fail("nothing was written")
    kept = dict(list(kept.items())[:4])
    assert_same(kept)
    mount.unmount()
    assert mount.start()
    assert_same(kept)
    disk.empty()
    mount.wait_sealed(45)
    assert_same(kept)


def test_compaction_says_so_or_is_done(mount: Mount, disk: SmallDisk) -> None:
    kept = chats(mount.path / "kept", 300, 1)
    for path, content in kept.items():
        assert write(path, content) is None
    mount.wait_sealed()
    disk.fill()
    with pytest.raises(OSError, match="No space") as refused:
        (mount.control / "compact").write_text("1\n")
    assert refused.value.errno == errno.ENOSPC
    assert_same(kept)
    disk.empty()
    (mount.control / "compact").write_text("1\n")
    assert_same(kept)
    assert os.statvfs(mount.path).f_bavail > 0
