"""A disk that keeps what was synced, and of the rest what chance leaves.

A file's content is durable when the file is synced, a name when its directory is. What else was
done may be on the disk or not when the power goes: each sector of each write, each size, each
name by itself. A rename is one step. Nothing is lost by waiting longer, so states in which the
disk happened to write everything are among them.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.power.recording import Event, Kind

SECTOR = 512
VOLATILE = ("-shm",)
"""Endings of files that a process maps into memory, and makes anew when it finds none."""


@dataclass(frozen=True, slots=True)
class Change:
    """Of a file: ``data`` at ``offset``, or the new length ``offset`` without data."""

    number: int
    offset: int
    data: bytes | None


@dataclass(slots=True)
class File:
    durable: bytes = b""
    pending: list[Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class NameChange:
    """``gone`` has no name any more and ``name`` is the one of ``target``; either may be none."""

    number: int
    gone: str | None
    name: str | None
    target: "File | Directory | None"


@dataclass(slots=True)
class Directory:
    durable: "dict[str, File | Directory]" = field(default_factory=dict)
    pending: list[NameChange] = field(default_factory=list)

    def now(self) -> "dict[str, File | Directory]":
        return _renamed(self.durable, self.pending)


def _renamed(
    names: "dict[str, File | Directory]", changes: Iterable[NameChange]
) -> "dict[str, File | Directory]":
    names = dict(names)
    for change in changes:
        if change.gone is not None:
            names.pop(change.gone, None)
        if change.name is not None and change.target is not None:
            names[change.name] = change.target
    return names


class Disk:
    """``root`` and all below it. ``number`` counts events.

    ``journalled``: all changes of names up to this number are durable on a filesystem that
    writes them in order with any sync, as ext4 does.
    """

    def __init__(self) -> None:
        self.root = Directory()
        self.number = 0
        self.journalled = 0
        self._files: dict[int, File] = {}  # {inode: file}
        self._syncs: dict[int, int] = {}  # {number of a sync: event in which it began}

    @classmethod
    def holding(cls, directory: Path) -> "Disk":
        """A disk on which a directory and all in it is durable."""
        disk = cls()
        disk.root = disk._load(directory)
        return disk

    def _load(self, path: Path) -> Directory:
        directory = Directory()
        for below in path.iterdir():
            if below.is_dir():
                directory.durable[below.name] = self._load(below)
            else:
                file = self._files.setdefault(below.stat().st_ino, File())
                file.durable = below.read_bytes()
                directory.durable[below.name] = file
        return directory

    # What happens

    def apply(self, event: Event) -> None:
        self.number += 1
        match event.kind:
            case Kind.CREATE:
                file = self._files[event.inode] = File()
                self._change_name(event.path, None, file)
            case Kind.WRITE:
                self._change(event.inode, Change(self.number, event.offset, event.data))
            case Kind.TRUNCATE:
                self._change(event.inode, Change(self.number, event.offset, None))
            case Kind.MKDIR:
                self._change_name(event.path, None, Directory())
            case Kind.UNLINK | Kind.RMDIR:
                self._change_name(None, event.path, None)
            case Kind.LINK:
                self._change_name(event.other, None, self._at(event.path))
            case Kind.RENAME:
                self._change_name(event.other, event.path, self._at(event.path))
            case Kind.SYNC_BEGIN:
                self._syncs[event.offset] = self.number
            case Kind.SYNC_END:
                self._synced(event, self._syncs.pop(event.offset))

    def _at(self, path: str) -> File | Directory:
        at: File | Directory = self.root
        for name in filter(None, path.split("/")):
            assert isinstance(at, Directory)
            at = at.now()[name]
        return at

    def _folder(self, path: str) -> Directory:
        at = self._at(path.rpartition("/")[0])
        assert isinstance(at, Directory)
        return at

    def _change(self, inode: int, change: Change) -> None:
        self._files[inode].pending.append(change)

    def _change_name(
        self, name: str | None, gone: str | None, target: File | Directory | None
    ) -> None:
        folder = self._folder(name or gone or "")
        assert not (name and gone) or folder is self._folder(gone), "moved to another directory"
        old, new = (path.rpartition("/")[2] if path else None for path in (gone, name))
        folder.pending.append(NameChange(self.number, old, new, target))

    def _synced(self, event: Event, began: int) -> None:
        """What was done before the sync began is durable; what was done since may be."""
        at = self._files.get(event.inode) or self._at(event.path)
        self.journalled = max(self.journalled, began)
        if isinstance(at, Directory):
            at.durable = _renamed(at.durable, [c for c in at.pending if c.number <= began])
            at.pending = [change for change in at.pending if change.number > began]
        else:
            before = [change for change in at.pending if change.number <= began]
            at.durable = _content(at.durable, before)
            at.pending = [change for change in at.pending if change.number > began]

    # What is left

    def tree(self, chance: "Chance") -> "Remains":
        """What is there when the power goes now."""
        found: Remains = {}
        self._collect("", self.root, chance, found, {})
        return found

    def _collect(
        self,
        path: str,
        directory: Directory,
        chance: "Chance",
        found: "Remains",
        contents: "dict[int, Remaining]",
    ) -> None:
        names = _renamed(directory.durable, chance.names(self, directory.pending))
        for name, target in sorted(names.items()):
            where = f"{path}{name}"
            if isinstance(target, Directory):
                found[where] = None
                self._collect(f"{where}/", target, chance, found, contents)
            elif not name.endswith(VOLATILE):
                if id(target) not in contents:  # one with two names has one content
                    contents[id(target)] = Remaining(chance.content(target, where))
                found[where] = contents[id(target)]


@dataclass(frozen=True, slots=True, eq=False)
class Remaining:
    """A file; one with several names is the same object under each."""

    content: bytes


Remains = dict[str, Remaining | None]
"""``{path: file}``, None for directories, parents first."""


def _content(durable: bytes, changes: Iterable[Change]) -> bytes:
    content = bytearray(durable)
    for change in changes:
        if change.data is None:
            del content[change.offset :]
            content.extend(bytes(change.offset - len(content)))
        else:
            content.extend(bytes(max(change.offset - len(content), 0)))
            content[change.offset : change.offset + len(change.data)] = change.data
    return bytes(content)


Survives = Callable[[int, int], bool]
"""``survives(index of the change, sector)``."""


def _sectors_of(change: Change) -> range:
    assert change.data is not None
    return range(change.offset // SECTOR, -(-(change.offset + len(change.data)) // SECTOR))


def _surviving(file: File, sizes: int, survives: Survives) -> bytes:
    """Content after the first ``sizes`` changes of length, and of data what survives.

    A sector is written as the system has it in memory, so with a change all earlier ones of
    the sector are there. Data beyond the end is lost; where the end is beyond the data, zeros.
    """
    last: dict[int, int] = {}  # {sector: the last change that is there}
    for index, change in enumerate(file.pending):
        if change.data is not None:
            last |= {sector: index for sector in _sectors_of(change) if survives(index, sector)}
    content, size = bytearray(file.durable), len(file.durable)
    now, resized = size, 0  # as the system sees it
    for index, change in enumerate(file.pending):
        before = now
        if change.data is None:
            now = change.offset
        else:
            now = max(now, change.offset + len(change.data))
            _put(content, change, [s for s in _sectors_of(change) if last.get(s, -1) >= index])
        resized += now != before
        if now != before and resized <= sizes:
            size = now
            if change.data is None:
                del content[size:]
    content.extend(bytes(max(size - len(content), 0)))
    return bytes(content[:size])


def _put(content: bytearray, change: Change, sectors: Iterable[int]) -> None:
    assert change.data is not None
    end = change.offset + len(change.data)
    content.extend(bytes(max(end - len(content), 0)))
    for sector in sectors:
        low, high = max(sector * SECTOR, change.offset), min((sector + 1) * SECTOR, end)
        content[low:high] = change.data[low - change.offset : high - change.offset]


class Chance:
    """Decides what of the unsynced survives; the same seed decides the same.

    ``style`` is one of STYLES: the first ones are the extremes, ``mixed`` decides about each
    file anew.
    """

    STYLES = ("nothing", "everything", "names", "data", "sizes", "mixed", "mixed", "journal")

    def __init__(self, style: str, seed: int) -> None:
        self.style = style
        self._random = random.Random(f"{style} {seed}")
        self._last: int | None = None  # change of a name that is on the disk with all before it

    def names(self, disk: Disk, pending: list[NameChange]) -> list[NameChange]:
        """Which changes of a directory's names are left, in their order."""
        style = self.style
        if style in ("nothing", "data", "sizes"):
            return []
        if style in ("everything", "names"):
            return pending
        if style == "journal":  # in order, by the whole disk's
            if self._last is None:
                self._last = self._random.randint(disk.journalled, disk.number)
            return [change for change in pending if change.number <= self._last]
        if self._random.random() < 0.3:
            return pending
        return [change for change in pending if self._random.random() < 0.5]

    def content(self, file: File, path: str) -> bytes:
        """What is left of a file, one of whose names is ``path``."""
        if not file.pending:
            return file.durable
        most = len(file.pending)
        style = self.style
        if style in ("mixed", "journal"):
            style = self._random.choice(
                ["nothing", "everything", "sizes", "writes", "sectors", "torn", "prefix"]
            )
        if style in ("nothing", "names"):
            return file.durable
        if style in ("everything", "data"):
            return _content(file.durable, file.pending)
        if style == "sizes":
            return _surviving(file, self._random.randint(1, most), lambda _index, _sector: False)
        if style == "prefix":
            return _content(file.durable, file.pending[: self._random.randint(0, most)])
        return _surviving(file, self._random.randint(0, most), self._sectors(style, most))

    def _sectors(self, style: str, most: int) -> Survives:
        """By whole writes, by sectors, or whole writes and of one of them the beginning."""
        if style == "sectors":
            seed = self._random.random()
            return lambda index, sector: random.Random(f"{seed} {index} {sector}").random() < 0.5
        written = [self._random.random() < 0.6 for _ in range(most)]
        torn, sectors = self._random.randrange(most), self._random.randrange(8)
        first: dict[int, int] = {}

        def survives(index: int, sector: int) -> bool:
            if style == "torn" and index == torn:
                return sector - first.setdefault(index, sector) < sectors
            return written[index]

        return survives


def write_tree(tree: Remains, directory: Path) -> None:
    """Make ``directory``, holding what ``Disk.tree`` gave."""
    directory.mkdir(parents=True)
    written: dict[int, Path] = {}
    for name, file in tree.items():
        path = directory / name
        if file is None:
            path.mkdir(mode=0o700)
        elif id(file) in written:
            path.hardlink_to(written[id(file)])
        else:
            path.write_bytes(file.content)
            written[id(file)] = path
