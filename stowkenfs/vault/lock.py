"""One writer: the lock that a process holds on its vault."""

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from stowkenfs.errors import VaultLocked
from stowkenfs.store.local import private

POLL_SECONDS = 0.05

HOLDER_BYTES_MAX = 64 << 10
"""Of the text that names the holder: a path has 4,095 bytes, and JSON writes up to six for one."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who uses a vault: a process and, when it is mounted, where."""

    pid: int
    mountpoint: str | None = None
    leaving: bool = False

    def __str__(self) -> str:
        where = f", mounted at {self.mountpoint}" if self.mountpoint else ""
        return f"process {self.pid}{where}" + (" (finishing)" if self.leaving else "")


class VaultLock:
    """An exclusive ``flock`` on the vault's ``lock`` file, which also names the holder.

    The kernel drops it with the process, so a crash leaves nothing to clean.
    """

    def __init__(
        self, directory: Path, *, wait_seconds: float = 0.0, read_only: bool = False
    ) -> None:
        """Take the lock, waiting for a holder that is about to leave.

        To read only, several processes may have it, and nothing is written.
        Raises VaultLocked, which says who holds it.
        """
        self._read_only = read_only
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        try:
            self._fd: int | None = private(directory / "lock", flags)
        except OSError:
            if not read_only:
                raise
            self._fd = None  # nobody could hold it
            return
        sort = fcntl.LOCK_SH if read_only else fcntl.LOCK_EX
        deadline = time.monotonic() + wait_seconds
        while True:
            try:
                fcntl.flock(self._fd, sort | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                holder = read_holder(directory)
                if time.monotonic() >= deadline or (holder is not None and not holder.leaving):
                    os.close(self._fd)
                    who = str(holder) if holder else "another process"
                    raise VaultLocked(directory, who) from None
                time.sleep(POLL_SECONDS)
        self.announce(Holder(os.getpid()))

    @property
    def is_to_read(self) -> bool:
        """Whether the vault is only to be read."""
        return self._read_only

    def announce(self, holder: Holder) -> None:
        """Say who holds the lock; for messages only, so a full disk does not matter."""
        if self._read_only or self._fd is None:
            return
        content = json.dumps(asdict(holder)).encode()
        with suppress(OSError):
            os.pwrite(self._fd, content.ljust(os.fstat(self._fd).st_size), 0)
            os.ftruncate(self._fd, len(content))

    def leave(self, failure: type[BaseException] | None, *_: object) -> None:
        """Release it at the end of a block that ``failure`` may have ended.

        Then the file goes on naming the holder, for whoever waits for it to be done.
        """
        self.release(done=failure is None)

    def release(self, *, done: bool = True) -> None:
        if self._fd is None:
            return
        if done and not self._read_only:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)  # it names nobody, and takes up no disk block
        os.close(self._fd)


def read_holder(directory: Path) -> Holder | None:
    """Who the lock file names; it may be a process that is gone (see ``is_locked``)."""
    try:
        with os.fdopen(private(directory / "lock", os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            fields = json.loads(file.read(HOLDER_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    pid, mountpoint = fields.get("pid"), fields.get("mountpoint")
    if type(pid) is not int or not (mountpoint is None or isinstance(mountpoint, str)):
        return None
    return Holder(pid, mountpoint, bool(fields.get("leaving")))


def is_locked(directory: Path) -> bool:
    """Whether some process holds the vault now."""
    try:
        fd = private(directory / "lock", os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)
