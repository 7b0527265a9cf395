"""One target in one process: as many inputs as its time allows, in bounded memory."""

import json
import logging
import mmap
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from tests.fuzz.target import Target

ENTROPY_BYTES = 42
INPUT_BYTES_MAX = 1 << 20
INPUT_SECONDS_MAX = 20
"""For one input; a decoder that needs longer does not end."""

REPORTED_EVERY = 64
KINDS_MAX = 20
"""Failures that are told apart, by where they were raised; more of one place are counted."""


class TooSlow(Exception):
    """An input took more than INPUT_SECONDS_MAX."""


class Run:
    """What came of a target so far. ``_last`` holds the input in hand, if the process dies."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self.folder = folder
        self.executions = 0
        self.taken = 0
        self.failures: dict[str, int] = {}
        fd = os.open(folder / f"{target.name}.last", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.ftruncate(fd, INPUT_BYTES_MAX + 8)
        self._last = mmap.mmap(fd, 0)
        os.close(fd)

    def try_one(self, content: bytes) -> None:
        """Run the target on ``content``, and keep it if anything but its errors comes out."""
        content = content[:INPUT_BYTES_MAX]
        self._last[: 8 + len(content)] = len(content).to_bytes(8, "little") + content
        self.executions += 1
        try:
            with _timed():
                self.taken += self.target.check(content)
        except (Exception, TooSlow) as error:  # noqa: BLE001 - what fuzzing looks for
            self._keep(content, error)

    def _keep(self, content: bytes, error: BaseException) -> None:
        last = traceback.extract_tb(error.__traceback__)[-1]
        kind = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
        self.failures[kind] = self.failures.get(kind, 0) + 1
        if self.failures[kind] == 1 and len(self.failures) <= KINDS_MAX:
            name = f"{self.target.name}-{len(self.failures)}"
            (self.folder / name).write_bytes(content)
            lines = traceback.format_exception(error)
            (self.folder / f"{name}.txt").write_text("".join(lines))

    def write_report(self) -> None:
        """Leave what came of it in ``NAME.report``, for whoever started this."""
        report = self.folder / f"{self.target.name}.report"
        report.write_text(json.dumps(self._report()))

    def _report(self) -> dict[str, object]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {
            "executions": self.executions, "taken": self.taken, "failures": self.failures,
            "peak_kib": peak,
        }  # fmt: skip


@contextmanager
def _timed() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(INPUT_SECONDS_MAX)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_mutations(run: Run, seconds: float, seed: int) -> None:
    """Inputs that are nearly what an encoder writes, for ``seconds``."""
    for content in run.target.seeds():
        run.try_one(content)
    choose = random.Random(f"{run.target.name} {seed}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run.try_one(run.target.case(choose.randbytes(ENTROPY_BYTES)))


def run_guided(run: Run, seconds: float, seed: int) -> None:
    """The same under atheris, which keeps inputs that reach new code. Does not return."""
    import atheris  # noqa: PLC0415 - only here is it needed

    corpus = run.folder / f"{run.target.name}.corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(run.target.seeds()):
        (corpus / f"seed-{number}").write_bytes(content)
    choose = random.Random(seed)

    def mutate(content: bytes, size_max: int, seed_of_one: int) -> bytes:
        if seed_of_one % 2:
            return bytes(atheris.Mutate(content, size_max))
        return run.target.case(choose.randbytes(ENTROPY_BYTES))[:size_max]

    def one(content: bytes) -> None:
        run.try_one(run.target.mend(content))
        if run.executions % REPORTED_EVERY == 0:  # atheris ends the process as it likes
            run.write_report()

    options = [
        sys.argv[0], str(corpus), f"-max_total_time={max(int(seconds), 1)}", "-verbosity=0",
        "-max_len=65536", f"-seed={seed + 1}", "-rss_limit_mb=0", "-handle_alrm=0",
    ]  # fmt: skip
    atheris.Setup(options, one, custom_mutator=mutate)
    atheris.Fuzz()


def main(
    name: str, seconds: float, seed: int, folder: Path, memory_bytes: int, guided: bool
) -> None:
    """Fuzz one target, and leave a report beside what failed."""
    if memory_bytes:
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    logging.disable(logging.CRITICAL)
    if guided:
        import atheris  # noqa: PLC0415 - as above

        with atheris.instrument_imports(include=["stowkenfs"]):
            from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - so that it is instrumented
    else:
        from tests.fuzz.targets import TARGETS  # noqa: PLC0415 - in bounded memory
    run = Run(TARGETS[name], folder)
    if guided:
        run_guided(run, seconds, seed)
        return
    run_mutations(run, seconds, seed)
    run.write_report()
