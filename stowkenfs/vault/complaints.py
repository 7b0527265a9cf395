"""Saying that a disk is full or fails, and not saying so again with each request."""

import logging
import time

from stowkenfs.index.space import FULL

SILENT_SECONDS = 60.0
TEXTS_MAX = 1000

_said: dict[str, float] = {}  # {text: when, by the clock that never goes back}

DISK_FULL = (
    "the disk of the vault is full: what is stored is safe, and what would take room is "
    "refused; removing files, then gc, gives some back"
)


OUT_OF_MEMORY = (
    "there is not enough memory: what is stored is safe, and what would take more is refused"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory, or none for the stack of one more thread."""
    if isinstance(error, RuntimeError):
        return str(error).startswith("can't start new thread")
    return isinstance(error, MemoryError)


def complain(log: logging.Logger, text: str) -> None:
    """Log an error, unless the same was said a short time ago. Event loop's thread."""
    now = time.monotonic()
    if now - _said.get(text, -SILENT_SECONDS) < SILENT_SECONDS:
        return
    if len(_said) >= TEXTS_MAX:
        _said.clear()
    _said[text] = now
    log.error(text)


def complain_of(log: logging.Logger, error: OSError, prefix: str) -> None:
    """Log what a disk answered: one line for one that is full, whatever it was about."""
    complain(log, DISK_FULL if error.errno in FULL else f"{prefix}: {error}")
