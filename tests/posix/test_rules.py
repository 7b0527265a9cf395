"""Rules of files and directories that suites found broken here, or that nobody else asks for."""

import contextlib
import errno
import mmap
import os
import socket
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.calls import NOW, OMIT, OpenDirectory, descriptor, fails_with, set_times
from tests.mount.mounted import Mount, listed

# Directories that are gone


def test_a_removed_directory_that_is_open_answers(folder: Path) -> None:
    (folder / "gone").mkdir()
    with descriptor(folder / "gone", os.O_RDONLY | os.O_DIRECTORY) as fd:
        before = os.fstat(fd)
        (folder / "gone").rmdir()
        assert os.fstat(fd).st_nlink == 0
        assert os.fstat(fd).st_ino == before.st_ino
        assert os.listdir(fd) == []  # noqa: PTH208 - a descriptor has no path
        os.fchmod(fd, 0o700)
        os.utime(fd, ns=(5, 6))
        os.setxattr(fd, "user.note", b"late")
        os.fsync(fd)
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o700
        assert os.fstat(fd).st_mtime_ns == 6
        assert os.getxattr(fd, "user.note") == b"late"
        with fails_with(errno.ENOENT):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=fd)
    (folder / "gone").mkdir()
    assert (folder / "gone").stat().st_ino != before.st_ino


def test_a_replaced_directory_that_is_open_answers(folder: Path) -> None:
    (folder / "new").mkdir()
    (folder / "old").mkdir()
    with descriptor(folder / "old", os.O_RDONLY | os.O_DIRECTORY) as fd:
        (folder / "new").rename(folder / "old")
        assert os.fstat(fd).st_nlink == 0
        assert os.listdir(fd) == []  # noqa: PTH208
    assert folder.stat().st_nlink == 3


def test_removed_directories_do_not_stay(mount: Mount) -> None:
    """What is kept for those who have it open goes with them, or at the next start."""
    (mount.path / "one").mkdir()
    (mount.path / "two").mkdir()
    with descriptor(mount.path / "one", os.O_RDONLY) as one:
        (mount.path / "one").rmdir()
        os.fstat(one)
    held = os.open(mount.path / "two", os.O_RDONLY)
    (mount.path / "two").rmdir()
    assert os.fstat(held).st_nlink == 0
    mount.kill()
    os.close(held)
    mount.recover()
    assert listed(mount.path) == []
    assert mount.path.stat().st_nlink == 2
    mount.unmount()
    with contextlib.closing(sqlite3.connect(mount.vault / "index.db")) as index:
        assert index.execute("SELECT ino FROM inode").fetchall() == [(1,)]


def test_links_of_directories_follow_what_is_in_them(folder: Path) -> None:
    here, there = folder / "here", folder / "there"
    (here / "moved" / "below").mkdir(parents=True)
    there.mkdir()

    def links() -> tuple[int, ...]:
        return tuple(path.stat().st_nlink for path in (folder, here, there))

    assert links() == (4, 3, 2)
    (here / "moved").rename(there / "moved")
    assert links() == (4, 2, 3)
    (there / "moved").rename(there / "again")
    assert links() == (4, 2, 3)
    (there / "empty").mkdir()
    (there / "again").rename(there / "empty")
    assert links() == (4, 2, 3)
    (there / "empty").rename(here / "back")
    assert links() == (4, 3, 2)
    assert (here / "back").stat().st_nlink == 3
    (here / "file").touch()
    assert links() == (4, 3, 2)


def test_which_error_a_directory_in_the_way_gives(folder: Path) -> None:
    (folder / "full" / "below").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "file").touch()
    tries: list[tuple[int, Callable[[], object]]] = [
        (errno.EEXIST, (folder / "full").mkdir),
        (errno.EEXIST, (folder / "file").mkdir),
        (errno.EEXIST, lambda: (folder / "full").symlink_to("anything")),
        (errno.EEXIST, lambda: os.mkfifo(folder / "full")),
        (errno.EEXIST, lambda: os.link(folder / "file", folder / "full")),
        (errno.EEXIST, lambda: os.open(folder / "file", os.O_CREAT | os.O_EXCL)),
        (errno.ENOTEMPTY, (folder / "full").rmdir),
        (errno.ENOTEMPTY, lambda: (folder / "empty").rename(folder / "full")),
        (errno.ENOTEMPTY, lambda: (folder / "full" / "below").rename(folder / "full")),
        (errno.EINVAL, lambda: os.rmdir(f"{folder}/empty/.")),  # noqa: PTH106 - Path drops the dot
        (errno.ENOTEMPTY, lambda: os.rmdir(f"{folder}/full/below/..")),  # noqa: PTH106
        (errno.EBUSY, lambda: os.rename(f"{folder}/empty/.", folder / "other")),  # noqa: PTH104
        (errno.EISDIR, lambda: os.open(folder / "empty", os.O_WRONLY)),
        (errno.ENOTDIR, lambda: os.open(folder / "file", os.O_DIRECTORY)),
        (errno.ENOTDIR, lambda: os.open(f"{folder}/file/", os.O_RDONLY)),
    ]
    for number, attempt in tries:
        with fails_with(number):
            attempt()
    assert listed(folder) == ["empty", "file", "full"]


# Paths


def test_names_and_paths_that_are_too_long(folder: Path) -> None:
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256) / "below").touch()
    with fails_with(errno.ENAMETOOLONG):
        (folder / ("x" * 256)).symlink_to("target")
    with fails_with(errno.ENAMETOOLONG):
        os.link(folder, folder / ("x" * 256))
    with fails_with(errno.ENAMETOOLONG):
        os.stat(f"{folder}/" + "x/" * 2048)  # noqa: PTH116 - Path would shorten it
    (folder / ("y" * 255)).mkdir()
    (folder / ("y" * 255) / ("z" * 255)).touch()
    assert listed(folder / ("y" * 255)) == ["z" * 255]


def test_links_that_lead_in_circles(folder: Path) -> None:
    (folder / "self").symlink_to("self")
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    for name in ("self", "one", "self/below"):
        with fails_with(errno.ELOOP):
            os.open(folder / name, os.O_RDONLY)
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    with fails_with(errno.ELOOP):
        os.open(folder / "link", os.O_RDONLY | os.O_NOFOLLOW)
    with fails_with(errno.EEXIST):
        os.open(folder / "self", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


# Times


def test_times_that_are_left_and_times_that_are_now(folder: Path) -> None:
    path = folder / "file"
    path.touch()
    set_times(path, (5, 6), (7, 8))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (5_000_000_006, 7_000_000_008)
    set_times(path, (0, OMIT), (17, 999_999_999))
    assert (path.stat().st_atime_ns, path.stat().st_mtime_ns) == (5_000_000_006, 17_999_999_999)
    set_times(path, (0, NOW), (0, OMIT))
    assert abs(path.stat().st_atime_ns - time.time_ns()) < 60_000_000_000
    assert path.stat().st_mtime_ns == 17_999_999_999
    before = path.stat()
    set_times(path, (0, OMIT), (0, OMIT))
    assert path.stat().st_ctime_ns == before.st_ctime_ns
    with fails_with(errno.EINVAL):
        set_times(path, (1, 1_000_000_000), (1, 1))


def test_times_of_a_link_are_its_own(folder: Path) -> None:
    (folder / "file").touch()
    (folder / "link").symlink_to("file")
    before = (folder / "file").stat().st_mtime_ns
    os.utime(folder / "link", ns=(1, 2_000_000_003), follow_symlinks=False)
    assert (folder / "link").lstat().st_mtime_ns == 2_000_000_003
    assert (folder / "file").stat().st_mtime_ns == before


def test_what_moves_which_time(folder: Path) -> None:
    """Change of content: mtime and ctime. Of attributes and names: ctime, of whoever has them."""
    path, other, inner = folder / "file", folder / "other", folder / "inner"
    path.write_bytes(b"content")
    inner.mkdir()
    steps: list[tuple[str, Callable[[], object], Path, str]] = [
        ("chmod", lambda: path.chmod(0o600), path, "c"),
        ("link", lambda: os.link(path, other), path, "c"),
        ("link, its directory", lambda: os.link(path, folder / "third"), folder, "cm"),
        ("unlink", other.unlink, path, "c"),
        ("unlink, its directory", (folder / "third").unlink, folder, "cm"),
        ("rename", lambda: path.rename(inner / "file"), inner, "cm"),
        ("rename, where it was", lambda: (inner / "file").rename(path), inner, "cm"),
        ("rename, itself", lambda: inner.rename(folder / "moved"), folder / "moved", "c"),
        ("xattr", lambda: os.setxattr(path, "user.x", b"1"), path, "c"),
        ("truncate to the same size", lambda: os.truncate(path, 7), path, "cm"),
        ("write, its directory", lambda: path.write_bytes(b"again"), folder, ""),
        ("mkfifo", lambda: os.mkfifo(folder / "fifo"), folder, "cm"),
    ]
    for what, step, whose, expected in steps:
        before = (folder / "inner" if what == "rename, itself" else whose).stat()
        time.sleep(0.002)
        step()
        after = whose.stat()
        moved = "c" * (after.st_ctime_ns > before.st_ctime_ns)
        moved += "m" * (after.st_mtime_ns > before.st_mtime_ns)
        assert moved == expected, what


# Special files


def test_sockets_are_bound_and_talk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)  # a socket's address is short
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("socket")
        assert stat.S_ISSOCK(Path("socket").stat().st_mode)
        server.listen(1)
        client.connect("socket")
        accepted, _ = server.accept()
        with accepted:
            client.send(b"through")
            assert accepted.recv(10) == b"through"
        with fails_with(errno.EADDRINUSE), socket.socket(socket.AF_UNIX) as another:
            another.bind("socket")
    with fails_with(errno.ENXIO):
        os.open("socket", os.O_RDONLY)
    os.rename("socket", "moved")  # noqa: PTH104
    with fails_with(errno.ECONNREFUSED), socket.socket(socket.AF_UNIX) as late:
        late.connect("moved")


@pytest.mark.skipif(os.getuid() != 0, reason="making devices needs root")
def test_devices_keep_their_numbers(folder: Path) -> None:
    for kind, major, minor in ((stat.S_IFCHR, 4095, 1048575), (stat.S_IFBLK, 7, 200)):
        path = folder / f"{kind}"
        os.mknod(path, kind | 0o640, os.makedev(major, minor))
        assert path.stat().st_rdev == os.makedev(major, minor)
        assert stat.S_IFMT(path.stat().st_mode) == kind
    with fails_with(errno.EPERM):
        os.mknod(folder / "directory", stat.S_IFDIR | 0o755)


# Content, by the less usual ways


def test_what_the_kernel_has_no_request_for_is_refused_or_done_without(folder: Path) -> None:
    """libfuse's binding passes no fallocate, lseek, tmpfile or copy_file_range on."""
    with fails_with(errno.EOPNOTSUPP):
        os.open(folder, os.O_TMPFILE | os.O_RDWR)
    with descriptor(folder / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.pwrite(fd, b"abcdef", 0)
        os.posix_fallocate(fd, 0, 10_000)
        assert os.pread(fd, 20_000, 0) == b"abcdef" + bytes(9994)
        assert os.lseek(fd, 100, os.SEEK_DATA) == 100
        assert os.lseek(fd, 100, os.SEEK_HOLE) == 10_000
        with fails_with(errno.ENXIO):
            os.lseek(fd, 10_000, os.SEEK_DATA)
        with descriptor(folder / "copy", os.O_RDWR | os.O_CREAT) as copy:
            assert os.copy_file_range(fd, copy, 4, 1) == 4
            assert os.pread(copy, 10, 0) == b"bcde"
        assert os.copy_file_range(fd, fd, 3, 0, 6) == 3
        assert os.pread(fd, 10, 0) == b"abcdefabc\0"


def test_direct_and_cached_access_see_each_other(folder: Path) -> None:
    with (
        descriptor(folder / "file", os.O_RDWR | os.O_CREAT | os.O_DIRECT) as direct,
        descriptor(folder / "file", os.O_RDWR) as cached,
        mmap.mmap(-1, 8192) as block,
    ):
        block[:] = b"D" * 8192
        assert os.pwrite(direct, block, 0) == 8192
        assert os.pread(cached, 5, 4090) == b"DDDDD"
        os.pwrite(cached, b"cached", 4096)
        assert os.preadv(direct, [block], 0) == 8192
        assert block[4090:4103] == b"DDDDDDcachedD"
        os.pwrite(direct, b"E" * 8192, 0)
        assert os.pread(cached, 6, 4096) == b"EEEEEE"


def test_mappings_and_descriptors_see_each_other(folder: Path) -> None:
    with descriptor(folder / "file", os.O_RDWR | os.O_CREAT) as fd:
        os.ftruncate(fd, 3 * mmap.PAGESIZE)
        with mmap.mmap(fd, 0) as one, mmap.mmap(fd, 0) as two:
            one[10:15] = b"first"
            assert two[10:15] == b"first"
            assert os.pread(fd, 5, 10) == b"first"
            os.pwrite(fd, b"written", mmap.PAGESIZE)
            assert two[mmap.PAGESIZE : mmap.PAGESIZE + 7] == b"written"
            two[2 * mmap.PAGESIZE :] = b"x" * mmap.PAGESIZE
            (folder / "file").rename(folder / "renamed")
            one.flush()
    assert (folder / "renamed").read_bytes()[10:15] == b"first"
    assert (folder / "renamed").read_bytes().endswith(b"x" * mmap.PAGESIZE)


# Extended attributes


def test_attributes_outside_known_namespaces_are_refused(folder: Path) -> None:
    path = folder / "file"
    path.touch()
    for name in ("nobodys.note", "system.note", "usernote", "user"):
        with fails_with(errno.EOPNOTSUPP):
            os.setxattr(path, name, b"1")
    with fails_with(errno.EINVAL):
        os.setxattr(path, "user.", b"1")
    assert not [name for name in os.listxattr(path) if not name.startswith("user.stowken.")]


def test_no_more_attributes_than_can_be_listed(folder: Path) -> None:
    path = folder / "file"
    path.touch()
    kept: list[str] = []
    with fails_with(errno.ENOSPC):
        for at in range(1000):
            name = f"user.{at:0250}"
            os.setxattr(path, name, b"value")
            kept.append(name)
    assert 240 < len(kept) < (1 << 16) // 255
    assert set(kept) <= set(os.listxattr(path))
    os.setxattr(path, kept[0], b"another value")
    os.removexattr(path, kept[1])
    os.setxattr(path, kept[1], b"again")


# Listings


def test_positions_in_a_listing_hold_while_names_go(folder: Path) -> None:
    for at in range(300):
        (folder / f"{at}").touch()
    with contextlib.closing(OpenDirectory(folder)) as stream:
        seen: list[tuple[int, bytes]] = []  # where an entry begins, and its name
        position = stream.tell()
        while (name := stream.next()) is not None:
            seen.append((position, name))
            position = stream.tell()
        assert len({name for _, name in seen}) == 302
        gone = {name for _, name in seen[10:290:2] if name not in (b".", b"..")}
        for name in gone:
            (folder / os.fsdecode(name)).unlink()
        for at in (0, 5, 11, 150, 289, 301):
            stream.seek(seen[at][0])
            left = [name for _, name in seen[at:] if name not in gone]
            found = []
            while (name := stream.next()) is not None:
                found.append(name)
            assert found == left, at
