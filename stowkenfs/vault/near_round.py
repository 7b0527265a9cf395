"""New segments of one round as deltas against stored ones, and against each other."""

from collections.abc import Callable, Sequence

from stowkenfs.frames.codec import Segment, decode_frame, encode_delta
from stowkenfs.frames.resources import FrameResources
from stowkenfs.vault.near_chains import BandChains, Match
from stowkenfs.vault.near_matching import Canonical, Canonicals, Matching

CACHE_BYTES = 4 << 20
"""Of new segments that others were compared with, decoded."""


class NearRound(Matching):
    """The new segments of one round. One thread's at a time.

    ``numbers`` and ``bands``: those that are canonical from now on.
    """

    def __init__(
        self,
        chains: BandChains,
        canonicals: Canonicals,
        resources: FrameResources,
        is_leaving: Callable[[int], bool],
        threshold: float,
        level: int,
    ) -> None:
        super().__init__(chains, canonicals, threshold)
        self._resources = resources
        self._is_leaving = is_leaving
        self._level = level
        self._frames: dict[int, bytes] = {}  # {number: frame} of those that were noted
        self._new = Canonicals(self._decoded, CACHE_BYTES)  # their numbers may not last

    def delta(self, frame: bytes, bands: bytes, stored: Sequence[Match]) -> bytes | None:
        """A 0x04 frame that is smaller than ``frame``, if some segment is alike enough.

        ``stored``: what ``look_up`` gave for it.
        """
        candidates = self.candidates(bands, stored)
        if not candidates:
            return None
        segment = decode_frame(frame, self._resources)
        best = self.most_alike(segment, (one for one in candidates if not self._is_leaving(one)))
        if best is None:
            return None
        number, canonical, _ = best.canonical
        delta = encode_delta(segment, number, canonical, level=self._level)
        return delta if delta is not None and len(delta) < len(frame) else None

    def add(self, number: int, bands: bytes, frame: bytes) -> None:
        """Let a segment that was numbered, and is no delta, be found."""
        self.note(number, bands)
        self._frames[number] = frame

    def canonical(self, number: int) -> Canonical | None:
        return self._new.get(number) if number in self._frames else super().canonical(number)

    def _decoded(self, number: int) -> Segment:
        return decode_frame(self._frames[number], self._resources)
