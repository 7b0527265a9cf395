"""What retention removed, or would. Pure data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stowkenfs.ids import InodeNo
from stowkenfs.vault.retention.policy import Stated, Unknown

OLDEST_MAX = 5
"""Names that are told of what goes first."""

PROBLEMS_MAX = 100


@dataclass(slots=True)
class FolderReport:
    """One folder with a policy.

    ``files`` were removed, or would be: names, as a file may have several. ``size_bytes`` are
    those of files that have no other name. ``oldest`` are paths of some of them, the
    oldest first. ``waiting`` would go but for being open, or not sealed yet.
    """

    ino: InodeNo
    path: bytes
    policy: Stated
    files: int = 0
    size_bytes: int = 0
    waiting: int = 0
    oldest: list[bytes] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def fail(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)

    def to_dict(self) -> dict[str, Any]:
        """For programs; bytes of paths that are no UTF-8 are lone surrogates."""
        return {
            "folder": _text(self.path),
            "policy": self.policy.words(),
            "files": self.files,
            "bytes": self.size_bytes,
            "waiting": self.waiting,
            "oldest": [_text(path) for path in self.oldest],
            "problems": self.problems,
        }

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "FolderReport":
        """Inverse of ``to_dict``, but for the inode and what a policy means."""
        return cls(
            ino=InodeNo(0),
            path=_bytes(told["folder"]),
            policy=Unknown(told["policy"]),
            files=told["files"],
            size_bytes=told["bytes"],
            waiting=told["waiting"],
            oldest=[_bytes(path) for path in told["oldest"]],
            problems=list(told["problems"]),
        )


@dataclass(frozen=True, slots=True)
class RetentionReport:
    """All folders with policies, in the order of their paths.

    ``dry_run``: nothing was removed, and counts are of what would be now.
    """

    folders: Sequence[FolderReport]
    dry_run: bool

    @property
    def files(self) -> int:
        return sum(folder.files for folder in self.folders)

    @property
    def size_bytes(self) -> int:
        return sum(folder.size_bytes for folder in self.folders)

    @property
    def problems(self) -> list[str]:
        return [problem for folder in self.folders for problem in folder.problems]

    def to_dict(self) -> dict[str, Any]:
        return {
            "dry_run": self.dry_run,
            "files": self.files,
            "bytes": self.size_bytes,
            "folders": [folder.to_dict() for folder in self.folders],
        }


def _bytes(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
