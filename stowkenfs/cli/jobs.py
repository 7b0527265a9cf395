"""Having a mount run a job, and watching it."""

import errno
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import click

from stowkenfs.cli.failures import CommandFailed
from stowkenfs.cli.targets import MountTarget
from stowkenfs.cli.terminal import Show
from stowkenfs.errors import JobRunning

POLL_SECONDS = 0.5
MEBI = 1 << 20

_BUSY = "the mount runs another job; see .stowken/jobs in it"


def run_in_mount(
    target: MountTarget, name: str, show: Show, words: str = "1"
) -> tuple[str, dict[str, Any]]:
    """The report of the job ``name``, for people and for programs.

    Its control file is written, which returns when the job is done; meanwhile ``show`` is
    told how far it is. SIGINT and SIGTERM stop the job; then Abort is raised.
    Raises JobRunning, OSError, and CommandFailed if somebody else stopped it. A report of
    damage is no error here.
    """
    if not target.text("jobs").startswith("running: none\n"):
        # The kernel would let a second writer of the same control file wait.
        raise JobRunning(_BUSY)
    failures: list[OSError] = []

    def act() -> None:
        try:
            target.act(name, words)
        except OSError as error:
            failures.append(error)

    job = threading.Thread(target=act, daemon=True)
    with _terminated_as_interrupted():
        try:
            job.start()
            _watch(target, name, job, show)
        except KeyboardInterrupt:
            if not failures:
                with suppress(OSError):  # it may be over already
                    target.act("jobs", "cancel")
            job.join()
            raise click.Abort from None
    for error in failures:
        if error.errno == errno.EBUSY:
            raise JobRunning(_BUSY)
        if error.errno == errno.ECANCELED:
            raise CommandFailed(f"{name} was cancelled through .stowken/jobs")
        if error.errno != errno.EIO:
            raise error
    # EIO is the answer when damage was found: then the report says more.
    report = target.json(f"{name}.json")
    if report is None or (failures and report["clean"]):
        raise failures[0] if failures else OSError(errno.EIO, "the mount gave no report")
    return target.text(name), report


def _watch(target: MountTarget, name: str, job: threading.Thread, show: Show) -> None:
    """Tell ``show`` of the progress until the job is over."""
    line = re.compile(rf"^{name}: .*\(([0-9.]+) of ([0-9.]+) MiB\)", re.MULTILINE)
    while job.is_alive():
        job.join(POLL_SECONDS)
        if not job.is_alive():
            break
        told = target.text("progress").rpartition(f"{name}: started\n")[2]
        for found in line.findall(told)[-1:]:
            done, total = (int(float(number) * MEBI) for number in found)
            show(done, total, "")


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """While inside, SIGTERM ends the work as Ctrl-C does."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
