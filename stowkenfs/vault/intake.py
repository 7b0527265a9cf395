"""The stream of an import: what its reader finds, in an order that makes placing it simple.

A folder is entered before what is in it and left after that; a file's content comes before
its end; a further name of a file comes after the end of that file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stowkenfs.documents.split import Unit
from stowkenfs.ids import InodeNo
from stowkenfs.vault.about import About
from stowkenfs.vault.live import LiveFile
from stowkenfs.vault.sealer import BATCH_BYTES

BATCH_ITEMS = 256


@dataclass(slots=True, eq=False)
class Source:
    """A file or folder being taken in. The importer fills ``ino``, ``live`` and the rest."""

    parent: "Source | None"
    name: bytes
    path: bytes
    ino: InodeNo | None = None
    live: LiveFile | None = None
    judged: About | None = None
    content_bytes: int = 0
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Attributes:
    """What ``cp -a`` keeps of a file besides its content."""

    mode: int
    uid: int
    gid: int
    rdev: int
    atime_ns: int
    mtime_ns: int
    xattrs: tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Enter:
    folder: Source
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Leave:
    folder: Source
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Content:
    """Consecutive units of a file, at least one."""

    file: Source
    judged: About
    units: Sequence[Unit]


@dataclass(frozen=True, slots=True)
class End:
    """All content of a file has come; ``size`` counts the holes, too."""

    file: Source
    judged: About
    size: int
    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Special:
    """A symbolic link (with a target), fifo, socket or device."""

    source: Source
    attributes: Attributes
    target: bytes | None


@dataclass(frozen=True, slots=True)
class FurtherName:
    source: Source
    first: Source


@dataclass(frozen=True, slots=True)
class Unreadable:
    source: Source
    reason: str


Item = Enter | Leave | Content | End | Special | FurtherName | Unreadable


@dataclass(slots=True)
class Batch:
    """Items in the order of the stream, with content to encode at a time."""

    items: list[Item] = field(default_factory=list)
    content_bytes: int = 0

    def add(self, item: Item) -> None:
        self.items.append(item)
        if isinstance(item, Content):
            self.content_bytes += sum(len(unit.content) for unit in item.units)

    @property
    def is_full(self) -> bool:
        return self.content_bytes >= BATCH_BYTES or len(self.items) >= BATCH_ITEMS
