"""Where the bytes of a vault are, as it is told. Loads nothing: commands ask a mount for it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stowkenfs.vault.stats_report import VaultStats


@dataclass(frozen=True, slots=True)
class FolderBytes:
    """A folder with all below it: ``bytes_in`` in its files, ``stored_bytes`` for them."""

    name: str
    files: int
    bytes_in: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Folders:
    """What is stored for the content of each folder. All sizes are in bytes.

    A block is divided among its files by how much of its content each has, so that small
    neighbours blur; a text or template that several records share counts at the block whose
    records brought it.

    Attributes:
        top: path of the directory whose folders these are: the first that has more than
            one entry.
        folders: the largest first; files of ``top`` itself are those of the folder ``.``.
        more: how many folders the row ``others`` stands for, which is None if it is 0.
        unattributed_bytes: stored content of no folder in particular: what nothing refers to any
            more, and what no record is known to have brought.
        damaged: files and directories that could not be looked at.

    """

    top: str
    folders: Sequence[FolderBytes]
    more: int
    others: FolderBytes | None
    unattributed_bytes: int
    damaged: int = 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Folders":
        """What ``to_dict`` told."""
        folders = [FolderBytes(**folder) for folder in told["folders"]]
        others = told["others"] and FolderBytes(**told["others"])
        return cls(**dict(told) | {"folders": folders, "others": others})


@dataclass(frozen=True, slots=True)
class Where:
    """Where the bytes are: by kind in ``stats``, and by folder."""

    stats: VaultStats
    folders: Folders

    def to_dict(self) -> dict[str, Any]:
        return self.stats.to_dict() | {"where": self.folders.to_dict()}

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> "Where":
        """What ``to_dict`` told."""
        return cls(VaultStats.from_dict(told), Folders.from_dict(told["where"]))
