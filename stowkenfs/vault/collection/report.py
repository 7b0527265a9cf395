"""What a collection found and did."""

from dataclasses import asdict, dataclass, field
from typing import Any

from stowkenfs.store.block import BlockKind

KIND_NAMES = {
    BlockKind.RECORDS: "records",
    BlockKind.SEGMENTS: "segments",
    BlockKind.TEMPLATES: "templates",
    BlockKind.CODEBOOKS: "codebooks",
    BlockKind.SUBSTRINGS: "substrings",
    BlockKind.DICTIONARIES: "dictionaries",
}
"""What can go, and what a report calls it."""

PROBLEMS_MAX = 100
"""Named in a report, and in the log."""


@dataclass(frozen=True, slots=True)
class KindCount:
    """Things of a kind: how many, and about how many stored bytes are theirs.

    What a thing takes of a block that it shares is an estimate: the same for each of them.
    """

    count: int = 0
    bytes: int = 0

    def __add__(self, other: "KindCount") -> "KindCount":
        return KindCount(self.count + other.count, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class GcReport:
    """What ``gc`` found and did. Sizes in bytes.

    Attributes:
        dry_run: whether it only looked.
        candidates: by kind (``records``, ``segments``, ``templates``, ``codebooks``,
            ``substrings``, ``dictionaries``): what nothing refers to and a run takes away.
        freed: by kind: what this run took away, with what its blocks became smaller by.
        estimated_bytes: by how much blocks become smaller if all candidates go.
        stored_bytes_before, stored_bytes_after: all blocks of such things, with their headers.
        pinned_bytes: of blocks that others are compressed against and that have to stay for
            them: what nothing refers to. What this in turn refers to stays as well, uncounted.
        waiting_bytes: of other blocks: what nothing refers to, and is too little for now.
        blocks_rewritten, blocks_dropped: of which something, or all, went.
        packs_removed: packs that went after the rest of them was copied.
        problems: what could not be read, and what stays for its sake; at most PROBLEMS_MAX.

    """

    dry_run: bool = False
    candidates: dict[str, KindCount] = field(default_factory=dict)
    freed: dict[str, KindCount] = field(default_factory=dict)
    estimated_bytes: int = 0
    stored_bytes_before: int = 0
    stored_bytes_after: int = 0
    pinned_bytes: int = 0
    waiting_bytes: int = 0
    blocks_rewritten: int = 0
    blocks_dropped: int = 0
    packs_removed: int = 0
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def nothing_of_each() -> dict[str, KindCount]:
    """No things of any kind."""
    return dict.fromkeys(KIND_NAMES.values(), KindCount())
