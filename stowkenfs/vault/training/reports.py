"""What jobs on the registry found and did. All sizes are in bytes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from stowkenfs.vault.registry import DictionaryInfo, SubstringInfo


@dataclass(frozen=True, slots=True)
class SubstringTraining:
    """What a search for substrings found.

    Attributes:
        promoted: what is in the registry now and was not before.
        candidates: runs that were found, before the saving was measured.
        sampled: segments that were looked at. ``sampled_bytes``: of those of them that are
            frames which may be encoded anew; what is compacted does not become smaller.
        registry_bytes: what the new entries take, as stored.
        saved_bytes: by how much the frames of the sample become smaller with them.
        kept: whether anything was stored.
        reason: why not, for people.

    """

    promoted: Sequence[SubstringInfo] = ()
    candidates: int = 0
    sampled: int = 0
    sampled_bytes: int = 0
    registry_bytes: int = 0
    saved_bytes: int = 0
    kept: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SubstringCompaction:
    """What writing stored frames anew did.

    Attributes:
        segments_examined: segments that are frames, all of them.
        segments_rewritten: those that are smaller frames now.
        bytes_saved: by how much frames became smaller.
        segments_skipped: those that were deltas (0x04) or referred to substrings (0x05).
        stored_bytes_saved: by how much blocks became smaller, as stored.
        registry_bytes: what of the registry is kept for these frames alone.
        kept: whether anything was written.
        reason: why not, for people.
        problems: what could not be read, and stays as it is.

    """

    segments_examined: int = 0
    segments_rewritten: int = 0
    bytes_saved: int = 0
    segments_skipped: int = 0
    stored_bytes_saved: int = 0
    registry_bytes: int = 0
    kept: bool = False
    reason: str = ""
    problems: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SubstringCollection:
    """What letting go of substrings did.

    Attributes:
        registry_size_before, registry_size_after: entries, each counted once.
        substrings_dropped: entries that no frame refers to, and that are gone.
        bytes_freed: by how much blocks of the registry became smaller, as stored.
        problems: what could not be read; nothing was dropped then, for it may refer to anything.

    """

    registry_size_before: int = 0
    registry_size_after: int = 0
    substrings_dropped: int = 0
    bytes_freed: int = 0
    problems: Sequence[str] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ActivationReport:
    """What using a dictionary costs and brings.

    Attributes:
        id: of the dictionary, None for none.
        dictionary_bytes: what is kept for it, as stored; 0 when frames refer to it already.
        estimated_saving: by how much the stored frames would shrink, by the held-out samples.
        frames, frames_bytes: the stored frames that are meant: those that refer to nothing.
        forced: whether it was activated although it costs more than it brings.

    """

    id: str | None
    dictionary_bytes: int = 0
    estimated_saving: int = 0
    frames: int = 0
    frames_bytes: int = 0
    forced: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DictionaryTrainingReport:
    """What training a dictionary found.

    Attributes:
        info: the dictionary, None when nothing was stored.
        sampled: segments that it was trained and judged on.
        heldout_count, heldout_before, heldout_after: those of them that it was judged on, and
            their frames without and with it.
        stored_bytes: the stored frames that were counted with.
        total_bytes: what these would take with the dictionary, its own bytes included.
        tried: dictionaries that were tried.
        kept: whether it was stored.
        activated: whether new frames use it now.
        reason: why it was not stored, or not activated, for people.

    """

    info: DictionaryInfo | None = None
    sampled: int = 0
    heldout_count: int = 0
    heldout_before: int = 0
    heldout_after: int = 0
    stored_bytes: int = 0
    total_bytes: int = 0
    tried: int = 0
    kept: bool = False
    activated: bool = False
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
