"""How many ids segments have, without looking at the ids."""

import numpy as np
import numpy.typing as npt

from stowkenfs.frames.codec import decode_frame, frame_symbols
from stowkenfs.frames.ranks import TERMINATOR, ranks_of_joined
from stowkenfs.frames.resources import FrameResources
from stowkenfs.ids import Vocabulary

_GOES_ON = bytes(range(0x80, 0x100))
"""Bytes of a varint behind which more of it comes."""


def frame_length(frame: bytes, resources: FrameResources | None) -> tuple[Vocabulary, int]:
    """Vocabulary and number of ids of a frame. Raises FrameCorrupt as ``decode_frame`` does."""
    found = frame_symbols(frame)
    if found is None:
        segment = decode_frame(frame, resources)
        return segment.vocabulary, len(segment.tokens)
    vocabulary, symbols = found
    if vocabulary is Vocabulary.BYTES:
        return vocabulary, len(symbols)
    return vocabulary, len(symbols.translate(None, _GOES_ON))


def ranked_lengths(contents: list[bytes]) -> npt.NDArray[np.int64]:
    """The number of ids of each ranked segment, int64, shape (n,). Raises FrameCorrupt."""
    if not contents:
        return np.zeros(0, np.int64)
    _, ends = ranks_of_joined(TERMINATOR.join([*contents, b""]))
    bounds = np.append(np.int64(-1), ends.astype(np.int64))
    return bounds[1:] - bounds[:-1] - 1
