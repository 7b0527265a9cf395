"""``log``: the last of what the mount said, as its log has it."""

import logging
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

LINES_MAX = 1000
LINE_CHARACTERS_MAX = 2000


class KeptLog(logging.Handler):
    """Keeps the last LINES_MAX lines of what the package logs. Any thread.

    ``_lines`` is guarded by the handler's lock, which ``emit`` is called under.
    """

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self._lines: deque[str] = deque(maxlen=LINES_MAX)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - as other handlers: a message that cannot be formatted
            self.handleError(record)
            return
        for line in text.splitlines():
            self._lines.append(line[:LINE_CHARACTERS_MAX])

    def text(self) -> str:
        """The lines, the oldest first."""
        self.acquire()
        try:
            return "".join(f"{line}\n" for line in self._lines)
        finally:
            self.release()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """While inside, what the package logs is kept."""
        logger = logging.getLogger("stowkenfs")
        logger.addHandler(self)
        try:
            yield self
        finally:
            logger.removeHandler(self)
