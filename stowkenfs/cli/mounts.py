"""What is mounted where, and unmounting it."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.cli.failures import CommandFailed, ExitCode

OUR_TYPE = "fuse.stowkenfs"
CONTROL_NAME = ".stowken"
TURN_SECONDS = 10.0
POLL_SECONDS = 0.02

_DEAD = (errno.ENOTCONN, errno.ECONNABORTED, errno.ESHUTDOWN)
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """A line of /proc/self/mountinfo: proc(5)."""

    point: str
    filesystem_type: str

    @property
    def is_ours(self) -> bool:
        return self.filesystem_type == OUR_TYPE


def real_path(path: Path) -> Path:
    """Absolute, links resolved; a dead mount on the way is no obstacle."""
    return Path(os.path.realpath(path))


def mount_at(path: Path) -> Mount | None:
    """The topmost mount whose root is at ``path``."""
    wanted = os.fsencode(real_path(path))
    found = None
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        point = _unescape(before.split(b" ")[4])
        if point == wanted:
            found = Mount(os.fsdecode(point), os.fsdecode(after.split(b" ")[0]))
    return found


def _unescape(field: bytes) -> bytes:
    """Space, tab, newline and backslash are written in octal."""
    text = _OCTAL.sub(lambda match: chr(int(match[1], 8)), field.decode("latin-1"))
    return text.encode("latin-1")


def is_dead(path: Path) -> bool:
    """Whether ``path`` is a mount whose daemon is gone.

    Not by ``stat``, which the kernel may answer from its cache.
    """
    try:
        os.statvfs(path)
    except OSError as error:
        return error.errno in _DEAD
    return False


@contextmanager
def turn_at(path: Path) -> Iterator[None]:
    """Be the only one that mounts at ``path``, or clears a dead mount away there.

    Between a look at the place and what follows from it, another would mount there. The lock is
    on the directory above, since a dead mount cannot be opened. Who holds that one for reasons
    of their own, or cannot read it, is not kept from mounting.
    """
    try:
        above = os.open(real_path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        deadline = time.monotonic() + TURN_SECONDS
        while time.monotonic() < deadline:
            try:
                fcntl.flock(above, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno != errno.EWOULDBLOCK:
                    break  # a filesystem without locks
                time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(above)


def unmount(path: Path, *, lazily: bool = False) -> None:
    """Take the mount at ``path`` away; ``lazily`` even if it is in use.

    Raises CommandFailed, with IN_USE when it is busy.
    """
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if helper is not None:
        command = [helper, "-u", *(["-z"] if lazily else []), "--", str(path)]
    elif os.geteuid() == 0:
        command = ["umount", *(["-l"] if lazily else []), "--", str(path)]
    else:
        raise CommandFailed("fusermount3 is not installed; install the package fuse3")
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"LC_ALL": "C"},
    )
    if done.returncode == 0:
        return
    said = " ".join(done.stderr.decode("utf-8", "backslashreplace").split())
    if "busy" in said:
        raise CommandFailed(f"{said}; `fuser -vm {path}` shows who uses it", ExitCode.IN_USE)
    raise CommandFailed(said or f"{command[0]} ended with exit code {done.returncode}")
