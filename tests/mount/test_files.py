"""Files and directories behave as ordinary tools expect of them."""

import contextlib
import errno
import mmap
import multiprocessing
import os
import random
import resource
import subprocess
import time
from pathlib import Path

import pytest

from tests.calls import descriptor
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, listed, run

HUGE_BYTES = 999_999_999_999_999


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
# Attributes
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
