"""Files and directories behave as ordinary tools expect of them."""

import contextlib
import errno
import mmap
import multiprocessing
import os
import random
import resource
import stat
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.calls import descriptor, fails_with
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, listed, run

HUGE_BYTES = 999_999_999_999_999
OWNER = 12345


# Content


def test_write_at_any_offset(folder: Path) -> None:
    path = folder / "file"
    expected = bytearray()
    chance = random.Random(1)
    with descriptor(path, os.O_RDWR | os.O_CREAT) as fd:
        for _ in range(300):
            start, content = chance.randrange(60_000), chance.randbytes(chance.randrange(1, 9000))
            os.pwrite(fd, content, start)
            expected.extend(bytes(max(0, start + len(content) - len(expected))))
            expected[start : start + len(content)] = content
        assert os.pread(fd, len(expected) + 1, 0) == expected
    assert path.read_bytes() == expected
    assert path.stat().st_size == len(expected)


def test_append_truncate_extend(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"one\n")
    with path.open("ab") as file:
        file.write(b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    os.truncate(path, 5)
    assert path.read_bytes() == b"one\nt"
    os.truncate(path, 10)
    assert path.read_bytes() == b"one\nt\0\0\0\0\0"
    path.write_bytes(b"")
    assert path.stat().st_size == 0
    with path.open("r+b") as file:
        file.seek(7)
        file.write(b"!")
    assert path.read_bytes() == bytes(7) + b"!"


def test_open_with_truncation_empties(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x" * 10_000)
    with descriptor(path, os.O_WRONLY | os.O_TRUNC) as fd:
        assert os.fstat(fd).st_size == 0
        os.write(fd, b"new")
    assert path.read_bytes() == b"new"


def test_an_emptied_file_does_not_stay_a_draft(shared: Mount, folder: Path) -> None:
    """Nothing is left to seal, so nothing may wait for it, for ever and again."""
    (folder / "file").write_bytes(b"x" * 300_000)
    os.truncate(folder / "file", 0)
    with (folder / "other").open("wb", buffering=0) as file:
        file.write(b"y" * 300_000)
        file.truncate(0)
    shared.wait_sealed()
    deadline = time.monotonic() + 5
    while shared.status()["files_waiting_to_be_sealed"] != "0":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (folder / "file").stat().st_size == 0


def test_sparse_file_of_a_petabyte(shared: Mount, folder: Path) -> None:
    path, began = folder / "sparse", time.monotonic()
    path.touch()
    os.truncate(path, HUGE_BYTES)
    with descriptor(path, os.O_RDWR) as fd:
        assert os.pwrite(fd, b"the end", HUGE_BYTES - 7) == 7
        assert os.pread(fd, 100, HUGE_BYTES - 10) == b"\0\0\0the end"
        assert os.pread(fd, 100_000, HUGE_BYTES // 2) == bytes(100_000)
        os.pwrite(fd, b"beyond", HUGE_BYTES + 5)
    assert path.stat().st_size == HUGE_BYTES + 11
    shared.wait_sealed()
    with descriptor(path, os.O_RDWR) as fd:
        assert os.pread(fd, 100, HUGE_BYTES - 7) == b"the end\0\0\0\0\0beyond"
        assert os.pread(fd, 10, 0) == bytes(10)
    path.unlink()
    assert time.monotonic() - began < 10
    assert shared.measure() < 512 << 10


def test_write_beyond_the_largest_offset_is_refused(folder: Path) -> None:
    with descriptor(folder / "file", os.O_RDWR | os.O_CREAT) as fd:
        with pytest.raises(OSError) as failure:
            os.pwrite(fd, b"xx", (1 << 63) - 2)
        assert failure.value.errno in (errno.EFBIG, errno.EINVAL)


def test_large_file_comes_back(folder: Path) -> None:
    content = random.Random(5).randbytes(1 << 20) * 12 + b"tail"
    (folder / "large").write_bytes(content)
    assert (folder / "large").read_bytes() == content


def test_mapped_reads_and_writes(shared: Mount, folder: Path) -> None:
    path = folder / "mapped"
    path.write_bytes(bytes(range(256)) * 100)
    shared.wait_sealed()
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as view:
        assert view[1000:1100] == (bytes(range(256)) * 5)[1000:1100]
        view[5000:5005] = b"HELLO"
        view.flush()
        file.seek(4998)
        assert file.read(9) == b"\x86\x87HELLO\x8d\x8e"
    shared.wait_sealed()
    expected = bytearray(bytes(range(256)) * 100)
    expected[5000:5005] = b"HELLO"
    assert path.read_bytes() == expected


def append_numbers(path: Path, who: int) -> None:
    with descriptor(path, os.O_WRONLY | os.O_APPEND) as fd:
        for at in range(500):
            line = b"%d %d %s\n" % (who, at, b"x" * (at % 90))
            assert os.write(fd, line) == len(line)


def test_two_processes_append_whole_lines(folder: Path) -> None:
    path = folder / "log"
    path.touch()
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=append_numbers, args=(path, who)) for who in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    lines = [line.split() for line in path.read_bytes().splitlines()]
    for who in (0, 1):
        assert [int(at) for w, at, *_ in lines if int(w) == who] == list(range(500))


def test_a_thousand_open_files(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    with contextlib.ExitStack() as stack:
        opened = []
        for at in range(1000):
            file = stack.enter_context((folder / f"{at}").open("w+b", buffering=0))
            file.write(b"begun %d" % at)
            opened.append(file)
        for at, file in enumerate(opened):
            file.write(b", done")
            file.seek(0)
            assert file.read() == b"begun %d, done" % at
    assert len(listed(folder)) == 1000


def test_fallocate_is_refused_or_works(folder: Path) -> None:
    with descriptor(folder / "file", os.O_RDWR | os.O_CREAT) as fd:
        done = subprocess.run(
            ["fallocate", "-l", "100000", f"/proc/self/fd/{fd}"],
            pass_fds=[fd],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            assert "not supported" in done.stderr
        else:
            assert os.fstat(fd).st_size == 100_000
        os.posix_fallocate(fd, 0, 5000)  # the C library writes where the kernel refuses
        assert os.fstat(fd).st_size >= 5000


def test_blocks_are_sane(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"x" * 100_000)
    status = path.stat()
    assert 0 < status.st_blocks * 512 <= 110_000
    assert status.st_blksize >= 512
    assert run("du", "-s", folder)


def test_fsync_of_file_and_directory(folder: Path) -> None:
    with descriptor(folder / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.write(fd, b"content")
        os.fsync(fd)
        os.fdatasync(fd)
    with descriptor(folder, os.O_RDONLY | os.O_DIRECTORY) as fd:
        os.fsync(fd)
    with descriptor(folder / "file", os.O_RDONLY) as fd:
        os.fsync(fd)
    run("sync", "-f", folder)


# Names


def test_names_of_any_bytes(folder: Path) -> None:
    root = os.fsencode(folder)
    names = {bytes([byte]) * 3 for byte in range(1, 256) if byte != ord("/")}
    names |= {b"x" * 255, "ü".encode() * 127 + b"x", b"\xff" * 255, b" ", b"-rf", b"\n", b"..."}
    names.discard(b"..")
    for name in names:
        with open(os.path.join(root, name), "xb") as file:  # noqa: PTH118, PTH123 - bytes
            file.write(name)
    assert set(listed(root)) == names
    for name in names:
        with open(os.path.join(root, name), "rb") as file:  # noqa: PTH118, PTH123
            assert file.read() == name


def test_longer_names_are_refused(folder: Path) -> None:
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).touch()
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).mkdir()
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).stat()
    (folder / "short").touch()
    with fails_with(errno.ENAMETOOLONG):
        (folder / "short").rename(folder / ("x" * 256))


def test_rename_over_existing(folder: Path) -> None:
    (folder / "old").write_bytes(b"old")
    (folder / "new").write_bytes(b"new")
    ino = (folder / "new").stat().st_ino
    with (folder / "old").open("rb") as opened:
        (folder / "new").rename(folder / "old")
        assert opened.read() == b"old"
        assert os.fstat(opened.fileno()).st_nlink == 0
    assert (folder / "old").read_bytes() == b"new"
    assert (folder / "old").stat().st_ino == ino
    assert listed(folder) == ["old"]


def test_rename_rules(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "full" / "below").mkdir(parents=True)
    (folder / "empty").mkdir()
    with fails_with(errno.ENOTEMPTY):
        (folder / "empty").rename(folder / "full")
    with fails_with(errno.EISDIR):
        (folder / "file").rename(folder / "empty")
    with fails_with(errno.ENOTDIR):
        (folder / "empty").rename(folder / "file")
    with fails_with(errno.EINVAL):
        (folder / "full").rename(folder / "full" / "below" / "itself")
    with fails_with(errno.ENOENT):
        (folder / "absent").rename(folder / "file")
    (folder / "full").rename(folder / "empty")
    assert (listed(folder)) == ["empty", "file"]
    assert folder.stat().st_nlink == 3
    assert (folder / "empty").stat().st_nlink == 3
    (folder / "empty" / "below").rename(folder / "below")
    assert folder.stat().st_nlink == 4
    assert (folder / "below" / "..").stat().st_ino == folder.stat().st_ino


def test_unlink_while_open(folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"still here")
    with path.open("r+b", buffering=0) as file:
        path.unlink()
        with fails_with(errno.ENOENT):
            path.stat()
        file.seek(0, os.SEEK_END)
        file.write(b", and more")
        file.seek(0)
        assert file.read() == b"still here, and more"
        assert os.fstat(file.fileno()).st_nlink == 0
        path.write_bytes(b"another")  # the name is free again
        file.seek(0)
        assert file.read() == b"still here, and more"
    assert path.read_bytes() == b"another"


def test_rename_while_open(folder: Path) -> None:
    with (folder / "before").open("wb", buffering=0) as file:
        file.write(b"one")
        (folder / "before").rename(folder / "after")
        file.write(b" two")
    assert (folder / "after").read_bytes() == b"one two"


def test_directories(folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    assert (folder / "a").stat().st_nlink == 3
    with fails_with(errno.ENOTEMPTY):
        (folder / "a").rmdir()
    with fails_with(errno.EEXIST):
        (folder / "a").mkdir()
    with fails_with(errno.EISDIR):
        (folder / "a").unlink()
    (folder / "a" / "b").rmdir()
    assert (folder / "a").stat().st_nlink == 2
    (folder / "a").rmdir()
    with fails_with(errno.ENOENT):
        (folder / "a").rmdir()
    (folder / "file").touch()
    with fails_with(errno.ENOTDIR):
        (folder / "file").rmdir()
    with fails_with(errno.ENOTDIR):
        (folder / "file" / "below").touch()


def test_hard_links(folder: Path) -> None:
    one, two = folder / "one", folder / "two"
    one.write_bytes(b"shared")
    os.link(one, two)
    assert one.stat().st_ino == two.stat().st_ino
    assert one.stat().st_nlink == 2
    with two.open("ab") as file:
        file.write(b" content")
    assert one.read_bytes() == b"shared content"
    one.unlink()
    assert two.stat().st_nlink == 1
    assert two.read_bytes() == b"shared content"
    with fails_with(errno.EEXIST):
        os.link(two, two)
    with fails_with(errno.EPERM):
        os.link(folder, folder.parent / "directory-link")


def test_symbolic_links(folder: Path) -> None:
    (folder / "target").write_bytes(b"behind")
    (folder / "link").symlink_to("target")
    assert (folder / "link").read_bytes() == b"behind"
    (folder / "dangling").symlink_to("nowhere/at/all")
    assert not (folder / "dangling").exists()
    longest = "x" * 4095
    (folder / "long").symlink_to(longest)
    assert str((folder / "long").readlink()) == longest
    assert (folder / "long").lstat().st_size == 4095
    with fails_with(errno.ENAMETOOLONG):
        (folder / "longer").symlink_to("x" * 4096)
    (folder / "bytes").symlink_to(os.fsdecode(b"\xff\xfe bytes"))
    assert os.fsencode((folder / "bytes").readlink()) == b"\xff\xfe bytes"
    (folder / "link").unlink()
    assert (folder / "target").exists()


def test_special_files(folder: Path) -> None:
    os.mkfifo(folder / "fifo", 0o640)
    status = (folder / "fifo").stat()
    assert stat.S_ISFIFO(status.st_mode)
    assert stat.S_IMODE(status.st_mode) == 0o640
    reader = threading.Thread(target=(folder / "fifo").read_bytes, daemon=True)
    reader.start()
    (folder / "fifo").write_bytes(b"through")
    reader.join(5)
    assert not reader.is_alive()
    os.mknod(folder / "regular", 0o600 | stat.S_IFREG)
    assert (folder / "regular").read_bytes() == b""
    if os.getuid() == 0:
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        assert (folder / "null").stat().st_rdev == os.makedev(1, 3)


def test_listing_is_stable_while_names_come_and_go(folder: Path) -> None:
    """Each name that was there all the time is seen exactly once."""
    kept = {f"kept-{at}" for at in range(2000)}
    for name in kept:
        (folder / name).touch()
    stop = threading.Event()

    def churn() -> None:
        at = 0
        while not stop.is_set():
            at += 1
            (folder / f"new-{at}").touch()
            if at > 20:
                (folder / f"new-{at - 20}").unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(5):
            seen = []
            with os.scandir(folder) as entries:
                for entry in entries:
                    seen.append(entry.name)
                    if len(seen) % 100 == 0:
                        time.sleep(0.002)
            steady = [name for name in seen if name in kept]
            assert len(steady) == len(kept)
            assert set(steady) == kept
    finally:
        stop.set()
        thread.join()


def test_removing_while_listing_empties(folder: Path) -> None:
    for at in range(1000):
        (folder / f"{at}").touch()
    with os.scandir(folder) as entries:
        for entry in entries:
            os.unlink(entry.path)  # noqa: PTH108
    assert listed(folder) == []


# Attributes


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


# Across mounts


def test_inode_numbers_never_change(make_mount: MakeMount) -> None:
    mount = make_mount()
    (mount.path / "a" / "b").mkdir(parents=True)
    for at in range(50):
        (mount.path / "a" / f"{at}").write_bytes(b"%d" % at)
    (mount.path / "link").symlink_to("a")
    before = {path: path.lstat().st_ino for path in mount.path.rglob("*")}
    (mount.path / "last").touch()
    last = (mount.path / "last").stat().st_ino
    (mount.path / "last").unlink()
    mount.remount()
    assert {path: path.lstat().st_ino for path in mount.path.rglob("*")} == before
    (mount.path / "next").touch()
    assert (mount.path / "next").stat().st_ino > last  # a number is never given out twice
