"""Having a mount run a job, and watching it."""

import errno
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from stowkenfs.cli.failures import CommandFailed, ExitCode
from stowkenfs.cli.targets import MountTarget
from stowkenfs.cli.terminal import Show
from stowkenfs.errors import JobRunning

if TYPE_CHECKING:
    from stowkenfs.control.kinds import AnyKind

POLL_SECONDS = 0.5
MEBI = 1 << 20


def run_in_mount(
    target: MountTarget, kind: "AnyKind", words: str, show: Show
) -> tuple[str, dict[str, Any]]:
    """How a job of the mount went, for people and for programs.

    Its control file is written, which returns when the job is done; meanwhile ``show`` is
    told how far it is. SIGINT and SIGTERM stop the job; then Abort is raised.
    Raises JobRunning, OSError, and CommandFailed if it was refused, failed, or somebody else
    stopped it. A report of damage is no error here.
    """
    failures: list[OSError] = []

    def act() -> None:
        try:
            target.act(kind.file, words)
        except OSError as error:
            failures.append(error)

    job = threading.Thread(target=act, daemon=True)
    with _terminated_as_interrupted():
        try:
            job.start()
            _watch(target, kind.title, job, show)
        except KeyboardInterrupt:
            if not failures:
                with suppress(OSError):  # it may be over already
                    target.act("jobs", "cancel")
            job.join()
            raise click.Abort from None
    text = target.text(kind.file)
    told = target.json(f"{kind.file}.json")
    outcome = told if kind.within is None or told is None else told[kind.within]
    for error in failures:
        _raise(error, target, kind.title, text, outcome or {})
    if outcome is None or (failures and outcome["clean"]):
        raise failures[0] if failures else OSError(errno.EIO, "the mount gave no report")
    return text, outcome


def _raise(
    error: OSError, target: MountTarget, title: str, text: str, outcome: dict[str, Any]
) -> None:
    """Raise what ``error`` means, unless it is the answer to damage: the report says more."""
    if error.errno == errno.EBUSY:
        jobs = target.path("jobs")
        raise JobRunning(
            f"the mount runs another job: 'cat {jobs}' says which, 'echo cancel > {jobs}' stops it"
        )
    if error.errno == errno.EROFS:
        raise CommandFailed(
            f"{target.mountpoint} is mounted read-only, where no job runs: unmount it and name "
            "the vault, or mount it without -o ro"
        )
    if error.errno == errno.ECANCELED:
        raise CommandFailed(f"{title} was cancelled through .stowken/jobs")
    refusal = re.search(r"^the last request was refused: (.*)", text, re.MULTILINE)
    if error.errno == errno.EINVAL and refusal is not None:
        raise CommandFailed(refusal[1], ExitCode.USAGE)
    if outcome.get("failure"):
        raise CommandFailed(outcome["failure"])
    if error.errno != errno.EIO:
        raise error


@contextmanager
def told_refusal(target: MountTarget, name: str) -> Iterator[None]:
    """While inside, a control file is written that needs no job; a refusal is CommandFailed."""
    try:
        yield
    except OSError as error:
        _raise(error, target, name, target.text(name), {})
        raise


def _watch(target: MountTarget, title: str, job: threading.Thread, show: Show) -> None:
    """Tell ``show`` of the progress until the job is over."""
    line = re.compile(rf"^{re.escape(title)}: .*\(([0-9.]+) of ([0-9.]+) MiB\)", re.MULTILINE)
    while job.is_alive():
        job.join(POLL_SECONDS)
        if not job.is_alive():
            break
        told = target.text("progress").rpartition(f"{title}: started\n")[2]
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
