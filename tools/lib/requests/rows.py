"""The rows: what a program does many times in a row, and how long one of them takes."""

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

SMALL = b"x" * 4096
FIRST = b"a file that is read from the disk again" * 200
LINE = b"y" * 199 + b"\n"
CLIENTS = (1, 8, 32)


@dataclass(slots=True)
class Bench:
    """One round in one directory, which is made and removed.

    ``times``: {row: microseconds for one operation}; ``count`` operations make a row.
    ``settle`` returns when the filesystem does nothing any more, ``cold`` when nothing is cached.
    """

    folder: Path
    count: int
    cold: Callable[[], None]
    settle: Callable[[], None]
    times: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, float]:
        """Every row."""
        self.folder.mkdir()
        try:
            self._make()
            self._read()
            self._change()
            self._sync()
        finally:
            shutil.rmtree(self.folder)
        return self.times

    def _paths(self, kind: str) -> list[str]:
        return [f"{self.folder}/{kind}/{number}.json" for number in range(self.count)]

    def _timed(self, row: str, action: Callable[[], object], count: int = 0) -> None:
        begin = time.perf_counter()
        action()
        self.times[row] = (time.perf_counter() - begin) / (count or self.count) * 1e6

    def _make(self) -> None:
        for kind in ("empty", "small", "first"):
            (self.folder / kind).mkdir()
        self._timed("create", lambda: _each(self._paths("empty"), _create))
        self._timed("create, write 4 KiB", lambda: _each(self._paths("small"), _write(SMALL)))
        _each(self._paths("first"), _write(FIRST))
        self._timed("append 200 B", self._append)

    def _append(self) -> None:
        fd = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            for _ in range(self.count):
                os.write(fd, LINE)
        finally:
            os.close(fd)

    def _read(self) -> None:
        self.settle()
        empty, first = self._paths("empty"), self._paths("first")
        self._timed("stat, known", lambda: _each(empty, os.stat))
        self._timed("open, close, known", lambda: _each(empty, _open))
        for row, paths, action in (
            ("stat", empty, os.stat),
            ("open, close", empty, _open),
            ("read 8 KiB", first, _read),
        ):
            self.cold()
            self._timed(row, lambda paths=paths, action=action: _each(paths, action))  # type: ignore[misc]
        self._timed("read 8 KiB, known", lambda: _each(first, _read))
        self.cold()
        self._timed("ls -f, one of its names", lambda: os.listdir(self.folder / "empty"))  # noqa: PTH208
        self._timed("ls -l, one of its names", self._list_long)

    def _list_long(self) -> None:
        subprocess.run(["ls", "-l", self.folder / "empty"], stdout=subprocess.DEVNULL, check=True)

    def _change(self) -> None:
        empty = self._paths("empty")
        self._timed("chmod", lambda: _each(empty, lambda path: os.chmod(path, 0o600)))  # noqa: PTH101
        self._timed("rename", lambda: _each(empty, lambda path: os.rename(path, f"{path}.")))  # noqa: PTH104
        self._timed("unlink", lambda: _each(empty, lambda path: os.unlink(f"{path}.")))  # noqa: PTH108
        command = ["rm", "-r", str(self.folder / "small")]
        self._timed("rm -r, one of its files", lambda: subprocess.run(command, check=True))

    def _sync(self) -> None:
        """Durable creates of several clients: 4 KiB and fsync each, in a directory each."""
        self.settle()
        for clients in CLIENTS:
            each = max(self.count // 10 // clients, 4)
            folders = [self.folder / f"synced-{clients}-{number}" for number in range(clients)]
            for folder in folders:
                folder.mkdir()
            threads = [
                threading.Thread(target=_create_durably, args=(folder, each)) for folder in folders
            ]
            self._timed(
                f"create 4 KiB, fsync, {clients} at once",
                lambda threads=threads: _together(threads),  # type: ignore[misc]
                each * clients,
            )


def _each(paths: list[str], action: Callable[[str], object]) -> None:
    for path in paths:
        action(path)


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


def _write(content: bytes) -> Callable[[str], None]:
    def write(path: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, content)
        os.close(fd)

    return write


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    while os.read(fd, 1 << 16):
        pass
    os.close(fd)


def _create_durably(folder: Path, count: int) -> None:
    for number in range(count):
        fd = os.open(folder / str(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, SMALL)
        os.fsync(fd)
        os.close(fd)


def _together(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    """``python rows.py FOLDER COUNT``: one round, told on standard output; for profiles."""
    folder, count = sys.argv[1:]
    for row, microseconds in Bench(Path(folder), int(count), os.sync, os.sync).run().items():
        print(f"{row:<36}{microseconds:10.1f} us")


if __name__ == "__main__":
    main()
