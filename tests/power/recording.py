"""What a process did to the files below one directory, and what was promised meanwhile.

``shim.c`` logs the calls of a process; whoever makes promises appends marks to the same log.
"""

import atexit
import enum
import functools
import json
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_HEAD = struct.Struct("<IIQqIIQ")
_MAGIC = 0x52574F50
SOURCE = Path(__file__).with_name("shim.c")


class Kind(enum.IntEnum):
    MARK = 0
    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    RENAME = 4
    UNLINK = 5
    LINK = 6
    MKDIR = 7
    RMDIR = 8
    SYNC_BEGIN = 9
    SYNC_END = 10
    UNKNOWN = 11


@dataclass(frozen=True, slots=True)
class Event:
    """One call. Paths are relative to the recorded directory.

    ``inode``: the file's, of the real filesystem. ``offset``: where a write goes, the length
    that a file is cut to, or the number that the two events of a sync have in common.
    """

    kind: Kind
    inode: int
    offset: int
    path: str
    other: str
    data: bytes

    @property
    def mark(self) -> dict[str, Any]:
        marked: dict[str, Any] = json.loads(self.data)
        return marked


class Marks:
    """Says in the log of a recording what a workload is about to do, and what it has done."""

    def __init__(self, log: Path) -> None:
        self._fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, what: str, **fields: Any) -> None:
        data = json.dumps({"what": what, **fields}).encode()
        head = _HEAD.pack(_MAGIC, Kind.MARK, 0, 0, 0, 0, len(data))
        assert os.write(self._fd, head + data) == len(head) + len(data)

    def close(self) -> None:
        os.close(self._fd)


@functools.cache
def _library() -> Path:
    """The shim, compiled once for each run of the tests."""
    directory = tempfile.mkdtemp(prefix="power-shim-")
    atexit.register(shutil.rmtree, directory)
    path = Path(directory, "shim.so")
    command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(path), str(SOURCE), "-ldl", "-pthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return path


def skip_without_compiler() -> None:
    """Skip the test where processes cannot be recorded."""
    if shutil.which("gcc") is None:
        pytest.skip("power cuts are simulated from a recording, which takes gcc (package gcc)")


def recorded(root: Path, log: Path) -> dict[str, str]:
    """The environment in which a process is recorded."""
    return {"LD_PRELOAD": str(_library()), "POWER_ROOT": str(root), "POWER_LOG": str(log)}


def read_events(root: Path, log: Path) -> list[Event]:
    """All of a log; fails on calls that are not understood."""
    events = list(_parse(str(root), log.read_bytes()))
    strange = [event for event in events if event.kind is Kind.UNKNOWN]
    assert not strange, f"calls that shim.c does not know: {strange}"
    return events


def _parse(root: str, log: bytes) -> Iterator[Event]:
    at = 0
    while at < len(log):
        magic, kind, inode, offset, *lengths = _HEAD.unpack_from(log, at)
        assert magic == _MAGIC
        at += _HEAD.size
        parts = []
        for length in lengths:
            parts.append(log[at : at + length])
            at += length
        names = [os.fsdecode(part).removeprefix(root).lstrip("/") for part in parts[:2]]
        yield Event(Kind(kind), inode, offset, names[0], names[1], parts[2])
