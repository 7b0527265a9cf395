"""Unmounting while files are written and jobs run: what was acknowledged is there afterwards."""

import errno
import json
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.mount.background import stowkenfs
from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount, is_fuse_mount, listed
from tests.mount.test_jobs_killed import Request, drift

WRITERS = int(os.environ.get("STOWKENFS_WRITERS", "4"))
WRITING_SECONDS = float(os.environ.get("STOWKENFS_WRITING_SECONDS", "0.5"))
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Writer:
    """A process that writes without any sync, and notes what the filesystem took."""

    def __init__(self, folder: Path, notes: Path, seed: int) -> None:
        self._folder, self._notes = folder, notes
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=self._write, args=(random.Random(seed),))
        self._process.start()

    def _write(self, chance: random.Random) -> None:
        noted = os.open(self._notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            self._folder.mkdir()
            log = os.open(self._folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for at in range(10**6):
                text = chance.randbytes(chance.randint(5, 2000)).hex()
                line = json.dumps({"n": at, "text": text}).encode() + b"\n"
                file = os.open(self._folder / f"{at}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
                if os.write(file, line) != len(line):
                    break
                os.write(noted, json.dumps([f"{at}", line.decode()]).encode() + b"\n")
                os.close(file)
                if os.write(log, line) != len(line):
                    break
                os.write(noted, json.dumps(["log", line.decode()]).encode() + b"\n")
        except OSError:
            pass
        finally:
            os._exit(0)

    def end(self) -> None:
        self._process.kill()
        self._process.join()

    def check(self) -> int:
        """How many writes were acknowledged; fails unless all of them are there."""
        log, promises = b"", [json.loads(line) for line in self._notes.read_bytes().splitlines()]
        for name, line in promises:
            if name == "log":
                log += line.encode()
            else:
                assert (self._folder / name).read_bytes() == line.encode(), name
        if log:
            assert (self._folder / "log").read_bytes().startswith(log)
        return len(promises)


def begin_writing(mount: Mount) -> list[Writer]:
    folder = mount.path.parent
    writers = [Writer(mount.path / f"{at}", folder / f"notes {at}", at) for at in range(WRITERS)]
    time.sleep(WRITING_SECONDS)
    return writers


def check_all(writers: list[Writer], mount: Mount, say) -> None:
    promises = sum(writer.check() for writer in writers)
    assert promises, "nothing was written"
    (mount.control / "verify").write_text("1\n")
    say(f"{promises} acknowledged writes, 0 broken; {mount.measure() // 1024} MiB")


@contextmanager
def hang_up(how: signal.Handlers) -> Iterator[None]:
    """What is started inside takes SIGHUP so; else it depends on how the tests were started."""
    before = signal.signal(signal.SIGHUP, how)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
def test_a_signal_amid_writes_ends_the_mount_and_keeps_all(
    make_mount: MakeMount, number: signal.Signals, say
) -> None:
    with hang_up(signal.SIG_DFL):
        mount = make_mount(SOON)
    writers = begin_writing(mount)
    mount.signal(number)
    code = mount.wait_gone()
    for writer in writers:
        writer.end()
    assert code == 0, mount.log()
    assert listed(mount.vault / "drafts") == []
    mount.start()
    check_all(writers, mount, say)


def test_a_hang_up_that_is_ignored_stays_so(make_mount: MakeMount) -> None:
    """As nohup has it."""
    with hang_up(signal.SIG_IGN):
        mount = make_mount(SOON)
    mount.signal(signal.SIGHUP)
    (mount.path / "one").write_bytes(b"one\n")
    time.sleep(0.2)
    assert mount.alive
    assert (mount.path / "one").read_bytes() == b"one\n"


@pytest.mark.parametrize("how", ["fusermount3", "umount"])
def test_unmounting_amid_writes_is_refused_and_disturbs_nobody(
    make_mount: MakeMount, how: str, say
) -> None:
    mount = make_mount(SOON)
    writers = begin_writing(mount)
    if how == "umount":
        refused = stowkenfs("umount", mount.path)
        assert refused.returncode == 3
    else:
        refused = subprocess.run(
            ["fusermount3", "-u", mount.path], capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
    assert "busy" in refused.stderr
    assert mount.alive
    for writer in writers:
        writer.end()
    mount.remount()
    check_all(writers, mount, say)


def test_a_lazily_unmounted_vault_is_free_when_its_last_file_is_closed(
    make_mount: MakeMount,
) -> None:
    mount = make_mount(SOON)
    old, pid = mount._process, mount.pid
    assert old is not None
    log = os.open(mount.path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(log, b"before\n")
    mount._fusermount("-uz")
    assert not is_fuse_mount(mount.path)
    refused = stowkenfs("mount", mount.vault, mount.path)
    assert refused.returncode == 3
    assert f"in use by process {pid}" in refused.stderr
    os.write(log, b"after\n")
    os.close(log)
    assert old.wait(20) == 0
    mount.start()
    assert (mount.path / "log").read_bytes() == b"before\nafter\n"


@pytest.mark.parametrize(
    ("name", "words"),
    [("compact", "1"), ("gc", "1"), ("reindex", "1"), ("train/dictionary", "samples=500")],
)
def test_a_job_that_runs_is_stopped_by_a_signal(
    make_mount: MakeMount, name: str, words: str
) -> None:
    mount = make_mount("seal_after=0,workers=1")
    files = {mount.path / f"{n}.json": drift(n, 12) for n in range(150)}
    for path, content in files.items():
        path.write_bytes(content)
    mount.wait_sealed(60)
    request = Request(mount, name, words)
    time.sleep(0.4)
    began = time.monotonic()
    mount.signal(signal.SIGTERM)
    assert mount.wait_gone(20) == 0, mount.log()
    assert time.monotonic() - began < 15
    request.join(10)
    assert not request.is_alive()
    mount.start()
    for path, content in files.items():
        assert path.read_bytes() == content


def test_umount_tells_when_the_daemon_could_not_finish(make_mount: MakeMount) -> None:
    """It must not say that all is on disk when the daemon was killed at its end."""
    mount = make_mount("seal_after=60,workers=0")
    mount.path.joinpath("large").write_bytes(drift(1, 40) * 400)
    answer: list[subprocess.CompletedProcess[str]] = []
    waiting = threading.Thread(target=lambda: answer.append(stowkenfs("umount", mount.path)))
    waiting.start()
    while is_fuse_mount(mount.path):
        time.sleep(0.002)
    with suppress(ProcessLookupError):
        mount.kill()
    waiting.join(30)
    assert answer[0].returncode == 1, answer[0].stderr
    assert "failed before everything was on disk" in answer[0].stderr
    mount.start()
    assert mount.path.joinpath("large").read_bytes() == drift(1, 40) * 400


def test_a_descriptor_of_an_unmounted_vault_says_so(mount: Mount) -> None:
    log = os.open(mount.path / "log", os.O_WRONLY | os.O_CREAT)
    os.write(log, b"kept\n")
    mount.signal(signal.SIGTERM)
    assert mount.wait_gone() == 0
    with pytest.raises(OSError, match=r"not connected|abort") as refused:
        os.write(log, b"to nobody\n")
    assert refused.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    with suppress(OSError):
        os.close(log)
    mount.start()
    assert (mount.path / "log").read_bytes() == b"kept\n"
