"""Mounts made as users make them: by the command, with a daemon in the background."""

import os
import signal
import subprocess
import time
from pathlib import Path

from stowkenfs.vault.lock import is_locked, read_holder
from tests.mount.mounted import cli_command, detach, environment, is_fuse_mount

Done = subprocess.CompletedProcess[str]


def stowkenfs(*words: str | Path, seconds: float = 60) -> Done:
    """What the command answers."""
    return subprocess.run(
        cli_command(*words),
        capture_output=True,
        text=True,
        env=environment(),
        cwd="/",
        timeout=seconds,
        check=False,
    )


def begin(*words: str | Path) -> subprocess.Popen[str]:
    """The command, not waited for."""
    return subprocess.Popen(
        cli_command(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd="/",
    )


class Place:
    """A vault and a mount point; whose daemon is known by the vault's lock."""

    def __init__(self, vault: Path, path: Path) -> None:
        self.vault, self.path = vault, path
        path.mkdir(exist_ok=True)

    @property
    def pid(self) -> int:
        holder = read_holder(self.vault)
        assert holder is not None, "not mounted"
        return holder.pid

    def mount(self) -> None:
        done = stowkenfs("mount", self.vault, self.path)
        assert done.returncode == 0, done.stderr
        assert is_fuse_mount(self.path)

    def umount(self) -> None:
        done = stowkenfs("umount", self.path)
        assert (done.returncode, done.stderr) == (0, "")

    def kill(self) -> None:
        """SIGKILL; the dead mount stays."""
        os.kill(self.pid, signal.SIGKILL)
        self.wait_free()

    def wait_free(self, seconds: float = 30) -> None:
        """Return when no process has the vault."""
        deadline = time.monotonic() + seconds
        while is_locked(self.vault):
            assert time.monotonic() < deadline, f"still in use by {read_holder(self.vault)}"
            time.sleep(0.02)

    def is_answering(self) -> bool:
        try:
            os.statvfs(self.path)
        except OSError:
            return False
        return is_fuse_mount(self.path)

    def close(self) -> None:
        """Leave nothing behind."""
        for _ in range(5):
            detach(self.path)
        if self.vault.is_dir():
            self.wait_free()
