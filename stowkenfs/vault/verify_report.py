"""What verifying found."""

from dataclasses import asdict, dataclass, field
from typing import Any

DAMAGES_MAX = 10_000
"""A report this long says enough; further ones are counted, not listed."""


@dataclass(frozen=True, slots=True)
class DamagedRange:
    """Bytes ``start`` to ``end`` of a file that cannot be read."""

    path: str
    start: int
    end: int


@dataclass(slots=True)
class VerifyReport:
    """What ``verify`` found. ``problems`` say where in the packs, ``files`` what is lost.

    ``unused_blocks`` of ``unused_bytes`` are in packs beside the others, and nothing needs them.
    """

    blocks: int = 0
    records: int = 0
    segments: int = 0
    stored_bytes: int = 0
    unused_blocks: int = 0
    unused_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    files: list[DamagedRange] = field(default_factory=list)
    omitted: int = 0

    @property
    def clean(self) -> bool:
        return not self.problems and not self.files

    def to_dict(self) -> dict[str, Any]:
        return {"clean": self.clean, **asdict(self)}

    def add(self, problem: str) -> None:
        if len(self.problems) < DAMAGES_MAX:
            self.problems.append(problem)
        else:
            self.omitted += 1
