"""Locks, which are the kernel's own: it asks the daemon for none, so they end with the mount.

flock(2), POSIX record locks and those of open file descriptions, between processes.
"""

import errno
import fcntl
import multiprocessing
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.calls import descriptor, fails_with
from tests.mount.mounted import Mount

F_OFD_SETLK = 37
FLOCK = "hhqqi4x"
"""struct flock: type, whence, start, length, process."""

Take = Callable[[int], Any]


def whole(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def record(fd: int) -> None:
    fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)


def description(fd: int) -> None:
    fcntl.fcntl(fd, F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 5, 10, 0))


def _hold(path: Path, take: Take, connection: Any) -> None:
    fd = os.open(path, os.O_RDWR)
    take(fd)
    connection.send("held")
    connection.recv()
    os.close(fd)
    connection.send("closed")
    connection.recv()


class Holder:
    """Another process that holds a lock until it is told otherwise, or dies."""

    def __init__(self, path: Path, take: Take) -> None:
        context = multiprocessing.get_context("fork")
        self._ours, theirs = context.Pipe()
        self.process = context.Process(target=_hold, args=(path, take, theirs))
        self.process.start()
        assert self._ours.poll(30)
        assert self._ours.recv() == "held"

    def release(self) -> None:
        self._ours.send("")
        assert self._ours.recv() == "closed"

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


@contextmanager
def held(path: Path, take: Take) -> Iterator[Holder]:
    holder = Holder(path, take)
    try:
        yield holder
    finally:
        holder.kill()


@pytest.fixture
def path(shared: Mount, folder: Path) -> Path:
    (folder / "locked").write_bytes(bytes(100))
    shared.wait_sealed()
    return folder / "locked"


@pytest.mark.parametrize("take", [whole, record, description])
@pytest.mark.parametrize("end", ["release", "kill"])
def test_a_lock_holds_until_its_holder_closes_or_dies(path: Path, take: Take, end) -> None:
    with held(path, take) as holder, descriptor(path, os.O_RDWR) as fd:
        with fails_with(errno.EAGAIN):
            take(fd)
        getattr(holder, end)()
        take(fd)


@pytest.mark.parametrize("take", [whole, record])
def test_who_waits_gets_the_lock_when_it_is_free(path: Path, take: Take) -> None:
    waited: list[float] = []

    def wait(fd: int) -> None:
        if take is whole:
            fcntl.flock(fd, fcntl.LOCK_EX)
        else:
            fcntl.lockf(fd, fcntl.LOCK_EX)
        waited.append(time.monotonic())

    with held(path, take) as holder, descriptor(path, os.O_RDWR) as fd:
        thread = threading.Thread(target=wait, args=(fd,))
        thread.start()
        time.sleep(0.2)
        assert not waited
        freed = time.monotonic()
        holder.kill()
        thread.join(10)
        assert waited
        assert 0 <= waited[0] - freed < 5


def test_record_locks_are_of_bytes(path: Path) -> None:
    with held(path, record) as holder, descriptor(path, os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 5, 0)  # before
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 0, 15)  # behind, to the end
        for at in (5, 14):
            with fails_with(errno.EAGAIN):
                fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, at)
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        sort, _, start, length, pid = struct.unpack(FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        assert (sort, start, length, pid) == (fcntl.F_WRLCK, 5, 10, holder.process.pid)


def test_many_may_read_or_one_write(path: Path) -> None:
    def share(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)

    with held(path, share), descriptor(path, os.O_RDWR) as fd:
        share(fd)
        with fails_with(errno.EAGAIN):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)


def test_the_two_sorts_do_not_know_each_other(path: Path) -> None:
    with held(path, whole), descriptor(path, os.O_RDWR) as fd:
        record(fd)


def test_a_lock_outlives_the_name(shared: Mount, path: Path) -> None:
    """It is of the file: renaming, replacing and sealing change nothing for who has it."""
    with held(path, whole), descriptor(path, os.O_RDWR) as fd:
        path.rename(path.with_name("moved"))
        path.write_bytes(b"another")
        shared.wait_sealed()
        with descriptor(path, os.O_RDWR) as other:
            whole(other)
        with fails_with(errno.EAGAIN):
            whole(fd)
        path.with_name("moved").unlink()
        with fails_with(errno.EAGAIN):
            whole(fd)


def _first_then_second(fd: int) -> None:
    """Take byte 0, and wait for byte 1 in a thread."""
    fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)
    go_on = threading.Timer(0.3, fcntl.lockf, (fd, fcntl.LOCK_EX, 1, 1))
    go_on.daemon = True
    go_on.start()


def test_a_deadlock_is_seen(path: Path) -> None:
    """Each holds what the other waits for: one of them is told."""
    with descriptor(path, os.O_RDWR) as fd:
        fcntl.lockf(fd, fcntl.LOCK_EX, 1, 1)
        with held(path, _first_then_second):
            time.sleep(0.6)
            with fails_with(errno.EDEADLK):
                fcntl.lockf(fd, fcntl.LOCK_EX, 1, 0)


def _count(path: Path, use_flock: bool) -> None:
    for _ in range(100):
        with path.open("r+b", buffering=0) as file:
            lock = fcntl.flock if use_flock else fcntl.lockf
            lock(file, fcntl.LOCK_EX)
            number = int(file.read())
            file.seek(0)
            file.write(b"%d" % (number + 1))
            lock(file, fcntl.LOCK_UN)


@pytest.mark.parametrize("use_flock", [True, False])
def test_processes_that_lock_do_not_lose_each_others_changes(path: Path, use_flock) -> None:
    path.write_bytes(b"0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_count, args=(path, use_flock)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert path.read_bytes() == b"400"
