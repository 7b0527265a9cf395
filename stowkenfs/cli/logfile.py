"""Where a daemon says what happens: on stderr, which in the background is the vault's ``log``."""

import logging
import os
import sys
from pathlib import Path

LOG_NAME = "log"
LOG_BYTES_MAX = 1 << 20
"""When it is longer, the newer half of so many bytes is kept."""


def log_to_stderr(*, with_time: bool) -> None:
    """Send what the package logs to stderr, whatever file that is at the moment."""
    handler = _BoundedHandler(sys.stderr)
    time = "%(asctime)s " if with_time else ""
    handler.setFormatter(logging.Formatter(f"{time}%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("stowkenfs").setLevel(logging.INFO)


def redirect_stderr(directory: Path) -> None:
    """Append stderr to the log of the vault in ``directory`` from now on.

    Where that cannot be written, it goes on to where it goes.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(directory / LOG_NAME, flags, 0o600)
    except OSError:
        return
    sys.stderr.flush()
    os.dup2(fd, 2)
    os.close(fd)
    shorten(2)


class _BoundedHandler(logging.StreamHandler):  # type: ignore[type-arg]
    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        shorten(2)


def shorten(fd: int) -> None:
    """Keep the end of a log that has become too long; anything but a file is left alone."""
    try:
        length = os.fstat(fd).st_size
        if length <= LOG_BYTES_MAX:
            return
        kept = os.pread(fd, LOG_BYTES_MAX // 2, length - LOG_BYTES_MAX // 2)
        os.ftruncate(fd, 0)
        os.write(fd, kept[kept.find(b"\n") + 1 :])
    except OSError:
        return  # not a regular file, or not readable: somebody else's to bound
