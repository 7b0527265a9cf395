"""Maintenance: one job at a time, its progress line by line."""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from stowkenfs.errors import JobRunning

T = TypeVar("T")

LINES_MAX = 1000
LINE_SECONDS = 0.5
MEBI = 1 << 20


class Jobs:
    """The running job and what it said. Event loop's thread.

    ``_lines`` keeps the last LINES_MAX lines; ``_running`` names the job, or is None.
    """

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_MAX)
        self._running: str | None = None
        self._began = 0.0
        self._last_line = 0.0

    @property
    def running(self) -> str | None:
        return self._running

    def text(self) -> str:
        """What ``.stowken/progress`` shows."""
        return "".join(f"{line}\n" for line in self._lines) or "no job has run yet\n"

    async def run(self, name: str, job: Callable[[Callable[[int, int], None]], Awaitable[T]]) -> T:
        """The result of ``job(progress)``. Raises JobRunning while another runs."""
        if self._running is not None:
            raise JobRunning(f"{self._running} is running; see .stowken/progress")
        self._running, self._began, self._last_line = name, time.monotonic(), 0.0
        self._lines.append(f"{name}: started")
        try:
            result = await job(self._progress)
        except BaseException as error:
            self._lines.append(f"{name}: stopped after {self._elapsed():.1f} s: {error}")
            raise
        else:
            self._lines.append(f"{name}: done after {self._elapsed():.1f} s")
            return result
        finally:
            self._running = None

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _progress(self, done: int, total: int) -> None:
        elapsed = self._elapsed()
        if elapsed - self._last_line < LINE_SECONDS and done < total:
            return
        self._last_line = elapsed
        left = elapsed * (total - done) / done if done else 0.0
        percent = 100 * done / total if total else 100.0
        self._lines.append(
            f"{self._running}: {percent:.1f} % ({done / MEBI:.1f} of {total / MEBI:.1f} MiB), "
            f"{left:.0f} s left"
        )
