"""Mounts that are measured: a vault of its own, and waiting for it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SETTLE_SECONDS = 600.0


@contextmanager
def mounted(vault: Path, mountpoint: Path, *, seal_after: float | None = None) -> Iterator[Path]:
    """A vault, mounted; unmounted, and everything on the disk, at the end."""
    mountpoint.mkdir(exist_ok=True)
    program = [sys.executable, "-m", "stowkenfs"]
    options = [] if seal_after is None else ["-o", f"seal_after={seal_after}"]
    subprocess.run([*program, "mount", *options, vault, mountpoint], check=True)
    try:
        yield mountpoint
    finally:
        subprocess.run([*program, "umount", mountpoint], check=True)


def settle(place: Path) -> Callable[[], None]:
    """What waits until all is sealed there, if it is a mount of stowkenfs."""
    status = place / ".stowken" / "status"
    if not status.exists():
        return os.sync

    def until_sealed() -> None:
        os.sync()
        deadline = time.monotonic() + SETTLE_SECONDS
        while "\nfiles_waiting_to_be_sealed: 0\n" not in status.read_text():
            if time.monotonic() > deadline:
                sys.exit("bench: what was written is not sealed in time")
            time.sleep(0.1)

    return until_sealed
