"""Much of everything: entries, links, open files, threads.

STOWKENFS_POSIX_ENTRIES entries of one directory; docs/RELIABILITY.md has the figures of 100,000.
"""

import contextlib
import os
import random
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.calls import OpenDirectory
from tests.mount.conftest import SOON
from tests.mount.disks import small_disk
from tests.mount.mounted import Mount, run, skip_without_fuse

ENTRIES = int(os.environ.get("STOWKENFS_POSIX_ENTRIES", "1000"))
SMALL = ENTRIES < 10_000
LINKS = 1000 if SMALL else 10_000
THREADS = 32
TURNS = 12 if SMALL else 200
PEAK_KIB = 512 << 10

Say = Callable[[str], None]


@contextlib.contextmanager
def timed(figures: dict[str, float], what: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    figures[what] = time.monotonic() - began


def name_of(at: int) -> str:
    return f"entry-{at:07d}"


def make_entries(directory: Path, count: int) -> None:
    fd = os.open(directory, os.O_RDONLY)
    for at in range(count):
        os.close(os.open(name_of(at), os.O_CREAT | os.O_EXCL | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


def names_in(directory: Path) -> list[str]:
    """In the order of the listing."""
    with os.scandir(directory) as entries:
        return [entry.name for entry in entries]


def test_a_large_directory(mount: Mount, say: Say) -> None:
    """Every entry is listed once, also of those that stay while others go."""
    directory, seconds = mount.path / "large", dict[str, float]()
    directory.mkdir()
    expected = [name_of(at) for at in range(ENTRIES)]
    with mount.watched():
        with timed(seconds, "create"):
            make_entries(directory, ENTRIES)
        with timed(seconds, "ls -f"):
            assert names_in(directory) == expected
        with timed(seconds, "ls -l"):
            assert run("ls", "-l", directory).count("\n") == ENTRIES + 1
        with timed(seconds, "look up"):
            for at in random.Random(1).sample(range(ENTRIES), ENTRIES):
                (directory / name_of(at)).lstat()
                assert not (directory / f"absent-{at}").exists()
        mount.crash()
        with timed(seconds, "ls -f anew"):
            assert names_in(directory) == expected
        (mount.control / "compact").write_text("1\n")
        mount.remount()
        with timed(seconds, "ls -f compacted"):
            assert names_in(directory) == expected
        with timed(seconds, "remove while listing"):
            check_removal_while_listing(directory)
        left = names_in(directory)
        with timed(seconds, "rm -r"):
            run("rm", "-r", directory, timeout=60 + ENTRIES / 100)
        assert not directory.exists()
    assert len(left) == len(set(left))
    say(
        f"{ENTRIES} entries: "
        + ", ".join(f"{what} {took:.1f} s" for what, took in seconds.items())
        + f"; peak {mount.peak_kib >> 10} MiB"
    )
    assert mount.peak_kib < PEAK_KIB


def check_removal_while_listing(directory: Path) -> None:
    """Each third entry is removed, some behind the reader and some before; others are made."""
    before = names_in(directory)
    gone, made, seen = set[str](), set[str](), list[str]()
    with contextlib.closing(OpenDirectory(directory)) as stream:
        position = stream.tell()
        while (entry := stream.next()) is not None:
            name = os.fsdecode(entry)
            if name in (".", ".."):
                continue
            seen.append(name)
            at = len(seen)
            if at % 3 == 0:
                for victim in (name, before[min(at + 700, len(before) - 1)]):
                    if victim not in gone:
                        (directory / victim).unlink()
                        gone.add(victim)
            if at % 50 == 0:
                made.add(f"new-{at}")
                (directory / f"new-{at}").touch()
            if at % 500 == 0:  # from where it was, as of a server without state
                position = stream.tell()
                stream.seek(position)
    assert len(seen) == len(set(seen))
    assert set(before) - gone <= set(seen) <= set(before) | made
    assert set(names_in(directory)) == (set(before) | made) - gone


def test_many_directories_in_one(mount: Mount) -> None:
    count = ENTRIES // 10
    for at in range(count):
        (mount.path / f"{at}").mkdir()
    assert mount.path.stat().st_nlink == 2 + count
    mount.crash()
    assert mount.path.stat().st_nlink == 2 + count
    assert run("find", mount.path, "-mindepth", "1", "-type", "d").count("\n") == count
    for at in range(0, count, 2):
        (mount.path / f"{at}").rmdir()
    assert mount.path.stat().st_nlink == 2 + count // 2


def test_many_names_of_one_file(shared: Mount, folder: Path) -> None:
    path = folder / "file"
    path.write_bytes(b"content")
    (folder / "names").mkdir()
    for at in range(LINKS - 1):
        os.link(path, folder / "names" / f"{at}")
    assert path.stat().st_nlink == LINKS
    shared.wait_sealed()
    (shared.control / "compact").write_text("1\n")
    shared.crash()
    assert path.stat().st_nlink == LINKS
    assert run("du", "-b", folder / "names").split()[0] != "0"
    path.unlink()
    for at in range(LINKS - 2):
        (folder / "names" / f"{at}").unlink()
    last = folder / "names" / f"{LINKS - 2}"
    assert last.stat().st_nlink == 1
    assert last.read_bytes() == b"content"


def test_a_thousand_files_open_while_they_are_sealed(mount: Mount) -> None:
    """And listed, renamed over and removed; each handle has its own content to the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    fds = []
    try:
        for at in range(1000):
            (mount.path / f"{at}").write_bytes(b"sealed %4d" % at)
        mount.wait_sealed(60)
        fds = [os.open(mount.path / f"{at}", os.O_RDWR) for at in range(1000)]
        for at in range(0, 1000, 2):
            os.pwrite(fds[at], b"drafted", 0)
        for at in range(0, 1000, 5):
            (mount.path / f"{at}").unlink()
        (mount.control / "compact").write_text("1\n")
        for at, fd in enumerate(fds):
            expected = (b"sealed %4d" if at % 2 else b"drafted%4d") % at
            assert os.pread(fd, 100, 0) == expected
    finally:
        for fd in fds:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    mount.wait_sealed(60)
    deadline = time.monotonic() + 30  # the kernel says some time later that they are closed
    while mount.status()["files_in_use"] != "0":
        assert time.monotonic() < deadline, mount.status()
        time.sleep(0.1)


def _hammer(folder: Path, who: int, problems: list[BaseException]) -> None:
    chance = random.Random(who)
    own, common = folder / f"own-{who}", folder / f"common-{who % 4}"
    written = b""
    try:
        for turn in range(TURNS):
            line = b"%02d %06d %s\n" % (who, turn, b"x" * chance.randrange(200))
            written += line
            for path in (own, common):
                with path.open("ab", buffering=0) as file:
                    file.write(line)
                    if not turn % 16:
                        os.fsync(file.fileno())
            assert own.read_bytes() == written
            os.listdir(folder)  # noqa: PTH208
            if turn % 5 == 4:
                other = folder / f"moved-{who}"
                own.rename(other)
                os.link(other, own)
                other.unlink()
                os.utime(own, ns=(turn, turn))
    except BaseException as error:  # noqa: BLE001 - raised by the test
        problems.append(error)


@pytest.mark.parametrize("processes", [False, True])
def test_many_threads_at_the_same_and_at_other_files(mount: Mount, say: Say, processes) -> None:
    problems: list[BaseException] = []
    began = time.monotonic()
    with mount.watched():
        if processes:
            children = [_forked(mount.path, who) for who in range(THREADS)]
            assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == (
                [0] * THREADS
            )
        else:
            threads = [
                threading.Thread(target=_hammer, args=(mount.path, who, problems))
                for who in range(THREADS)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert not problems, problems
    took = time.monotonic() - began
    check_hammered(mount.path)
    mount.remount()
    check_hammered(mount.path)
    say(f"{THREADS} x {TURNS} turns: {took:.1f} s, peak {mount.peak_kib >> 10} MiB")
    assert mount.peak_kib < PEAK_KIB


def _forked(folder: Path, who: int) -> int:
    pid = os.fork()
    if pid == 0:
        problems: list[BaseException] = []
        try:
            _hammer(folder, who, problems)
        finally:
            os._exit(1 if problems else 0)
    return pid


def check_hammered(folder: Path) -> None:
    """Every line of every thread once and in order, in its own file and in the common one."""
    for who in range(THREADS):
        own = (folder / f"own-{who}").read_bytes().splitlines()
        common = (folder / f"common-{who % 4}").read_bytes().splitlines()
        assert [int(line.split()[1]) for line in own] == list(range(TURNS))
        assert [line for line in common if int(line.split()[0]) == who] == own
    assert len(names_in(folder)) == THREADS + 4


def test_room_is_that_of_the_disk_below(tmp_path: Path) -> None:
    """What ``df`` shows, also of inodes; what is written takes it, what is collected gives it."""
    skip_without_fuse()
    size = 8 << 20
    with small_disk(tmp_path, 64, "ext4") as disk:
        mount = Mount(tmp_path / "at", SOON)
        mount.vault = disk.path / "vault"
        try:
            mount.start()
            begun, below = os.statvfs(mount.path), os.statvfs(disk.path)
            for field in ("f_blocks", "f_frsize", "f_bsize", "f_files"):
                assert getattr(begun, field) == getattr(below, field)
            assert begun.f_namemax == 255
            assert 48 << 20 < begun.f_blocks * begun.f_frsize <= 64 << 20
            assert run("df", "-k", "--output=size", mount.path).split()[1] == str(
                begun.f_blocks * begun.f_frsize >> 10
            )
            (mount.path / "noise").write_bytes(random.Random(1).randbytes(size))
            mount.wait_sealed()
            full = os.statvfs(mount.path)
            assert (begun.f_bavail - full.f_bavail) * full.f_frsize > size * 0.95
            assert abs(full.f_ffree - os.statvfs(disk.path).f_ffree) <= 2
            run("df", "-i", mount.path)
            (mount.path / "noise").unlink()
            (mount.control / "gc").write_text("1\n")
            (mount.control / "gc").write_text("1\n")
            empty = os.statvfs(mount.path)
            assert (empty.f_bavail - full.f_bavail) * full.f_frsize > size * 0.8
            mount.check_log()
        finally:
            mount.close()
