"""Whoever does a workload: does one thing after the other, and says in the log what is promised."""

import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.vault.conversation import Conversation, Message, render_conversation
from stowkenfs.vault.vault import Vault
from tests.power.recording import Marks


class Place(Protocol):
    """Files by path; what is open for writing stays so until ``close``."""

    def mkdir(self, path: str) -> None: ...
    def create(self, path: str) -> None: ...
    def write(self, path: str, start: int, data: bytes) -> None: ...
    def truncate(self, path: str, size: int) -> None: ...
    def rename(self, path: str, other: str) -> None: ...
    def link(self, path: str, other: str) -> None: ...
    def symlink(self, target: str, path: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def close(self, path: str) -> None: ...
    def close_all(self) -> None: ...
    async def fsync(self, path: str) -> None: ...
    async def fsync_folder(self, path: str) -> None: ...


class Actor:
    """Changes a place, and notes each change before it begins and what is promised after it."""

    def __init__(self, place: Place, marks: Marks) -> None:
        self.place = place
        self.marks = marks

    def _begin(self, operation: str, *arguments: Any) -> None:
        told = [[a.decode("latin-1")] if isinstance(a, bytes) else a for a in arguments]
        self.marks.note("begin", operation=operation, arguments=told)

    def _do(self, operation: str, *arguments: Any) -> None:
        self._begin(operation, *arguments)
        getattr(self.place, operation)(*arguments)
        self.marks.note("done")

    def mkdir(self, path: str) -> None:
        self._do("mkdir", path)

    def create(self, path: str) -> None:
        self._do("create", path)

    def write(self, path: str, start: int, data: bytes) -> None:
        self._do("write", path, start, data)

    def truncate(self, path: str, size: int) -> None:
        self._do("truncate", path, size)

    def rename(self, path: str, other: str) -> None:
        self._do("rename", path, other)

    def link(self, path: str, other: str) -> None:
        self._do("link", path, other)

    def symlink(self, target: str, path: str) -> None:
        self._do("symlink", target, path)

    def unlink(self, path: str) -> None:
        self._do("unlink", path)

    async def fsync(self, path: str) -> None:
        """Content of a file, and all names: one log has them in their order."""
        self._begin("nothing")
        await self.place.fsync(path)
        self.marks.note("done", names=True, content=path)

    async def fsync_folder(self, path: str) -> None:
        self._begin("nothing")
        await self.place.fsync_folder(path)
        self.marks.note("done", names=True)

    def closed(self) -> None:
        """The vault was closed, or unmounted: all is promised."""
        self.marks.note("done", names=True, content="*")

    async def store(self, vault: Vault, name: str, text: str) -> None:
        """A conversation; ``store`` returns when it is durable."""
        messages = [Message("user", text), Message("assistant", f"So be it: {text[:200]}")]
        conversation = Conversation(id=name, messages=messages)
        path = f"{name}.json"
        self._begin("put", path, render_conversation(conversation))
        await vault.store(conversation)
        self.marks.note("done", names=True, content=path)

    async def delete(self, vault: Vault, name: str) -> None:
        self._begin("unlink", f"{name}.json")
        await vault.delete(name)
        self.marks.note("done", names=True)

    async def job(self, job: Callable[[], Awaitable[Any]]) -> None:
        """Something that changes no file."""
        self._begin("nothing")
        await job()
        self.marks.note("done")


class InVault:
    """As the request handlers of a mount use a vault."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._open: dict[str, InodeNo] = {}

    def _split(self, path: str) -> tuple[InodeNo, bytes]:
        parent, _, name = os.fsencode(path).rpartition(b"/")
        return self._vault.tree.resolve(parent).ino, name

    def _make(self, path: str, mode: int, target: bytes | None = None) -> None:
        self._vault.tree.create(*self._split(path), mode, 0, 0, target=target)

    def mkdir(self, path: str) -> None:
        self._make(path, stat.S_IFDIR | 0o755)

    def create(self, path: str) -> None:
        self._make(path, stat.S_IFREG | 0o644)
        self._use(path)

    def symlink(self, target: str, path: str) -> None:
        self._make(path, stat.S_IFLNK | 0o777, target.encode())

    def _use(self, path: str) -> InodeNo:
        ino = self._vault.tree.resolve(os.fsencode(path)).ino
        if ino not in self._open.values():
            self._vault.files.acquire(ino, writing=True)
            self._open[path] = ino
        return ino

    def write(self, path: str, start: int, data: bytes) -> None:
        self._vault.files.write(self._use(path), start, data)

    def truncate(self, path: str, size: int) -> None:
        self._vault.tree.set_attributes(self._use(path), size=size)

    def rename(self, path: str, other: str) -> None:
        self._vault.tree.rename(*self._split(path), *self._split(other))
        if path in self._open:
            self._open[other] = self._open.pop(path)

    def link(self, path: str, other: str) -> None:
        ino = self._vault.tree.resolve(os.fsencode(path)).ino
        self._vault.tree.link(ino, *self._split(other))

    def unlink(self, path: str) -> None:
        self._vault.tree.unlink(*self._split(path))

    def close(self, path: str) -> None:
        self._vault.files.release(self._open.pop(path), writing=True)

    def close_all(self) -> None:
        for path in list(self._open):
            self.close(path)

    async def fsync(self, path: str) -> None:
        await self._vault.sync_file(self._use(path))

    async def fsync_folder(self, path: str) -> None:
        ino = self._vault.tree.resolve(os.fsencode(path)).ino if path else ROOT_INODE
        assert stat.S_ISDIR(self._vault.tree.inode(ino).mode)
        await self._vault.sync()


class InMount:
    """As a program uses a mount."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: dict[str, int] = {}

    def mkdir(self, path: str) -> None:
        (self._root / path).mkdir()

    def create(self, path: str) -> None:
        self._open[path] = os.open(self._root / path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)

    def _use(self, path: str) -> int:
        if path not in self._open:
            self._open[path] = os.open(self._root / path, os.O_RDWR)
        return self._open[path]

    def write(self, path: str, start: int, data: bytes) -> None:
        assert os.pwrite(self._use(path), data, start) == len(data)

    def truncate(self, path: str, size: int) -> None:
        os.ftruncate(self._use(path), size)

    def rename(self, path: str, other: str) -> None:
        (self._root / path).rename(self._root / other)
        if path in self._open:
            self._open[other] = self._open.pop(path)

    def link(self, path: str, other: str) -> None:
        os.link(self._root / path, self._root / other)

    def symlink(self, target: str, path: str) -> None:
        (self._root / path).symlink_to(target)

    def unlink(self, path: str) -> None:
        (self._root / path).unlink()

    def close(self, path: str) -> None:
        os.close(self._open.pop(path))

    def close_all(self) -> None:
        for path in list(self._open):
            self.close(path)

    async def fsync(self, path: str) -> None:
        os.fsync(self._use(path))

    async def fsync_folder(self, path: str) -> None:
        fd = os.open(self._root / path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
