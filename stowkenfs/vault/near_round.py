"""New segments of one round as deltas against stored ones, and against each other."""

from collections.abc import Callable, Mapping, Sequence

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codec import Segment, decode_frame, depth_of, encode_delta
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.near_chains import BandChains, Match
from stowkenfs.vault.near_matching import Canonical, Canonicals, Matching
from stowkenfs.vault.near_nested import Nesting
from stowkenfs.vault.reader import Reader

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
        reader: Reader,
        is_leaving: Callable[[int], bool],
        threshold: float | None,
        level: int,
    ) -> None:
        super().__init__(chains, canonicals, threshold)
        self._reader = reader
        self._is_leaving = is_leaving
        self._level = level
        self._frames: dict[int, bytes] = {}  # {number: frame} of those that were noted
        self._resources = _WithNew(reader, self._frames)
        self._new = Canonicals(self._decoded, CACHE_BYTES)  # their numbers may not last
        self._nesting = Nesting(self._frame_of, self.canonical, is_leaving, level)

    def delta(self, frame: bytes, bands: bytes, stored: Sequence[Match]) -> bytes | None:
        """A frame of differences that is smaller than ``frame``, if some segment is alike enough.

        Of kind 0x04 for text, and of 0x07 for bytes.

        ``stored``: what ``look_up`` gave for it.
        """
        candidates = self.candidates(bands, stored)
        if not candidates:
            return None
        segment = decode_frame(frame, self._resources)
        if segment.vocabulary is Vocabulary.BYTES:
            nested = self._nesting.frame(segment, candidates)
            return nested if nested is not None and len(nested) < len(frame) else None
        best = self.most_alike(segment, (one for one in candidates if not self._is_leaving(one)))
        if best is None:
            return None
        number, canonical, _ = best.canonical
        delta = encode_delta(segment, number, canonical, level=self._level)
        return delta if delta is not None and len(delta) < len(frame) else None

    def add(self, number: int, bands: bytes, frame: bytes) -> None:
        """Let a segment that was numbered, and may be a canonical, be found."""
        self.note(number, bands)
        self._frames[number] = frame

    def canonical(self, number: int) -> Canonical | None:
        return self._new.get(number) if number in self._frames else super().canonical(number)

    def _decoded(self, number: int) -> Segment:
        return decode_frame(self._frames[number], self._resources)

    def _frame_of(self, number: int) -> bytes | None:
        return self._frames.get(number) or self._reader.hot_frame(number)


class _WithNew:
    """What frames refer to: what is stored, and the new segments of a round."""

    def __init__(self, reader: Reader, frames: Mapping[int, bytes]) -> None:
        self._reader = reader
        self._frames = frames

    def substring(self, number: int) -> Segment:
        return self._reader.substring(number)

    def dictionary(self, number: int) -> Dictionary:
        return self._reader.dictionary(number)

    def canonical(self, number: int, below: int = 1) -> Segment:
        frame = self._frames.get(number)
        if frame is None:
            return self._reader.canonical(number, below)
        if depth_of(frame) >= below:
            raise FrameCorrupt(f"segment {number} of depth {depth_of(frame)}, not below {below}")
        return decode_frame(frame, self)
