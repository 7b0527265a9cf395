"""Modes, owners, times and attributes of files."""

import errno
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from tests.calls import fails_with
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, run

OWNER = 12345


def test_modes_and_owners(folder: Path) -> None:
    path = folder / "file"
    before = os.umask(0o027)
    try:
        path.touch(0o666)
        (folder / "directory").mkdir(0o777)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE((folder / "directory").stat().st_mode) == 0o750
    for mode in (0o000, 0o777, 0o4755, 0o1600):
        path.chmod(mode)
        assert stat.S_IMODE(path.stat().st_mode) == mode
    if os.getuid() == 0:
        os.chown(path, OWNER, OWNER + 1)
        assert (path.stat().st_uid, path.stat().st_gid) == (OWNER, OWNER + 1)
        os.chown(path, -1, 7)
        assert (path.stat().st_uid, path.stat().st_gid) == (OWNER, 7)


@pytest.mark.skipif(os.getuid() != 0, reason="changing groups needs root")
def test_setgid_directories_hand_their_group_down(folder: Path) -> None:
    os.chown(folder, 0, OWNER)
    folder.chmod(0o2775)
    (folder / "file").touch()
    (folder / "below").mkdir()
    assert (folder / "file").stat().st_gid == OWNER
    assert (folder / "below").stat().st_gid == OWNER
    assert (folder / "below").stat().st_mode & stat.S_ISGID
    assert not (folder / "file").stat().st_mode & stat.S_ISGID


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_writing_takes_setuid_away(folder: Path) -> None:
    path = folder / "program"
    path.write_bytes(b"x")
    path.chmod(0o4777)
    folder.chmod(0o777)
    assert path.stat().st_mode & stat.S_ISUID
    os.chown(path, OWNER, OWNER)
    assert not path.stat().st_mode & stat.S_ISUID


def test_times_to_the_nanosecond(shared: Mount, folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x" * 5000)
    os.utime(path, ns=(1_111_111_111_123_456_789, 2_222_222_222_987_654_321))
    assert path.stat().st_atime_ns == 1_111_111_111_123_456_789
    assert path.stat().st_mtime_ns == 2_222_222_222_987_654_321
    run("touch", "-d", "1965-03-04 05:06:07.123456789 UTC", path)
    assert path.stat().st_mtime_ns == -152_391_232_876_543_211
    changed = path.stat().st_ctime_ns
    assert abs(changed - time.time_ns()) < 60_000_000_000
    shared.wait_sealed()
    assert path.stat().st_mtime_ns == -152_391_232_876_543_211
    os.utime(path, ns=(0, 0))
    assert path.stat().st_mtime_ns == 0


def test_changes_move_times(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x")
    os.utime(path, ns=(1, 1))
    os.utime(folder, ns=(1, 1))
    with path.open("ab") as file:
        file.write(b"y")
    assert path.stat().st_mtime_ns > 1
    assert folder.stat().st_mtime_ns == 1
    (folder / "another").touch()
    assert folder.stat().st_mtime_ns > 1
    os.utime(path, ns=(1, 1))
    os.truncate(path, 1)
    assert path.stat().st_mtime_ns > 1


def test_sealing_does_not_change_times(shared: Mount, folder: Path) -> None:
    path = folder / "log.jsonl"
    path.write_text('{"role": "user", "content": "hello"}\n' * 100)
    before = path.stat()
    shared.wait_sealed()
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    after = path.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def test_attributes_of_users(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x")
    os.setxattr(path, "user.one", b"\x00\xff value")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.large", b"v" * 60_000)
    assert os.getxattr(path, "user.one") == b"\x00\xff value"
    assert os.getxattr(path, "user.empty") == b""
    assert os.getxattr(path, "user.large") == b"v" * 60_000
    assert {"user.one", "user.empty", "user.large"} <= set(os.listxattr(path))
    with fails_with(errno.EEXIST):
        os.setxattr(path, "user.one", b"", os.XATTR_CREATE)
    with fails_with(errno.ENODATA):
        os.setxattr(path, "user.two", b"", os.XATTR_REPLACE)
    os.setxattr(path, "user.one", b"replaced", os.XATTR_REPLACE)
    assert os.getxattr(path, "user.one") == b"replaced"
    os.removexattr(path, "user.one")
    with fails_with(errno.ENODATA):
        os.getxattr(path, "user.one")
    with fails_with(errno.ENODATA):
        os.removexattr(path, "user.one")
    os.setxattr(folder, "user.of-a-directory", b"yes")
    assert os.listxattr(folder) == ["user.of-a-directory"]


def test_access_control_lists_are_refused_not_ignored(folder: Path) -> None:
    """``cp -a`` sets a list instead of a mode, and a mode only when it can't."""
    path = folder / "file"
    path.touch(0o600)
    value = bytes.fromhex("02000000 01000600ffffffff 04000600ffffffff 20000400ffffffff")
    with fails_with(errno.ENOTSUP):
        os.setxattr(path, "system.posix_acl_access", value)
    assert os.listxattr(path, follow_symlinks=False)[:1] != ["system.posix_acl_access"]


def test_stowken_attributes_are_read_only(shared: Mount, folder: Path) -> None:
    path = folder / "chat.json"
    text = "Tell me of the sea and of all the fish that live in it. " * 3
    path.write_text(f'{{"messages": [{{"role": "user", "content": "{text}"}}]}}\n')
    # What is told of a draft must not be remembered for the sealed file.
    assert float(os.getxattr(path, "user.stowken.ratio")) > 0
    shared.wait_sealed()
    shown = run("getfattr", "-d", "--absolute-names", path)
    for name in ("tokens", "conversations", "segments", "stored_bytes", "ratio"):
        assert f"user.stowken.{name}=" in shown
        run("getfattr", "-n", f"user.stowken.{name}", "--absolute-names", path)
    assert int(os.getxattr(path, "user.stowken.tokens")) > 10
    assert int(os.getxattr(path, "user.stowken.segments")) == 1
    assert int(os.getxattr(path, "user.stowken.conversations")) == 1
    assert int(os.getxattr(path, "user.stowken.stored_bytes")) > 0
    for name in ("tokens", "other"):
        with fails_with(errno.EPERM):
            os.setxattr(path, f"user.stowken.{name}", b"9")
    with fails_with(errno.EPERM):
        os.removexattr(path, "user.stowken.tokens")
    with fails_with(errno.ENODATA):
        os.getxattr(path, "user.stowken.other")


def test_statfs(shared: Mount, folder: Path) -> None:
    shown, below = os.statvfs(folder), os.statvfs(shared.vault)
    assert shown.f_namemax == 255
    free = (s.f_bavail * s.f_frsize for s in (shown, below))
    assert abs(next(free) - next(free)) < 1 << 30
    assert shown.f_blocks * shown.f_frsize == below.f_blocks * below.f_frsize
    assert "stowkenfs" in run("df", "-T", folder)


@pytest.mark.skipif(os.getuid() != 0, reason="needs a second user and allow_other")
def test_permissions_hold_for_others(make_mount: MakeMount) -> None:
    mount = make_mount("allow_other")
    for parent in (*mount.path.relative_to("/tmp").parents, mount.path):
        (Path("/tmp") / parent).chmod(0o755)
    (mount.path / "secret").write_bytes(b"x")
    (mount.path / "secret").chmod(0o600)
    (mount.path / "open").write_bytes(b"y")
    (mount.path / "open").chmod(0o644)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    assert run(*nobody, "cat", mount.path / "open") == "y"
    refused = subprocess.run(
        [*nobody, "cat", mount.path / "secret"], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in refused.stderr
