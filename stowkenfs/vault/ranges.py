"""Parts of files on their way to records."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stowkenfs.documents.split import Unit, units_of
from stowkenfs.ids import InodeNo
from stowkenfs.vault.about import HEAD_BYTES, About, about
from stowkenfs.vault.live import LiveFile

WHOLE_BYTES_MAX = 256 << 10
"""A file up to this size is read as a whole, in the loop, which takes less than a thread would."""


@dataclass(slots=True)
class Range:
    """A part of one file on its way to records.

    ``replaces_to``: where existing extents that it touches end; it must reach that far.
    """

    ino: InodeNo
    live: LiveFile
    start: int
    units: list[Unit] = field(default_factory=list)
    about: About | None = None
    replaces_to: int = 0

    @property
    def end(self) -> int:
        return self.start + sum(len(unit.content) for unit in self.units)


def is_short_and_whole(live: LiveFile) -> bool:
    """Whether a file that nobody writes is short, and a draft from its beginning to its end."""
    draft, size = live.draft, live.inode.size
    return (
        draft is not None
        and not live.writers
        and live.inode.nlink > 0
        and 0 < size <= WHOLE_BYTES_MAX
        and draft.end == size
        and draft.next_span(0) == (0, size)
    )


def fill_whole(parts: Sequence[Range], contents: Sequence[bytes]) -> None:
    """Let ``parts`` be the units of files that have ``contents``, one each. Any thread."""
    for part, content in zip(parts, contents, strict=True):
        part.about = about(content[:HEAD_BYTES])
        part.units = units_of(content, part.about.shape)
