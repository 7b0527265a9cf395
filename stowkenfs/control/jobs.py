"""Maintenance: one job at a time, its progress line by line, and an end to it on request."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from stowkenfs.control.nodes import ControlFile, Rendered, RenderedLive
from stowkenfs.control.words import text_of
from stowkenfs.errors import BadRequest, JobCancelled, JobRunning

T = TypeVar("T")

LINES_MAX = 1000
"""When there are more, the older half goes at once: a follower sees the file become shorter."""

PAST_MAX = 50
LINE_SECONDS = 0.5
MEBI = 1 << 20


@dataclass(slots=True)
class _Running:
    """A job while it runs; ``share`` is how much of it is done, 0 to 1."""

    name: str
    scope: anyio.CancelScope
    over: anyio.Event
    since: float  # seconds of the clock on the wall
    began: float  # of the one that never goes back
    last_line: float = 0.0
    share: float = 0.0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Jobs:
    """The running job and what it said. Event loop's thread.

    ``_lines`` has at most LINES_MAX lines, ``_past`` PAST_MAX jobs, the newest first;
    ``_now`` is the running job, or None.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._past: deque[str] = deque(maxlen=PAST_MAX)
        self._now: _Running | None = None

    @property
    def running(self) -> str | None:
        """The running job's name."""
        return self._now.name if self._now is not None else None

    def text(self) -> str:
        """What ``.stowken/progress`` shows."""
        return "".join(f"{line}\n" for line in self._lines)

    def list(self) -> str:
        """What ``.stowken/jobs`` shows."""
        lines = ["running: none"]
        if self._now is not None:
            since, share = _clock(self._now.since), 100 * self._now.share
            lines = [f"running: {self._now.name}, since {since}, {share:.1f} %"]
        return "".join(f"{line}\n" for line in [*lines, *self._past])

    async def run(self, name: str, job: Callable[[Callable[[int, int], None]], Awaitable[T]]) -> T:
        """The result of ``job(progress)``. Raises JobRunning while another runs, JobCancelled."""
        self.check_idle()
        scope = anyio.CancelScope()
        now = self._now = _Running(name, scope, anyio.Event(), time.time(), time.monotonic())
        self._say(f"{name}: started")
        end, why = "done", ""
        try:
            with scope:
                return await job(self._progress)
        except BaseException as error:
            end, why = "stopped", str(error)
            raise
        finally:
            if scope.cancelled_caught:
                end = "cancelled"
            self._now = None
            now.over.set()
            after = f"{end} after {now.seconds:.1f} s"
            self._say(f"{name}: {after}" + (f": {why}" if why else ""))
            self._past.appendleft(f"past: {name}, since {_clock(now.since)}, {after}")
        raise JobCancelled(f"{name} was cancelled")

    def check_idle(self) -> None:
        """Raise JobRunning while a job runs."""
        if self._now is not None:
            raise JobRunning(
                f"{self._now.name} is running; .stowken/progress shows how far it is, and "
                "'echo cancel > .stowken/jobs' stops it"
            )

    def stop(self) -> None:
        """Tell the running job to end, if there is one."""
        if self._now is not None:
            self._now.scope.cancel()

    async def cancel(self) -> None:
        """Stop the running job, and return when it has. Raises BadRequest if there is none."""
        if self._now is None:
            raise BadRequest("no job is running")
        over = self._now.over
        self.stop()
        await over.wait()

    def _say(self, line: str) -> None:
        if len(self._lines) >= LINES_MAX:
            del self._lines[: LINES_MAX // 2]
        self._lines.append(line)

    def _progress(self, done: int, total: int) -> None:
        now = self._now
        if now is None:
            return
        now.share = done / total if total else 1.0
        elapsed = now.seconds
        if elapsed - now.last_line < LINE_SECONDS and done < total:
            return
        now.last_line = elapsed
        left = elapsed * (total - done) / done if done else 0.0
        self._say(
            f"{now.name}: {100 * now.share:.1f} % ({done / MEBI:.1f} of {total / MEBI:.1f} MiB), "
            f"{left:.0f} s left"
        )


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


class JobsFile(ControlFile):
    """``jobs``: the running job and past ones; writing ``cancel`` stops the running one."""

    writable = True

    def __init__(self, jobs: Jobs) -> None:
        self._jobs = jobs

    async def render(self) -> Rendered:
        return RenderedLive(self._text)  # programs ask it before they ask for a job

    def _text(self) -> str:
        refused = f"the last request was refused: {self.refusal}\n" if self.refusal else ""
        return self._jobs.list() + refused

    async def act(self, written: bytes) -> None:
        if text_of(written) != "cancel":
            raise BadRequest("write cancel to stop the running job")
        await self._jobs.cancel()
