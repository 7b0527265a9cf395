"""Maintenance: one job at a time, its progress line by line."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stowkenfs.errors import JobRunning

T = TypeVar("T")

LINES_MAX = 1000
"""When there are more, the older half goes at once: a follower sees the file become shorter."""

LINE_SECONDS = 0.5
MEBI = 1 << 20


class Jobs:
    """The running job and what it said. Event loop's thread.

    ``_lines`` has at most LINES_MAX lines; ``_running`` names the job, or is None.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._running: str | None = None
        self._began = 0.0
        self._last_line = 0.0

    @property
    def running(self) -> str | None:
        return self._running

    def text(self) -> str:
        """What ``.stowken/progress`` shows."""
        return "".join(f"{line}\n" for line in self._lines)

    async def run(self, name: str, job: Callable[[Callable[[int, int], None]], Awaitable[T]]) -> T:
        """The result of ``job(progress)``. Raises JobRunning while another runs."""
        if self._running is not None:
            raise JobRunning(f"{self._running} is running; see .stowken/progress")
        self._running, self._began, self._last_line = name, time.monotonic(), 0.0
        self._say(f"{name}: started")
        try:
            result = await job(self._progress)
        except BaseException as error:
            self._say(f"{name}: stopped after {self._elapsed():.1f} s: {error}")
            raise
        else:
            self._say(f"{name}: done after {self._elapsed():.1f} s")
            return result
        finally:
            self._running = None

    def _say(self, line: str) -> None:
        if len(self._lines) >= LINES_MAX:
            del self._lines[: LINES_MAX // 2]
        self._lines.append(line)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _progress(self, done: int, total: int) -> None:
        elapsed = self._elapsed()
        if elapsed - self._last_line < LINE_SECONDS and done < total:
            return
        self._last_line = elapsed
        left = elapsed * (total - done) / done if done else 0.0
        percent = 100 * done / total if total else 100.0
        self._say(
            f"{self._running}: {percent:.1f} % ({done / MEBI:.1f} of {total / MEBI:.1f} MiB), "
            f"{left:.0f} s left"
        )
