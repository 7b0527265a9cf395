"""Runs a child and looks, meanwhile, at its memory and at what it puts on the disk."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parents[2]
CHILD = "lib.density.child"
LOOK_SECONDS = 0.05
DISK_BLOCK_BYTES = 512


@dataclass(slots=True)
class Watched:
    """The peaks of a child. Sizes in bytes.

    Attributes:
        own_bytes: peak memory of the process.
        worker_bytes: peak memory of the largest of its workers.
        together_bytes: the most that the process and its workers had at once; what they
            share counts once for each.
        scratch_bytes: the most that lay in the vault and in the folder of temporary files
            beyond what was there at first and the packs that were new by then.
        late_seconds: by how much each sleep of this process was too long: what the machine
            alone makes of the child's own delays.

    """

    own_bytes: int = 0
    worker_bytes: int = 0
    together_bytes: int = 0
    scratch_bytes: int = 0
    late_seconds: list[float] = field(default_factory=list)
    _packs_before: frozenset[str] = field(default=frozenset())
    _disk_before: int = 0

    def begin(self, vault: Path, temporary: Path) -> None:
        self._packs_before = frozenset(_packs(vault))
        self._disk_before = _disk_bytes(vault) + _disk_bytes(temporary)

    def look(self, process: int, vault: Path, temporary: Path) -> None:
        own_peak, own_now = _memory(process)
        self.own_bytes = max(self.own_bytes, own_peak)
        together = own_now
        for worker in _descendants(process):
            peak, now = _memory(worker)
            self.worker_bytes = max(self.worker_bytes, peak)
            together += now
        self.together_bytes = max(self.together_bytes, together)
        before = _packs(vault)
        new = sum(size for name, size in before.items() if name not in self._packs_before)
        disk = _disk_bytes(vault) + _disk_bytes(temporary)
        self.scratch_bytes = max(self.scratch_bytes, disk - self._disk_before - new)

    def pause(self) -> None:
        begin = time.perf_counter()
        time.sleep(LOOK_SECONDS)
        self.late_seconds.append(time.perf_counter() - begin - LOOK_SECONDS)

    def to_dict(self) -> dict[str, float]:
        late = sorted(self.late_seconds) or [0.0]
        return {
            "own_peak_bytes": self.own_bytes,
            "worker_peak_bytes": self.worker_bytes,
            "together_peak_bytes": self.together_bytes,
            "scratch_peak_bytes": self.scratch_bytes,
            "machine_late_p99_ms": late[int(len(late) * 0.99)] * 1e3,
            "machine_late_max_ms": late[-1] * 1e3,
        }


def child(command: str, vault: Path, *, module: str = CHILD, **words: Any) -> dict[str, Any]:
    """What the command told, with the peaks of its process; see child.py. Exits if it failed.

    ``module`` is the one whose commands are meant.
    """
    temporary = vault.parent / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    watched = Watched()
    watched.begin(vault, temporary)
    spec = json.dumps(words | {"vault": str(vault)}, default=str)
    with subprocess.Popen(
        [sys.executable, "-m", module, command, spec],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary), "PYTHONPATH": _python_path()},
    ) as process:
        while process.poll() is None:
            watched.look(process.pid, vault, temporary)
            watched.pause()
        assert process.stdout is not None
        told = process.stdout.read()  # one line, which fits into the pipe
    if process.returncode:
        sys.exit(f"bench: {command} failed with exit code {process.returncode}")
    result: dict[str, Any] = json.loads(told)
    return result | watched.to_dict()


def _python_path() -> str:
    """With what ``lib`` is below, for the child and for its workers."""
    return os.pathsep.join(filter(None, (str(TOOLS), os.environ.get("PYTHONPATH"))))


def _memory(process: int) -> tuple[int, int]:
    """Peak and present resident memory of a process in bytes; 0 of one that has ended.

    Not that of rusage, which begins with the memory of whoever started the process.
    """
    peak = now = 0
    try:
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(("VmHWM:", "VmRSS:")):
                size = int(line.split()[1]) * 1024
                peak, now = (size, now) if line.startswith("VmHWM") else (peak, size)
    except (FileNotFoundError, ProcessLookupError):
        pass
    return peak, now


def _descendants(process: int) -> Iterator[int]:
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for one in children:
            yield int(one)
            yield from _descendants(int(one))


def _packs(vault: Path) -> dict[str, int]:
    """Bytes in disk blocks of each pack."""
    packs = {}
    try:
        with os.scandir(vault / "packs") as entries:
            for entry in entries:
                try:
                    packs[entry.name] = entry.stat().st_blocks * DISK_BLOCK_BYTES
                except FileNotFoundError:  # it has just been dropped
                    continue
    except FileNotFoundError:
        pass
    return packs


def _disk_bytes(directory: Path) -> int:
    total = 0
    for parent, _, names in os.walk(directory):
        for name in ("", *names):
            try:
                total += os.lstat(os.path.join(parent, name)).st_blocks * DISK_BLOCK_BYTES  # noqa: PTH118
            except FileNotFoundError:
                continue
    return total
