"""Who may, and what a change by somebody else takes away. Through a mount that others enter."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.calls import NOW, OMIT, fails_with, set_times
from tests.mount.mounted import listed
from tests.posix.users import ALICE, BOB, acting

GROUP = 23499


def write(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.write(fd, b"changed")
    os.close(fd)


def truncate_open(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY)
    os.ftruncate(fd, 2)
    os.close(fd)


def open_truncating(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))


def open_truncating_to_read(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))


CHANGES: tuple[Callable[[Path], object], ...] = (
    write,
    truncate_open,
    open_truncating,
    open_truncating_to_read,
    lambda path: os.truncate(path, 3),
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_content_takes_set_id_bits_away(
    commons: Path, change: Callable[[Path], object]
) -> None:
    for who in (BOB, ALICE):  # another user, and the owner
        path = commons / f"{who}"
        path.write_bytes(b"a program")
        os.chown(path, ALICE, ALICE)
        path.chmod(0o6777)
        acting(who, change, path)
        assert oct(path.stat().st_mode) == oct(stat.S_IFREG | 0o777)
    path.chmod(0o2767)  # no execution for the group: the bit stands for something else
    acting(ALICE, change, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o2767
    path.chmod(0o6777)
    change(path)  # root may
    assert stat.S_IMODE(path.stat().st_mode) == 0o6777


def test_a_change_of_owner_takes_set_id_bits_away(commons: Path) -> None:
    path = commons / "program"
    path.touch()
    os.chown(path, ALICE, ALICE)
    path.chmod(0o6755)
    acting(ALICE, os.chown, path, -1, GROUP, groups=[GROUP])
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    with fails_with(errno.EPERM):
        acting(ALICE, os.chown, path, -1, BOB)
    with fails_with(errno.EPERM):
        acting(ALICE, os.chown, path, BOB, -1)


def test_set_group_id_needs_membership(commons: Path) -> None:
    path = commons / "file"
    path.touch()
    os.chown(path, ALICE, GROUP)
    acting(ALICE, path.chmod, 0o2755)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    acting(ALICE, path.chmod, 0o2755, groups=[GROUP])
    assert stat.S_IMODE(path.stat().st_mode) == 0o2755
    with fails_with(errno.EPERM):
        acting(BOB, path.chmod, 0o777, groups=[GROUP])


def test_what_is_made_in_a_set_group_id_directory(commons: Path) -> None:
    os.chown(commons, 0, GROUP)
    commons.chmod(0o2777)

    def make() -> None:
        os.umask(0)
        os.close(os.open(commons / "file", os.O_CREAT | os.O_WRONLY, 0o2775))
        (commons / "directory").mkdir(0o775)
        os.mkfifo(commons / "fifo", 0o664)
        (commons / "link").symlink_to("file")

    acting(ALICE, make)
    for name in ("file", "directory", "fifo", "link"):
        status = (commons / name).lstat()
        assert (status.st_uid, status.st_gid) == (ALICE, GROUP)
    # Who is not in the group makes no program that runs as it.
    assert stat.S_IMODE((commons / "file").stat().st_mode) == 0o775
    assert stat.S_IMODE((commons / "directory").stat().st_mode) == 0o2775


def test_sticky_directories_protect_what_others_own(commons: Path) -> None:
    commons.chmod(0o1777)

    def prepare() -> None:
        os.umask(0)
        (commons / "hers").write_text("hers")
        (commons / "directory").mkdir(0o777)

    acting(ALICE, prepare)
    acting(BOB, (commons / "his").write_text, "his")
    (commons / "elsewhere").mkdir()
    (commons / "elsewhere").chmod(0o777)
    refused: list[Callable[[], object]] = [
        (commons / "hers").unlink,
        (commons / "directory").rmdir,
        lambda: (commons / "hers").rename(commons / "taken"),
        lambda: (commons / "hers").rename(commons / "elsewhere" / "taken"),
        lambda: (commons / "his").rename(commons / "hers"),
        lambda: (commons / "directory").rename(commons / "elsewhere" / "taken"),
    ]
    for attempt in refused:
        with pytest.raises(OSError) as failure:
            acting(BOB, attempt)
        assert failure.value.errno in (errno.EPERM, errno.EACCES)
    assert listed(commons) == ["directory", "elsewhere", "hers", "his"]
    acting(ALICE, lambda: (commons / "hers").rename(commons / "elsewhere" / "hers"))
    acting(BOB, (commons / "elsewhere" / "hers").unlink)
    acting(BOB, lambda: (commons / "his").rename(commons / "his own"))
    os.chown(commons, BOB, BOB)  # whose directory it is may
    acting(BOB, (commons / "directory").rmdir)
    assert listed(commons) == ["elsewhere", "his own"]


def test_a_directory_moves_to_another_parent_only_if_it_can_be_written(commons: Path) -> None:
    """Moving it changes its ``..``."""
    commons.chmod(0o777)
    (commons / "target").mkdir()
    (commons / "target").chmod(0o777)
    acting(ALICE, (commons / "closed").mkdir, 0o555)
    with fails_with(errno.EACCES):
        acting(ALICE, lambda: (commons / "closed").rename(commons / "target" / "closed"))
    acting(ALICE, lambda: (commons / "closed").rename(commons / "renamed"))
    assert (commons / "renamed").is_dir()


def test_who_may_set_times(commons: Path) -> None:
    path = commons / "file"
    path.touch()
    os.chown(path, ALICE, ALICE)
    path.chmod(0o666)
    acting(ALICE, set_times, path, (1, 2), (3, 4))
    acting(BOB, set_times, path, (0, NOW), (0, NOW))  # who may write it may say that
    assert path.stat().st_mtime > 1_000_000
    for accessed, modified in (((1, 2), (3, 4)), ((0, NOW), (0, OMIT))):
        with fails_with(errno.EPERM):
            acting(BOB, set_times, path, accessed, modified)
    path.chmod(0o644)
    with fails_with(errno.EACCES):
        acting(BOB, set_times, path, (0, NOW), (0, NOW))


def test_trusted_attributes_are_roots_alone(commons: Path) -> None:
    path = commons / "file"
    path.touch()
    path.chmod(0o666)
    os.setxattr(path, "trusted.note", b"secret")
    os.setxattr(path, "user.note", b"told")
    assert {"trusted.note", "user.note"} <= set(os.listxattr(path))
    seen = acting(ALICE, os.listxattr, path)
    assert "user.note" in seen
    assert "trusted.note" not in seen
    with fails_with(errno.ENODATA):
        acting(ALICE, os.getxattr, path, "trusted.note")
    for name in ("trusted.other", "security.other"):
        with fails_with(errno.EPERM):
            acting(ALICE, os.setxattr, path, name, b"1")
    with fails_with(errno.EOPNOTSUPP):
        acting(ALICE, os.setxattr, path, "anybodys.note", b"1")


def test_attributes_are_read_by_who_may_read(commons: Path) -> None:
    path = commons / "file"
    path.touch()
    os.setxattr(path, "user.note", b"told")
    path.chmod(0o222)
    for name in ("user.note", "user.stowken.tokens"):
        with fails_with(errno.EACCES):
            acting(ALICE, os.getxattr, path, name)
    path.chmod(0o444)
    assert acting(ALICE, os.getxattr, path, "user.note") == b"told"
    with fails_with(errno.EACCES):
        acting(ALICE, os.setxattr, path, "user.note", b"changed")
