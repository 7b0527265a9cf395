"""Copies files into a mount and reads them out again, and prints what that took."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lib.density.corpora import unpacked
from lib.density.sizes import archive_bytes, disk_bytes
from lib.density.tables import table
from lib.machine import about_machine, drop_caches
from lib.mounts import mounted, settle

WINDOW_LOG = 27
READ_BYTES = 1 << 20
MIDDLE_BYTES = 4096
MEGA = 1e6
RARE = "a text that none of them has"

Seconds = dict[str, float]

ROWS = (
    "cp in",
    "cp in, until it is sealed",
    "cp in, umount",
    "read cold",
    "read again",
    "grep -r cold",
    "grep -r again",
    "largest file cold",
    "largest file again",
    "4 KiB of its middle cold",
)


def run_mount(names: Sequence[str], rounds: int, *, together: bool, as_json: bool) -> None:
    """Measure each directory in a vault of its own, or all of them in one. Medians."""
    with tempfile.TemporaryDirectory(prefix="stowkenfs-bench-") as scratch:
        sources = [unpacked(name, Path(scratch)) for name in names]
        groups = [sources] if together else [[source] for source in sources]
        for group in groups:
            told = measure(group, Path(scratch) / "work", rounds)
            print(json.dumps(told) if as_json else described(told), flush=True)


def measure(sources: Sequence[Path], work: Path, rounds: int) -> dict[str, Any]:
    """All figures of some directories: bytes, and seconds by row, here and on the plain disk."""
    paths = [
        path
        for source in sources
        for path in source.rglob("*")
        if path.is_file() and not path.is_symlink()
    ]
    measured: list[tuple[Seconds, Seconds]] = []
    vault_bytes = peak = 0
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        plain, own, vault_bytes, memory = one_round(sources, work)
        measured.append((plain, own))
        peak = max(peak, memory)
    shutil.rmtree(work)
    return {
        "machine": about_machine(),
        "name": ", ".join(source.name for source in sources),
        "files": len(paths),
        "bytes_in": sum(path.stat().st_size for path in paths),
        "largest_bytes": max(path.stat().st_size for path in paths),
        "vault_bytes": vault_bytes,
        "archive_bytes": archive_bytes(list(sources), WINDOW_LOG),
        "memory_peak_kib": peak,
        "rounds": rounds,
        "plain_seconds": medians([plain for plain, _ in measured]),
        "seconds": medians([own for _, own in measured]),
    }


def medians(measured: Sequence[Seconds]) -> Seconds:
    return {row: statistics.median(one[row] for one in measured) for row in ROWS}


def one_round(sources: Sequence[Path], work: Path) -> tuple[Seconds, Seconds, int, int]:
    """Seconds on the plain disk, and of a mount; what the vault takes; the peak of the daemon."""
    plain, own = Seconds(), Seconds()
    copy_plainly(sources, work / "plain", plain)
    read_out(work / "plain", plain)
    with mounted(work / "sealed", work / "mnt", seal_after=0.2):
        begin = time.perf_counter()
        copy(sources, work / "mnt" / "files")
        settle(work / "mnt")()
        own["cp in, until it is sealed"] = time.perf_counter() - begin
    shutil.rmtree(work / "sealed")
    with mounted(work / "vault", work / "mnt"):
        begin = time.perf_counter()
        copy(sources, work / "mnt" / "files")
        own["cp in"] = time.perf_counter() - begin
    own["cp in, umount"] = time.perf_counter() - begin
    with mounted(work / "vault", work / "mnt"):
        read_out(work / "mnt" / "files", own)
        peak = memory_peak(work / "mnt")
    return plain, own, disk_bytes(work / "vault"), peak


def copy_plainly(sources: Sequence[Path], target: Path, seconds: Seconds) -> None:
    """What a mount is compared with: to have it sealed, or unmounted, is to have it synced."""
    os.sync()
    begin = time.perf_counter()
    copy(sources, target)
    seconds["cp in"] = time.perf_counter() - begin
    os.sync()
    seconds["cp in, umount"] = time.perf_counter() - begin
    seconds["cp in, until it is sealed"] = seconds["cp in, umount"]


def copy(sources: Sequence[Path], target: Path) -> None:
    target.mkdir()
    subprocess.run(["cp", "-r", *sources, target], check=True)


def read_out(folder: Path, seconds: Seconds) -> None:
    """Everything that reads, in turns with what drops the caches."""
    drop_caches()
    timed(seconds, "read cold", lambda: read_all(folder))
    timed(seconds, "read again", lambda: read_all(folder))
    drop_caches()
    timed(seconds, "grep -r cold", lambda: grep(folder))
    timed(seconds, "grep -r again", lambda: grep(folder))
    files = (Path(parent, name) for parent, _, names in os.walk(folder) for name in names)
    largest = max(files, key=lambda path: path.stat().st_size)
    drop_caches()
    timed(seconds, "4 KiB of its middle cold", lambda: read_middle(largest))
    drop_caches()
    timed(seconds, "largest file cold", lambda: read(largest))
    timed(seconds, "largest file again", lambda: read(largest))


def timed(seconds: Seconds, row: str, action: Callable[[], object]) -> None:
    begin = time.perf_counter()
    action()
    seconds[row] = time.perf_counter() - begin


def read_all(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            read(Path(parent, name))


def read(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(READ_BYTES):
            pass


def read_middle(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        os.pread(file.fileno(), MIDDLE_BYTES, path.stat().st_size // 2)


def grep(folder: Path) -> None:
    subprocess.run(["grep", "-rF", RARE, folder], stdout=subprocess.DEVNULL, check=False)


def memory_peak(mountpoint: Path) -> int:
    """Peak memory of the daemon in KiB, as its status tells."""
    with suppress(OSError):
        for line in (mountpoint / ".stowken" / "status").read_text().splitlines():
            name, _, value = line.partition(": ")
            if name == "memory_peak_kib":
                return int(value)
    return 0


def described(told: dict[str, Any]) -> str:
    """Figures for people."""
    plain, own = told["plain_seconds"], told["seconds"]

    def moved(row: str) -> float:
        if row.startswith("4 KiB"):
            return MIDDLE_BYTES
        return float(told["largest_bytes" if "largest" in row else "bytes_in"])

    rows = [
        (
            row,
            f"{plain[row]:.3f}",
            f"{own[row]:.3f}",
            f"{own[row] / plain[row]:.1f}",
            f"{moved(row) / MEGA / own[row]:.1f}",
        )
        for row in ROWS
    ]
    size, archive = told["vault_bytes"], told["archive_bytes"]
    return "\n".join(
        (
            f"{told['name']}: {told['files']:,} files, {told['bytes_in']:,} bytes; on disk"
            f" {size:,} bytes before any compaction, {size / archive:.2f} x tar + zstd -19;"
            f" {told['memory_peak_kib'] / 1024:.0f} MiB of memory at most while reading",
            "",
            table(("", "plain, s", "stowkenfs, s", "x plain", "MB/s"), rows),
            "",
        )
    )
