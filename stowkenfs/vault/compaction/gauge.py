"""How far an encoder is that runs in another process."""

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_NUMBER_BYTES = 8
_FILE = "stowkenfs-gauge"


class Gauge:
    """One number that only grows: who makes the gauge reads it, and one process writes it.

    It lies in a file without a name in any directory, so nothing is left of it when its maker
    dies. Where the system has no such files the number stays 0.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self.name = ""
        """By which another process of the same user writes it."""
        with suppress(OSError, AttributeError):  # no such call; no descriptor left
            self._fd = os.memfd_create(_FILE)
            self.name = f"/proc/{os.getpid()}/fd/{self._fd}"

    def read(self) -> int:
        """What was written last."""
        if self._fd is None:
            return 0
        return int.from_bytes(os.pread(self._fd, _NUMBER_BYTES, 0), "little")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class GaugeWriter:
    """Writes the gauge called ``name``, if it is there."""

    def __init__(self, name: str) -> None:
        self._fd: int | None = None
        self._told = 0.0
        if name:
            with suppress(OSError):
                self._fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC)
        # The name is only a number: were the maker gone, it could be of any other file.
        if self._fd is not None and not _is_gauge(self._fd):
            self.close()

    def add(self, more: float) -> None:
        self._told += more
        if self._fd is not None:
            with suppress(OSError):  # not worth failing for
                os.pwrite(self._fd, int(self._told).to_bytes(_NUMBER_BYTES, "little"), 0)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _is_gauge(fd: int) -> bool:
    with suppress(OSError):
        return str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(f"/memfd:{_FILE}")
    return False
