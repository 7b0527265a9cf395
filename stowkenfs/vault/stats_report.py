"""What a vault holds and takes up, as it is told. Loads nothing: commands ask a mount for it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class KindBytes:
    """What one kind of thing takes up on the disk. All sizes are in bytes.

    Attributes:
        kind: ``segments`` (texts, bytes), ``values`` (what records keep themselves), ``templates``,
            ``registry`` (what others refer to: codebooks, substrings, dictionaries), ``keys`` (of
            what is compacted), ``names``, ``inodes`` and ``recipes`` (which records files consist
            of; what they share of their blocks is an estimate), ``index`` (the database, with all
            that is not compacted yet of the last four), ``drafts``, ``slack`` (the rest: unused
            ends of disk blocks, and what nothing in the packs refers to any more).
        stored_bytes: on the disk; negative for ``slack`` where the disk itself compresses.
        hot_bytes: of these, those that compaction has not rewritten yet.
        raw_bytes: before blocks were compressed; 0 where nothing is.

    """

    kind: str
    stored_bytes: int
    hot_bytes: int = 0
    raw_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VaultStats:
    """Totals of a vault. All sizes are in bytes.

    Attributes:
        documents: files.
        conversations: files that are JSON or JSON lines, as far as they are sealed.
        segments, records, templates: stored things, each counted once.
        frames: ``{"0x01": {"frames": n, "bytes": n}, ...}`` by kind, of segments that are not
            compacted yet.
        bytes_in: length of all files.
        sealed_bytes: how much of that is held as records.
        storage_bytes: blocks of segments, records and templates.
        disk_bytes: everything in the vault's directory, in disk blocks; 0 in memory.
        drafts: files with unsealed bytes.
        ratio: bytes_in by disk_bytes (by storage_bytes in memory).
        dense_segments, dense_bytes: segments that are compacted, and their blocks.
        kinds: where the bytes are, the largest first; their sum is disk_bytes.

    """

    documents: int
    conversations: int
    segments: int
    records: int
    templates: int
    frames: dict[str, dict[str, int]]
    bytes_in: int
    sealed_bytes: int
    storage_bytes: int
    disk_bytes: int
    drafts: int
    ratio: float = field(default=0.0)
    dense_segments: int = 0
    dense_bytes: int = 0
    kinds: Sequence[KindBytes] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, numbers: Mapping[str, Any]) -> "VaultStats":
        """What ``to_dict`` told, perhaps that of another release."""
        known = {one.name: numbers[one.name] for one in fields(cls) if one.name in numbers}
        kinds = [KindBytes(**kind) for kind in numbers.get("kinds", ())]
        return cls(**known | {"kinds": kinds})
