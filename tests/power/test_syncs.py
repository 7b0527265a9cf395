"""fsync in a mount causes syncs below it, before it returns; strace sees them."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mount.mounted import Mount, skip_without_fuse

pytestmark = pytest.mark.mount

ATTACH_SECONDS = 20.0
TRACED = "fsync,fdatasync,write,writev,splice"
CALL = re.compile(r"^(\d+) +([\d.]+) (\w+)\(\d+<([^>]*)>")
RESUMED = re.compile(r"^(\d+) +[\d.]+ <\.\.\. (\w+) resumed>")


@dataclass(frozen=True, slots=True)
class Call:
    """``ended``: how many lines strace had written when the call was over."""

    name: str
    path: str
    started: float
    ended: int


def read_calls(trace: Path) -> list[Call]:
    calls: list[Call] = []
    waiting: dict[str, Call] = {}  # {thread: its call}
    for at, line in enumerate(trace.read_text().splitlines()):
        if begun := CALL.match(line):
            thread, started, name, path = begun.groups()
            call = Call(name, path, float(started), at)
            if line.endswith("<unfinished ...>"):
                waiting[thread] = call
            else:
                calls.append(call)
        elif resumed := RESUMED.match(line):
            call = waiting.pop(resumed[1])
            calls.append(Call(call.name, call.path, call.started, at))
    return calls


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    skip_without_fuse()
    if shutil.which("strace") is None:
        pytest.skip("syncs are seen with strace (package strace)")
    mount = Mount(tmp_path / "one", "seal_after=60")
    try:
        yield mount.start()
    finally:
        mount.close()
    mount.check_log()


@contextmanager
def traced(mount: Mount, trace: Path) -> Iterator[None]:
    """Log what the daemon and its threads do meanwhile."""
    command = ["strace", "-f", "-y", "-ttt", "-e", f"trace={TRACED}", "-o", str(trace)]
    said = trace.with_suffix(".said")
    with said.open("wb") as file:
        tracer = subprocess.Popen([*command, "-p", str(mount.pid)], stderr=file)
    try:
        deadline = time.monotonic() + ATTACH_SECONDS
        while " attached" not in said.read_text():
            if tracer.poll() is not None:
                pytest.skip(f"strace may not look at other processes: {said.read_text()}")
            assert time.monotonic() < deadline, said.read_text()
            time.sleep(0.02)
        yield
    finally:
        tracer.terminate()
        tracer.wait()


@dataclass(slots=True)
class Window:
    """When a call of a program began and returned, as the clock tells."""

    began: float = 0.0
    ended: float = 0.0


@contextmanager
def window() -> Iterator[Window]:
    seen = Window(time.time())
    yield seen
    seen.ended = time.time()


def synced_before_reply(calls: list[Call], seen: Window) -> list[str]:
    """Names of what was synced in a window, in this order, before the last reply in it."""
    inside = [call for call in calls if seen.began <= call.started <= seen.ended]
    replies = [call.ended for call in inside if call.path.startswith("/dev/fuse")]
    assert replies, "the daemon did not reply"
    syncs = [call for call in inside if call.name in ("fsync", "fdatasync")]
    assert all(call.ended < replies[-1] for call in syncs)
    return [Path(call.path).name for call in syncs]


def test_fsync_syncs_the_draft_its_name_and_the_index(mount: Mount, tmp_path: Path) -> None:
    path = mount.path / "log.jsonl"
    with traced(mount, tmp_path / "trace"):
        fd = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.write(fd, b"in a spool\n")
        with window() as spooled:
            os.fsync(fd)
        os.write(fd, b"in a file of its own\n")
        with window() as drafted:
            os.fsync(fd)
        os.write(fd, b"and again\n")
        with window() as only_data:
            os.fdatasync(fd)
        ino = os.fstat(fd).st_ino
        os.close(fd)
    calls = read_calls(tmp_path / "trace")
    assert sorted(synced_before_reply(calls, spooled)) == ["drafts", "index.db-wal", "spool-1"]
    own = f"{ino:x}.1"
    assert sorted(synced_before_reply(calls, drafted)) == [own, "drafts", "index.db-wal"]
    assert sorted(synced_before_reply(calls, only_data)) == [own, "index.db-wal"]


def test_fsync_of_a_directory_syncs_the_index(mount: Mount, tmp_path: Path) -> None:
    (mount.path / "folder").mkdir()
    with traced(mount, tmp_path / "trace"):
        fd = os.open(mount.path / "folder", os.O_RDONLY | os.O_DIRECTORY)
        (mount.path / "folder" / "file").touch()
        with window() as seen:
            os.fsync(fd)
        os.close(fd)
    assert synced_before_reply(read_calls(tmp_path / "trace"), seen) == ["index.db-wal"]
