"""The disk or the directory of a mounted vault goes away: errors, no end, and a clear last word."""

import errno
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.mount.background import stowkenfs
from tests.mount.conftest import SOON
from tests.mount.disks import SmallDisk, small_disk
from tests.mount.mounted import Mount, skip_without_fuse

_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, of <linux/ext4.h>: the filesystem stops, as after an error of its device."""


def shut_down(mount: Mount, disk: SmallDisk) -> None:
    os.sync()
    fd = os.open(disk.path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", 2))  # without its journal
    except OSError:
        pytest.skip("this kernel does not shut filesystems down")
    finally:
        os.close(fd)


def detach_disk(mount: Mount, disk: SmallDisk) -> None:
    subprocess.run(["umount", "-l", disk.path], check=True)


def rename(mount: Mount, disk: SmallDisk) -> None:
    mount.vault.rename(disk.path / "moved")


def remove(mount: Mount, disk: SmallDisk) -> None:
    shutil.rmtree(mount.vault)


def remove_index(mount: Mount, disk: SmallDisk) -> None:
    for path in mount.vault.glob("index.db*"):
        path.unlink()


def cut_image(mount: Mount, disk: SmallDisk) -> None:
    os.truncate(disk.path.parent / "image", 0)


WAYS = (shut_down, detach_disk, rename, remove, remove_index, cut_image)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    skip_without_fuse()
    with small_disk(tmp_path, 48, "ext4") as made:
        yield made


@pytest.fixture
def mount(disk: SmallDisk, tmp_path: Path) -> Iterator[Mount]:
    made = Mount(tmp_path / "mounts", f"{SOON},workers=0")
    made.vault = disk.path / "vault"
    try:
        yield made.start()
    finally:
        made.close()


def errno_of(act: Callable[[], object]) -> int:
    try:
        act()
    except OSError as error:
        return error.errno or errno.EIO
    return 0


@pytest.mark.parametrize("vanish", WAYS, ids=lambda way: way.__name__)
def test_requests_are_answered_and_the_mount_can_be_taken_away(
    mount: Mount, disk: SmallDisk, vanish: Callable[[Mount, SmallDisk], None]
) -> None:
    files = {mount.path / f"{n}": b'{"n": %d}\n' % n * 500 for n in range(10)}
    for path, content in files.items():
        path.write_bytes(content)
    mount.wait_sealed()
    vanish(mount, disk)
    allowed = {0, errno.EIO, errno.EROFS, errno.ENOENT, errno.ENOSPC}
    for at in range(2):
        for path, content in files.items():
            with suppress(OSError):
                assert path.read_bytes() == content
        new = mount.path / f"new {at}"
        codes = {
            "write": errno_of(partial(new.write_bytes, b"x" * 5000)),
            "mkdir": errno_of((mount.path / f"folder {at}").mkdir),
            "rename": errno_of(partial((mount.path / f"{at}").rename, mount.path / "other")),
            "stats": errno_of((mount.control / "stats").read_bytes),
        }
        for job in ("verify", "gc", "compact"):
            codes[job] = errno_of(partial((mount.control / job).write_text, "1\n"))
        assert mount.alive, mount.log()
        assert set(codes.values()) <= allowed, codes
    told = stowkenfs("umount", mount.path)
    assert mount._process is not None
    code = mount._process.wait(60)
    assert code in (0, 1), mount.log()
    assert told.returncode == code, (told.stderr, mount.log())
    assert "Traceback" not in mount.log(), mount.log()


def test_a_new_directory_in_the_place_of_the_index_is_not_written_to(
    mount: Mount, disk: SmallDisk
) -> None:
    """An index that went is not made anew, empty, by a look at it."""
    (mount.path / "one").write_bytes(b"one\n")
    mount.wait_sealed()
    remove_index(mount, disk)
    assert errno_of((mount.control / "stats").read_bytes) == errno.EIO
    assert not (mount.vault / "index.db").exists()
