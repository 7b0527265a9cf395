"""What rebuilding an index found, and could not find."""

from dataclasses import asdict, dataclass, field
from typing import Any

LISTED_MAX = 10_000
"""A report this long says enough; further entries are counted, not listed."""


@dataclass(frozen=True, slots=True)
class DamagedBytes:
    """Bytes ``start`` to ``end`` of a pack that are no block; ``lost``: what was there."""

    pack: int
    start: int
    end: int
    lost: str


@dataclass(slots=True)
class ReindexReport:
    """What was read from the packs, and what differed or was lost. Sizes in bytes.

    Attributes:
        blocks: whole blocks in packs; ``stored_bytes`` is their length.
        unused_blocks: those of them that nothing leads to, which the index does not list.
        cut_bytes: what interrupted commits left at the ends of packs.
        inodes, names: the tree; ``frozen_groups`` is how many groups of it stayed groups.
        conversations: ids that files give themselves.
        damages: ranges of packs that do not check out.
        problems: what is missing because of them, and what could not be decoded.
        files: paths whose content is not all there; reading what is missing fails.
        recovered: files under ``/lost+found``: drafts that nothing named any more, and files
            whose name was lost.
        kept_drafts: drafts that stayed what they were, since the old index told of them.
        differences: on a vault in use, what packs told otherwise than the index; told again.
        omitted: entries that are not listed because there are too many.

    """

    blocks: int = 0
    unused_blocks: int = 0
    stored_bytes: int = 0
    cut_bytes: int = 0
    inodes: int = 0
    names: int = 0
    frozen_groups: int = 0
    conversations: int = 0
    kept_drafts: int = 0
    damages: list[DamagedBytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    recovered: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)
    omitted: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether all of the packs could be read, as far as anybody can tell."""
        return not (self.damages or self.problems)

    @property
    def clean(self) -> bool:
        """Whether nothing is missing; an interrupted commit is no damage."""
        return not (self.damages or self.problems or self.files)

    def to_dict(self) -> dict[str, Any]:
        return {"clean": self.clean, **asdict(self)}

    def add(self, where: list[Any], entry: object) -> None:
        """Put ``entry`` into one of the lists, or count it if that is full."""
        if len(where) < LISTED_MAX:
            where.append(entry)
        else:
            self.omitted += 1
