"""What stands under ``.stowken/``: files that act, links, directories. Nothing of FUSE."""

import os
import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol

from stowkenfs.errors import NotPermitted
from stowkenfs.ids import InodeNo


class Rendered(Protocol):
    """The content of a control file at one moment."""

    @property
    def size(self) -> int: ...

    def read(self, offset_bytes: int, length_bytes: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class RenderedBytes:
    """Content that fits in memory."""

    content: bytes

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return self.content[offset_bytes : offset_bytes + length_bytes]


class RenderedLive:
    """Content that grows while it is open: ``tail -f`` follows it."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    def _content(self) -> bytes:
        return self._text().encode("utf-8", "backslashreplace")

    @property
    def size(self) -> int:
        return len(self._content())

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return self._content()[offset_bytes : offset_bytes + length_bytes]


class RenderedFile:
    """Content of any length, in a temporary file that goes with the object."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="stowkenfs-")  # noqa: SIM115
        self._size = 0

    @property
    def size(self) -> int:
        return self._size

    def append(self, content: bytes) -> None:
        self._file.write(content)
        self._size += len(content)

    def finish(self) -> "RenderedFile":
        self._file.flush()
        return self

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return os.pread(self._file.fileno(), length_bytes, offset_bytes)


class ControlFile(ABC):
    """A file of which reading shows something and writing, if ``writable``, does something."""

    writable = False

    is_kept = True
    """Whether what it shows is good for a moment; if not, it is asked each time, and knows."""

    refusal: str | None = None
    """Why the last request was refused, for ``render`` to show; None when it was not."""

    @abstractmethod
    async def render(self) -> Rendered:
        """The content now."""

    def check_writable(self) -> None:
        """Raise NotPermitted or JobError for what cannot be written at the moment."""
        if not self.writable:
            raise NotPermitted("this control file is only to be read")

    async def act(self, written: bytes) -> None:
        """Do what was asked, and return when it is done. Raises JobError."""
        raise NotPermitted("this control file is only to be read")


@dataclass(frozen=True, slots=True)
class ControlLink:
    """A symbolic link."""

    target: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of the vault, to be read as such, and changed by nobody."""

    ino: InodeNo


class ControlDirectory(ABC):
    """Names and what they stand for."""

    @abstractmethod
    async def find(self, name: bytes) -> "Node | None":
        """What ``name`` stands for, or None."""

    @abstractmethod
    def names(self) -> AsyncIterator[tuple[bytes, "Node"]]:
        """Every name with what it stands for."""


Node = ControlFile | ControlLink | ControlDirectory | StoredFile


class TextFile(ControlFile):
    """A control file that only shows ``text()``."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    async def render(self) -> Rendered:
        return RenderedBytes(self._text().encode("utf-8", "backslashreplace"))


class GrowingFile(ControlFile):
    """A control file to which ``text()`` adds while it is open."""

    def __init__(self, text: Callable[[], str]) -> None:
        self._text = text

    async def render(self) -> Rendered:
        return RenderedLive(self._text)


class StaticDirectory(ControlDirectory):
    """A directory whose entries are known from the start."""

    def __init__(self, nodes: Mapping[bytes, Node]) -> None:
        self._nodes = nodes

    async def find(self, name: bytes) -> Node | None:
        return self._nodes.get(name)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        for entry in self._nodes.items():
            yield entry
