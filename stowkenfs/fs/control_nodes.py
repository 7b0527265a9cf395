"""The control tree as inodes: numbers, sizes, handles."""

import errno
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyfuse3

from stowkenfs.control.nodes import (
    ControlDirectory,
    ControlFile,
    ControlLink,
    Node,
    Rendered,
    StoredFile,
)
from stowkenfs.errors import (
    BadRequest,
    IsADirectory,
    JobRunning,
    NotADirectory,
    NotFound,
)
from stowkenfs.fs.attributes import BLOCK_BYTES
from stowkenfs.ids import InodeNo

CONTROL_ROOT = 1 << 62
"""Control inodes are numbered from here; the vault's never get that far."""

RENDERED_SECONDS = 1.0
RENDERED_MAX = 64
WRITE_BYTES_MAX = 64 << 10
WRITE_BITS = 0o222


@dataclass(slots=True)
class _Known:
    """A node with a number, which it keeps while the kernel knows it."""

    node: Node
    parent: int
    name: bytes


@dataclass(slots=True)
class _Handle:
    """An open control file or directory: what it showed when it was opened."""

    ino: int
    rendered: Rendered | None = None
    entries: list[tuple[bytes, Node]] = field(default_factory=list)


def _no_entry(ino: InodeNo) -> pyfuse3.EntryAttributes:
    raise NotFound(f"inode {ino} is gone")


class ControlNodes:
    """Requests for inodes from CONTROL_ROOT on. Event loop's thread.

    ``_known`` and ``_numbers`` hold what the kernel has looked up; ``_rendered`` what was
    last shown, so that the size that stat gives is the size of what is read next. ``_acting``
    are the inodes of files that do at the moment what was written to them. ``shown``: files of
    the vault that the kernel knows by names here; ``entry_of`` gives theirs.
    """

    def __init__(self, root: ControlDirectory) -> None:
        self._known: dict[int, _Known] = {CONTROL_ROOT: _Known(root, pyfuse3.ROOT_INODE, b"")}
        self._numbers: dict[tuple[int, bytes], int] = {}
        self._next = CONTROL_ROOT + 1
        self._handles: dict[int, _Handle] = {}
        self._rendered: OrderedDict[int, tuple[float, Rendered]] = OrderedDict()
        self._acting: set[int] = set()
        self.shown: set[int] = set()
        self.entry_of: Callable[[InodeNo], pyfuse3.EntryAttributes] = _no_entry
        self._mounted_ns = time.time_ns()
        self._owner = os.getuid()

    # Finding

    def check_allowed(self, uid: int) -> None:
        """Raise FUSEError unless ``uid`` may look into control files, or have them do something.

        The modes say the same to the kernel; but what follows from a write is not left to
        who checks them. A file that is open may be handed on, as any other.
        """
        if uid not in (0, self._owner):
            raise pyfuse3.FUSEError(errno.EACCES)

    def _node(self, ino: int) -> Node:
        known = self._known.get(ino)
        if known is None:
            raise NotFound(f"control inode {ino} is gone")
        return known.node

    def _file(self, ino: int) -> ControlFile:
        node = self._node(ino)
        if not isinstance(node, ControlFile):
            raise IsADirectory("not a file")
        return node

    async def lookup(self, parent: int, name: bytes) -> pyfuse3.EntryAttributes:
        directory = self._node(parent)
        if not isinstance(directory, ControlDirectory):
            raise NotADirectory("not a directory")
        if name == b".":
            return await self.getattr(parent)
        if name == b"..":
            return await self.getattr(self._known[parent].parent)
        node = await directory.find(name)
        if node is None:
            raise NotFound(f"there is no control file {name!r}")
        if isinstance(node, StoredFile):
            return self._stored(node)
        return await self.getattr(self._number(parent, name, node))

    def _stored(self, file: StoredFile) -> pyfuse3.EntryAttributes:
        """A file of the vault itself, under a name that may stand for another one soon."""
        entry = self.entry_of(file.ino)
        entry.entry_timeout = 0
        entry.st_mode &= ~WRITE_BITS
        self.shown.add(file.ino)
        return entry

    def _number(self, parent: int, name: bytes, node: Node) -> int:
        number = self._numbers.get((parent, name))
        # With writeback the kernel lets whoever opens an inode that is being written wait: they
        # get another one, and with it an answer.
        if number is None or number in self._acting:
            number = self._numbers[parent, name] = self._next
            self._next += 1
        self._known[number] = _Known(node, parent, name)
        return number

    def forget(self, inodes: Sequence[int]) -> None:
        self.shown.difference_update(inodes)
        for ino in inodes:
            if ino != CONTROL_ROOT and (known := self._known.pop(ino, None)) is not None:
                if self._numbers.get((known.parent, known.name)) == ino:
                    del self._numbers[known.parent, known.name]
                self._rendered.pop(ino, None)

    async def getattr(self, ino: int, *, sized: bool = True) -> pyfuse3.EntryAttributes:
        """True sizes, if ``sized``: what a file would show now is made to know its length."""
        node = self._node(ino)
        assert not isinstance(node, StoredFile), "it has a number of its own"
        entry = pyfuse3.EntryAttributes()
        entry.st_ino = ino
        entry.st_nlink = 1
        entry.st_uid, entry.st_gid = self._owner, os.getgid()
        entry.st_blksize = BLOCK_BYTES
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = self._mounted_ns
        if isinstance(node, ControlLink):
            entry.st_mode = stat.S_IFLNK | 0o777
            entry.st_size = len(node.target)
        elif isinstance(node, ControlDirectory):
            entry.st_mode = stat.S_IFDIR | (0o700 if ino == CONTROL_ROOT else 0o500)
            entry.st_nlink = 2
        else:
            entry.st_mode = stat.S_IFREG | (0o600 if node.writable else 0o400)
            entry.st_size = (await self._render(ino)).size if sized else 0
        entry.st_blocks = (entry.st_size + 511) // 512
        # What they show changes by itself; the kernel must ask each time.
        entry.entry_timeout = entry.attr_timeout = 0
        return entry

    async def _render(self, ino: int) -> Rendered:
        kept = self._rendered.get(ino)
        if kept is not None and time.monotonic() - kept[0] < RENDERED_SECONDS:
            return kept[1]
        file = self._file(ino)
        rendered = await file.render()
        if not file.is_kept:
            return rendered
        self._rendered[ino] = (time.monotonic(), rendered)
        self._rendered.move_to_end(ino)
        while len(self._rendered) > RENDERED_MAX:
            self._rendered.popitem(last=False)
        return rendered

    def readlink(self, ino: int) -> bytes:
        node = self._node(ino)
        if not isinstance(node, ControlLink):
            raise BadRequest("not a link")
        return node.target

    # Files

    async def open(self, handle: int, ino: int, flags: int) -> None:
        node = self._file(ino)
        if flags & os.O_ACCMODE != os.O_RDONLY:
            # Here, and not only in write: the kernel lets a second writer of the same file wait.
            with self._refusal_kept(node):
                node.check_writable()
        rendered = None if flags & os.O_ACCMODE == os.O_WRONLY else await self._render(ino)
        self._handles[handle] = _Handle(ino, rendered)

    def read(self, handle: int, offset_bytes: int, length_bytes: int) -> bytes:
        rendered = self._handles[handle].rendered
        return b"" if rendered is None else rendered.read(offset_bytes, length_bytes)

    async def write(self, handle: int, content: bytes) -> int:
        """Do what was written; returns when it is done, or raises why it was not."""
        ino = self._handles[handle].ino
        node = self._file(ino)
        if len(content) > WRITE_BYTES_MAX:
            raise BadRequest(f"at most {WRITE_BYTES_MAX} bytes are read here")
        self._acting.add(ino)
        try:
            with self._refusal_kept(node):
                await node.act(content)
        finally:
            self._acting.discard(ino)
        return len(content)

    @contextmanager
    def _refusal_kept(self, node: ControlFile) -> Iterator[None]:
        """While inside, ``node`` is asked for something; if it refuses, it shows why."""
        node.refusal = None
        try:
            yield
        except (BadRequest, JobRunning) as error:
            node.refusal = str(error)
            raise
        finally:
            self._rendered.clear()  # others may tell of it as well

    def release(self, handle: int) -> None:
        self._handles.pop(handle, None)

    # Directories

    async def opendir(self, handle: int, ino: int) -> None:
        directory = self._node(ino)
        if not isinstance(directory, ControlDirectory):
            raise NotADirectory("not a directory")
        entries = [entry async for entry in directory.names()]
        self._handles[handle] = _Handle(ino, entries=entries)

    async def readdir(self, handle: int, start: int, token: pyfuse3.ReaddirToken) -> list[int]:
        """Reply entries behind position ``start``; the inodes that the kernel was told of."""
        opened = self._handles[handle]
        told = []
        for at, (name, node) in enumerate(opened.entries[start:], start + 1):
            try:
                entry = await self._listed(opened.ino, name, node)
            except NotFound:  # it went meanwhile
                continue
            if not pyfuse3.readdir_reply(token, name, entry, at):
                break
            told.append(entry.st_ino)
        return told

    async def _listed(self, parent: int, name: bytes, node: Node) -> pyfuse3.EntryAttributes:
        if isinstance(node, StoredFile):
            return self._stored(node)
        # Listing shows no sizes; who wants one asks again, since nothing told here is kept.
        return await self.getattr(self._number(parent, name, node), sized=False)

    def holds(self, handle: int) -> bool:
        return handle in self._handles
