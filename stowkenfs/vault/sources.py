"""Trees on disk as a stream of batches for the importer. Everything here blocks."""

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from itertools import islice
from pathlib import Path

from stowkenfs.documents.split import Splitter, may_be_grid, units_of
from stowkenfs.vault.about import HEAD_BYTES, About, about
from stowkenfs.vault.intake import (
    Attributes,
    Batch,
    Content,
    End,
    Enter,
    FurtherName,
    Item,
    Leave,
    Source,
    Special,
    Unreadable,
)
from stowkenfs.vault.sealer import WINDOW_BYTES
from stowkenfs.vault.transfer import reason_of

NAMES_AT_ONCE = 10_000
"""Names of a directory are sorted in slices of so many, so that it may be of any size."""

DISK_BLOCK_BYTES = 512

_COMPUTED = "user.stowken."
"""Attributes that a mount makes up: a tree copied from one shows them."""


def read_batches(sources: Sequence[Path], root: Source, excluded: Path | None) -> Iterator[Batch]:
    """All of ``sources``, each below ``root`` under its own name; not the tree ``excluded``."""
    reader = _Reader(excluded)
    batch = Batch()
    for source in sources:
        for item in reader.tree(root, os.fsencode(source)):
            batch.add(item)
            if batch.is_full:
                yield batch
                batch = Batch()
    if batch.items:
        yield batch


class _Reader:
    """Owns ``_linked``: files with names still to come, and how many.

    It grows with the number of files that have several names, as that of ``cp -a`` does.
    """

    def __init__(self, excluded: Path | None) -> None:
        self._excluded = _identity(excluded.stat()) if excluded else None
        self._linked: dict[tuple[int, int], tuple[Source, int]] = {}

    def tree(self, root: Source, path: bytes) -> Iterator[Item]:
        """The items of one source; a deep tree does not recurse."""
        name = os.path.basename(os.path.abspath(path))  # noqa: PTH100, PTH119 - bytes
        top = Source(root, name, path)
        if not name:
            yield Unreadable(top, "it has no name to be stored under")
            return
        levels: list[tuple[Leave | None, Iterator[Source | Unreadable]]] = [(None, iter([top]))]
        while levels:
            leave, children = levels[-1]
            for child in children:
                if isinstance(child, Unreadable):
                    yield child
                    continue
                entered = yield from self._entry(child)
                if entered is not None:
                    levels.append((Leave(child, entered), _children(child)))
                    break
            else:
                levels.pop()
                if leave is not None:
                    yield leave

    def _entry(self, source: Source) -> Generator[Item, None, Attributes | None]:
        """What stands for one name; its attributes if it is a folder to go into."""
        try:
            status = os.lstat(source.path)
            if stat.S_ISDIR(status.st_mode):
                if _identity(status) == self._excluded:
                    yield Unreadable(source, "this is the vault itself")
                    return None
                attributes = _attributes(status, source.path)
                yield Enter(source, attributes)
                return attributes
            first = self._first_of(source, status)
            if first is not None:
                yield FurtherName(source, first)
            elif stat.S_ISREG(status.st_mode):
                yield from _file(source)
            else:
                yield Special(source, _attributes(status, source.path), _target(source, status))
        except OSError as error:
            yield Unreadable(source, reason_of(error))
        return None

    def _first_of(self, source: Source, status: os.stat_result) -> Source | None:
        """The source under which this file came already."""
        if status.st_nlink < 2:
            return None
        identity = _identity(status)
        first, left = self._linked.pop(identity, (source, status.st_nlink))
        if left > 1:
            self._linked[identity] = (first, left - 1)
        return None if first is source else first


def _target(source: Source, status: os.stat_result) -> bytes | None:
    if stat.S_ISLNK(status.st_mode):
        return os.readlink(source.path)  # noqa: PTH115 - bytes
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _children(folder: Source) -> Iterator[Source | Unreadable]:
    """What is in a folder, by name; at the end its failure, if there is one."""
    try:
        with os.scandir(folder.path) as entries:
            names = (entry.name for entry in entries)
            while some := sorted(islice(names, NAMES_AT_ONCE)):
                for name in some:
                    yield Source(folder, name, os.path.join(folder.path, name))  # noqa: PTH118
    except OSError as error:
        yield Unreadable(folder, reason_of(error))


def _attributes(status: os.stat_result, path: bytes | int) -> Attributes:
    return Attributes(
        status.st_mode, status.st_uid, status.st_gid, status.st_rdev,
        status.st_atime_ns, status.st_mtime_ns, _xattrs(path),
    )  # fmt: skip


def _xattrs(path: bytes | int) -> tuple[tuple[bytes, bytes], ...]:
    """Names and values of the user's attributes; none where there cannot be any."""
    follow = isinstance(path, int)
    try:
        return tuple(
            (os.fsencode(name), os.getxattr(path, name, follow_symlinks=follow))
            for name in os.listxattr(path, follow_symlinks=follow)
            if name.startswith("user.") and not name.startswith(_COMPUTED)
        )
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM):
            return ()
        raise


def _file(source: Source) -> Iterator[Item]:
    """Content and end of a regular file: as much as is there while it is read."""
    # Not following and not blocking: it may have become a link or a fifo since it was listed.
    fd = os.open(source.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            yield Unreadable(source, "it is not a regular file any more")
            return
        attributes = _attributes(status, fd)
        head = os.pread(fd, HEAD_BYTES, 0)
        judged = about(head)
        is_sparse = status.st_blocks * DISK_BLOCK_BYTES < status.st_size
        size = status.st_size if is_sparse else 0
        if not is_sparse and may_be_grid(head, status.st_size):
            yield from _whole(source, fd, judged, status.st_size, attributes)
            return
        for start, end in _data_ranges(fd, status.st_size) if is_sparse else [(0, None)]:
            size = max(size, (yield from _range(source, fd, judged, start, end)))
    finally:
        os.close(fd)
    yield End(source, judged, size, attributes)


def _whole(
    source: Source, fd: int, judged: About, size: int, attributes: Attributes
) -> Iterator[Item]:
    """A file that is short enough to be held, and its end."""
    content = b""
    while len(content) < size and (piece := os.pread(fd, size - len(content), len(content))):
        content += piece
    yield Content(source, judged, units_of(content, judged.shape))
    yield End(source, judged, len(content), attributes)


def _data_ranges(fd: int, size: int) -> Iterator[tuple[int, int | None]]:
    """``(start, end)`` of what is not a hole."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
            end = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # nothing but a hole is left
            start, end = at, size
        yield start, end
        at = end


def _range(
    source: Source, fd: int, judged: About, start: int, end: int | None
) -> Generator[Item, None, int]:
    """Content from ``start`` to ``end`` or the end of the file; where it ended."""
    splitter = Splitter(judged.shape, start)
    at = start
    while True:
        wanted = WINDOW_BYTES if end is None else min(WINDOW_BYTES, end - at)
        window = os.pread(fd, wanted, at)
        at += len(window)
        is_last = not window or at == end
        units = splitter.feed(window, is_last)
        if units:
            yield Content(source, judged, units)
        if is_last:
            return at
