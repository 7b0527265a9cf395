"""Mounts what is compared, runs the rows in turns and prints what they took."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from lib.density.tables import table
from lib.machine import about_machine, drop_caches
from lib.mounts import mounted, settle
from lib.requests.rows import Bench

TOOLS = Path(__file__).parents[2]
PLAIN, NULL, OWN = "plain", "null", "stowkenfs"
START_SECONDS = 30.0
SEAL_SECONDS = 5
"""Longer than it takes to write what one round seals, so that no row waits beside sealing."""

Times = dict[str, dict[str, float]]
"""{filesystem: {row: microseconds}}."""


def run_requests(beside: Sequence[str], rounds: int, count: int, *, as_json: bool) -> None:
    """Measure on the plain filesystem, on the null filesystem, on a mount, and in ``beside``.

    Each of those is ``NAME=DIR``, a directory of a filesystem that is mounted. Medians.
    """
    with tempfile.TemporaryDirectory(prefix="stowkenfs-requests-") as scratch, ExitStack() as used:
        places = {PLAIN: Path(scratch), NULL: used.enter_context(null_filesystem(Path(scratch)))}
        places |= {name: Path(path) for name, path in (word.split("=", 1) for word in beside)}
        own = mounted(Path(scratch) / "vault", Path(scratch) / OWN, seal_after=SEAL_SECONDS)
        places[OWN] = used.enter_context(own)
        measured: list[Times] = []
        for number in range(rounds):
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
            measured.append(
                {
                    name: Bench(place / f"round {number}", count, drop_caches, settle(place)).run()
                    for name, place in places.items()
                }
            )
    times = medians(measured)
    if as_json:
        told: dict[str, Any] = {"machine": about_machine(), "rounds": rounds, "operations": count}
        print(json.dumps(told | {"microseconds": times}, indent=2))
    else:
        print(described(times))


def medians(measured: Sequence[Times]) -> Times:
    """Of all rounds."""
    first = measured[0]
    return {
        name: {row: statistics.median(one[name][row] for one in measured) for row in rows}
        for name, rows in first.items()
    }


def described(times: Mapping[str, Mapping[str, float]]) -> str:
    """A table: microseconds, and ours as a share of the null filesystem's speed."""
    headers = ("one operation, us", *times, "x plain", "of null")
    rows = [
        (
            row,
            *(f"{of[row]:,.1f}" for of in times.values()),
            f"{took / times[PLAIN][row]:.1f}",
            f"{times[NULL][row] / took:.2f}",
        )
        for row, took in times[OWN].items()
    ]
    return table(headers, rows)


@contextmanager
def null_filesystem(scratch: Path) -> Iterator[Path]:
    """The limit of what pyfuse3 can answer, mounted."""
    mountpoint = scratch / NULL
    mountpoint.mkdir()
    process = subprocess.Popen([sys.executable, TOOLS / "null-filesystem", mountpoint])
    try:
        deadline = time.monotonic() + START_SECONDS
        while not os.path.ismount(mountpoint):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("bench: the null filesystem cannot be mounted here")
            time.sleep(0.02)
        yield mountpoint
    finally:
        subprocess.run(["fusermount3", "-u", mountpoint], check=False)
        process.wait()
