"""Running ``stowkenfs`` in a process of its own."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    known = {name: value for name, value in os.environ.items() if name != "STOWKENFS_DEBUG"}
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return known | {"PYTHONPATH": path} | more


def stowkenfs(*arguments: str | Path, **more: str) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "stowkenfs", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(**more),
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


def started(*arguments: str | Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stowkenfs", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def pid_of_mount(mountpoint: Path) -> int:
    status = (mountpoint / ".stowken" / "status").read_text()
    return int(status.partition("pid: ")[2].partition("\n")[0])


def kill(pid: int) -> None:
    """As a crash does; the process may be nobody's child here, so its end is polled for."""
    os.kill(pid, signal.SIGKILL)
    while is_running(pid):
        pass


def is_running(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
