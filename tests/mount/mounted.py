"""A vault mounted by a process of its own, as a user would, with a leash on its memory."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stowkenfs.store.local import sync_directory

ROOT = Path(__file__).resolve().parents[2]
ADDRESS_SPACE_BYTES = 4 << 30
START_SECONDS = 30.0
STOP_SECONDS = 120.0
POLL_SECONDS = 0.02
ALARM = re.compile(r"\b(ERROR|CRITICAL)\b|Traceback \(most recent call last\)|Warning:")

_WITHOUT_CLI = """
import logging, pathlib, sys, types, trio
try:
    import stowkenfs.control.format
except ImportError:
    stub = types.ModuleType("stowkenfs.control.format")
    stub.format_stats = stub.format_verify = lambda report: f"{report}\\n"
    sys.modules[stub.__name__] = stub
from stowkenfs.fs.options import MountOptions
from stowkenfs.fs.service import serve
if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    _, vault, mountpoint, options = sys.argv
    options = MountOptions.parse(options)
    trio.run(serve, pathlib.Path(vault), pathlib.Path(mountpoint), options, lambda: None)
"""


def skip_without_fuse() -> None:
    """Skip the test where nothing can be mounted."""
    if not Path("/dev/fuse").exists():
        pytest.skip("mounting needs /dev/fuse")
    for helper in ("fusermount3", "prlimit"):
        if shutil.which(helper) is None:
            pytest.skip(f"mounting under test needs {helper} (packages fuse3, util-linux)")


def has_cli() -> bool:
    """Whether the console command is there yet."""
    return importlib.util.find_spec("stowkenfs.cli.main") is not None


def cli_command(*words: str | Path) -> list[str]:
    """The console command with ``words``, in this interpreter."""
    script = "from stowkenfs.cli.main import main; main()"
    return [sys.executable, "-c", script, *map(str, words)]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def is_fuse_mount(path: Path) -> bool:
    """Whether something is mounted at ``path``, dead or alive; asks it nothing."""
    wanted = os.fsencode(path)
    lines = Path("/proc/self/mounts").read_bytes().splitlines()
    return any(
        re.sub(rb"\\([0-7]{3})", lambda octal: bytes([int(octal[1], 8)]), line.split()[1]) == wanted
        for line in lines
    )


def listed(path: Path | bytes) -> list[Any]:
    """Names in a directory, sorted: str for a path, bytes for bytes."""
    return sorted(os.listdir(path))  # noqa: PTH208 - names are wanted, not paths


def detach(path: Path) -> None:
    """Take away whatever is mounted at ``path``, lazily."""
    for _ in range(5):
        if not is_fuse_mount(path):
            return
        subprocess.run(["fusermount3", "-uz", path], capture_output=True, check=False)


def _status_field(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    return 0


def children(pid: int) -> list[int]:
    """Processes whose parent is ``pid``."""
    found = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


class Mount:
    """One vault and one mountpoint; ``start`` and ``unmount`` as often as one likes.

    ``expected``: patterns of alarming log lines that the test provokes on purpose.
    ``peak_kib``: highest resident set so far of daemon and workers together.
    """

    def __init__(self, directory: Path, options: str = "") -> None:
        self.vault = directory / "vault"
        self.path = directory / "mnt"
        self.path.mkdir(parents=True, exist_ok=True)
        self.options = options
        self.expected: list[str] = []
        self.peak_kib = 0
        self._log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None

    # Life

    def command(self) -> list[str]:
        if not has_cli():
            script = self.path.parent / "serve.py"
            script.write_text(_WITHOUT_CLI)
            return [sys.executable, str(script), str(self.vault), str(self.path), self.options]
        words = ["-o", self.options] if self.options else []
        return cli_command("mount", self.vault, self.path, "-f", *words)

    @property
    def pid(self) -> int:
        assert self._process is not None, "not mounted"
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> "Mount":
        """Mount, and return once the mount answers."""
        assert self._process is None or self._process.poll() is not None, "mounted already"
        limits = ["prlimit", f"--as={ADDRESS_SPACE_BYTES}", "--"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*limits, *self.command()],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment(),
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self.alive, f"the daemon did not start:\n{self.log()}"
            assert time.monotonic() < deadline, f"not mounted in time:\n{self.log()}"
            time.sleep(POLL_SECONDS)
        return self

    def _answers(self) -> bool:
        """Whether a living mount is there; a dead one may be, from before."""
        try:
            os.statvfs(self.path)  # asks the daemon; ``stat`` may be answered by the kernel
            return self.path.stat().st_dev != self.path.parent.stat().st_dev
        except OSError:
            return False

    def wait_gone(self, seconds: float = STOP_SECONDS) -> int:
        """Return the daemon's exit code once it ended by itself."""
        assert self._process is not None
        code = self._process.wait(seconds)
        assert not is_fuse_mount(self.path)
        return code

    def unmount(self) -> None:
        """Unmount as a user would, and return when everything is on disk."""
        self.measure()
        self._fusermount("-u")
        assert self.wait_gone() == 0, self.log()

    def _fusermount(self, how: str) -> None:
        deadline = time.monotonic() + 10
        while True:
            done = subprocess.run(
                ["fusermount3", how, self.path], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < deadline, done.stderr
            time.sleep(0.1)  # a process that was killed may still hold a file

    def kill(self) -> None:
        """SIGKILL, as the out-of-memory killer would. The dead mount stays."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def recover(self) -> "Mount":
        """What a user does after a crash: detach the dead mount and mount again."""
        detach(self.path)
        return self.start()

    def crash(self) -> "Mount":
        """Kill and mount again."""
        self.kill()
        return self.recover()

    def remount(self) -> "Mount":
        self.unmount()
        return self.start()

    def close(self) -> None:
        """Leave nothing behind, whatever happened."""
        detach(self.path)
        if self.alive:
            assert self._process is not None
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        detach(self.path)

    # Looking

    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def check_log(self) -> None:
        """Fail on what should not be in the log."""
        alarming = [
            line
            for line in self.log().splitlines()
            if ALARM.search(line) and not any(re.search(e, line) for e in self.expected)
        ]
        assert not alarming, f"the daemon complained:\n{self.log()[-6000:]}"

    @property
    def control(self) -> Path:
        return self.path / ".stowken"

    def status(self) -> dict[str, str]:
        lines = (self.control / "status").read_text().splitlines()
        return dict(line.split(": ", 1) for line in lines)

    def wait_sealed(self, seconds: float = 20.0) -> None:
        """Return when there is no draft any more."""
        deadline = time.monotonic() + seconds
        while drafts := self._drafts():
            assert time.monotonic() < deadline, f"not sealed in time: {drafts} {self.status()}"
            time.sleep(0.05)

    def _drafts(self) -> list[tuple[int, int]]:
        """Inode and generation of each draft, from behind the daemon's back."""
        sync_directory(self.path)  # else the index may not have all changes yet
        index = sqlite3.connect(f"{(self.vault / 'index.db').as_uri()}?mode=ro", uri=True)
        try:
            return index.execute("SELECT ino, generation FROM draft").fetchall()
        finally:
            index.close()

    def written_bytes(self) -> int:
        """Bytes that the daemon and its workers have handed to write(2) and pwrite(2)."""
        fields = Path(f"/proc/{self.pid}/io").read_text().splitlines()
        return int(dict(line.split(": ") for line in fields)["wchar"])

    def measure(self) -> int:
        """Update ``peak_kib``."""
        pids = [self.pid, *children(self.pid)]
        now = sum(_status_field(pid, "VmRSS") for pid in pids)
        self.peak_kib = max(self.peak_kib, now, _status_field(self.pid, "VmHWM"))
        return self.peak_kib

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Measure memory many times a second."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.1):
                if self.alive:
                    self.measure()

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def run(*command: str | Path, cwd: Path | None = None, **options: object) -> str:
    """Standard output of a command that has to succeed."""
    done = subprocess.run(  # noqa: PLW1510 - checked with its output
        [str(word) for word in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        **{"timeout": 120, **options},  # type: ignore[call-overload]
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)
