"""Small disks for tests: a filesystem of its own on a loop device, or else in memory."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

MEBI = 1 << 20


def _run(*words: str | Path) -> bool:
    return subprocess.run([str(word) for word in words], capture_output=True).returncode == 0  # noqa: PLW1510


class SmallDisk:
    """A filesystem of ``size`` MiB at ``path``."""

    def __init__(self, directory: Path, size: int, kind: str) -> None:
        self.path = directory / "disk"
        self.path.mkdir()
        self._image = directory / "image"
        self._filler = self.path / "filler"
        if kind == "ext4":
            with self._image.open("wb") as file:
                file.truncate(size * MEBI)
            made = _run("mkfs.ext4", "-q", "-m", "0", self._image)
            made = made and _run("mount", "-o", "loop", self._image, self.path)
        else:
            made = _run("mount", "-t", "tmpfs", "-o", f"size={size}m", "none", self.path)
        if not made:
            pytest.skip(f"a small {kind} filesystem takes root, and for ext4 a loop device")

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        about = os.statvfs(self.path)
        return about.f_bavail * about.f_frsize

    def fill(self) -> None:
        """Take up everything that is free, to the last block."""
        with self._filler.open("ab", buffering=0) as file:
            for size in (MEBI, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
            os.fsync(file.fileno())

    def empty(self) -> None:
        """Give back what ``fill`` took."""
        self._filler.unlink()

    def remount(self, how: str) -> bool:
        """Whether it is mounted ``ro`` or ``rw`` now."""
        return _run("mount", "-o", f"remount,{how}", self.path)

    def close(self) -> None:
        _run("umount", "-l", self.path)


@contextmanager
def small_disk(directory: Path, size: int, kind: str) -> Iterator[SmallDisk]:
    """A disk for the time inside. Skips the test where there can be none."""
    disk = SmallDisk(directory, size, kind)
    try:
        yield disk
    finally:
        disk.close()
