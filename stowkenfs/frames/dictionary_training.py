"""Training a dictionary: which size pays, judged on segments that it was not trained on.

Every HELDOUT_EACH-th sample is held out. Dictionaries of several sizes are trained on the
others, and each is charged for its registry entry and for what all stored frames would take
if they shrank as those of the held-out samples do. The cheapest is the best; none is best
when that is what no dictionary costs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard

from stowkenfs import minimal_zstd
from stowkenfs.frames.codebook import CODED_IDS, Codebook, Counts
from stowkenfs.frames.codec import encode_referring
from stowkenfs.frames.dictionary import DICTIONARY_LEVEL, Dictionary
from stowkenfs.frames.kinds import FRAME_HEADER_BYTES, ZSTD_SYMBOLS_BYTES_MIN
from stowkenfs.frames.resources import EncodeChoices
from stowkenfs.frames.segment import Segment, symbols_of
from stowkenfs.ids import Vocabulary
from stowkenfs.varint import append_varint

SAMPLES_MIN = 8
"""With fewer samples, none of them empty, nothing is trained."""

HELDOUT_EACH = 4

TRAINING_IDS_MAX = 1 << 22
"""Samples beyond so many ids in all are left out: some 20 s, and 90 MB for a moment."""

LONG_IDS = 1 << 16
"""Samples of more ids are not trained on, and count as frames that a dictionary leaves as long."""

SIZES_BYTES = (0, *(1 << power for power in range(11, 19)))
"""Lengths of zstd dictionaries that are tried, 0 for a codebook alone."""

CODEBOOK_IDS = (160, 2000)
"""Lengths of orders that are tried beside the whole ones, with the best size only."""

# Of zstd's cover algorithm: length of the pieces that a dictionary is made of, and of the
# strings whose frequency decides. On public conversations no search for better ones gained 1 %.
_PIECE_BYTES = 256
_STRING_BYTES = 6

_NUMBER_BYTES = 1  # of a dictionary in a body, as long as there are less than 32
_LONG_LEVEL = 3


@dataclass(frozen=True, slots=True)
class DictionaryTrial:
    """One dictionary that was tried; sizes in bytes."""

    trained_bytes: int
    """Length of its zstd dictionary."""
    codebook_ids: int
    """Ids that have a rank, in all vocabularies."""
    size_bytes: int
    """Its registry entry."""
    heldout_after: int
    """The frames of the held-out samples, each in the smaller of its old and its new form."""
    total_bytes: int
    """What decides: ``size_bytes``, and all stored frames if they shrink as these do."""


@dataclass(frozen=True, slots=True)
class DictionaryTraining:
    """What training found; sizes in bytes."""

    dictionary: Dictionary | None
    """The best one; None when none is better than no dictionary."""
    sample_count: int
    """Samples that were used, held-out ones among them."""
    heldout_count: int
    heldout_before: int
    """The smallest frame of each held-out sample without it, most often 0x01 or 0x02."""
    heldout_after: int
    """The same frames with ``dictionary``; ``heldout_before`` without one."""
    stored_bytes: int
    """What the stored frames take today: what ``heldout_before`` stands for."""
    total_bytes: int
    """What they would take with ``dictionary``, its registry entry included."""
    tried: tuple[DictionaryTrial, ...]
    """In the order in which they were tried; empty for too few samples."""


def train_dictionary(
    segments: Sequence[Segment],
    *,
    level: int = DICTIONARY_LEVEL,
    stored_bytes: int | None = None,
    choices: EncodeChoices | None = None,
) -> DictionaryTraining:
    """The dictionary that makes ``stored_bytes`` of frames smallest, itself included.

    ``segments`` are samples of those frames, spread over them; without ``stored_bytes`` they
    are all that there is. ``choices``: what frames may refer to today, a dictionary before this
    one among it, which this one has to better. Deterministic for one zstd release and one order
    of the samples. ``level`` is that of 0x02 frames. Takes a second or two for 1 MB of text, up
    to half a minute, in steps that do not all release the GIL: for a worker.
    """
    samples = _Samples(segments, level, choices)
    before = sum(samples.frames_bytes) + samples.long_bytes
    scale = samples.ids / max(1, samples.heldout_ids)
    if stored_bytes is not None and before:
        scale = stored_bytes / before
    stored = round(scale * before)
    trials = list(_trials(samples, scale)) if samples.count >= SAMPLES_MIN else []
    best = min(trials, key=lambda found: found[1].total_bytes, default=None)
    pays = best is not None and best[1].total_bytes < stored
    return DictionaryTraining(
        dictionary=best[0] if best is not None and pays else None,
        sample_count=samples.count,
        heldout_count=samples.heldout_count,
        heldout_before=before,
        heldout_after=best[1].heldout_after if best is not None and pays else before,
        stored_bytes=stored,
        total_bytes=best[1].total_bytes if best is not None and pays else stored,
        tried=tuple(trial for _, trial in trials),
    )


class _Samples:
    """The samples, divided."""

    def __init__(
        self, segments: Sequence[Segment], level: int, choices: EncodeChoices | None
    ) -> None:
        self.training: list[Segment] = []
        self.heldout: list[Segment] = []
        self.frames_bytes: list[int] = []  # of each in ``heldout``
        self.long_bytes = 0  # frames of held-out samples that are too long to be tried
        self.count = self.heldout_count = 0
        self.ids = self.heldout_ids = 0
        for segment in segments:
            ids = len(segment.tokens)
            if not ids or int(segment.tokens.max()) >= CODED_IDS:
                continue
            if self.ids + min(ids, LONG_IDS) > TRAINING_IDS_MAX:
                break
            self.count += 1
            self.ids += min(ids, LONG_IDS)
            if self.count % HELDOUT_EACH == 0:
                self._hold_out(segment, level, choices)
            elif ids <= LONG_IDS:
                self.training.append(segment)

    def _hold_out(self, segment: Segment, level: int, choices: EncodeChoices | None) -> None:
        self.heldout_count += 1
        self.heldout_ids += min(len(segment.tokens), LONG_IDS)
        if len(segment.tokens) > LONG_IDS:
            self.long_bytes += baseline_bytes(segment, _LONG_LEVEL)
        else:
            self.heldout.append(segment)
            before = baseline_bytes(segment, level)
            if choices is not None:
                other = encode_referring(segment, choices, level=level)
                before = before if other is None else min(before, len(other))
            self.frames_bytes.append(before)


def baseline_bytes(segment: Segment, level: int) -> int:
    """Length of the smaller of its 0x01 and 0x02 frame. Raises Unstorable as ``symbols_of``."""
    symbols = symbols_of(segment)
    shortest = len(symbols)
    if shortest >= ZSTD_SYMBOLS_BYTES_MIN:
        length = bytearray()
        append_varint(length, len(symbols))
        shortest = min(shortest, len(length) + len(minimal_zstd.compress(symbols, level)))
    return FRAME_HEADER_BYTES + shortest


def _trials(samples: _Samples, scale: float) -> Iterator[tuple[Dictionary, DictionaryTrial]]:
    whole = Codebook.build(_counts(samples.training))
    found = []
    for size_bytes in SIZES_BYTES:
        trial = _trial(samples, whole, size_bytes, scale)
        if trial is not None:
            found.append((trial[1].total_bytes, size_bytes))
            yield trial
    if not found:
        return
    _, best_bytes = min(found)
    ids_max = max((len(order) for order in whole.orders.values()), default=0)
    for ids in CODEBOOK_IDS:
        if ids < ids_max:
            trial = _trial(samples, _cut(whole, ids), best_bytes, scale)
            if trial is not None:
                yield trial


def _trial(
    samples: _Samples, codebook: Codebook, size_bytes: int, scale: float
) -> tuple[Dictionary, DictionaryTrial] | None:
    """None where the samples do not suffice for a zstd dictionary of that size."""
    trained = _trained(samples.training, codebook, size_bytes)
    if trained is None:
        return None
    dictionary = Dictionary(codebook, trained, len(samples.training))
    after = samples.long_bytes
    for segment, before in zip(samples.heldout, samples.frames_bytes, strict=True):
        packed = dictionary.compress(segment)
        after += before
        if packed is not None:
            after -= max(0, before - FRAME_HEADER_BYTES - _NUMBER_BYTES - len(packed[1]))
    ids = sum(len(order) for order in codebook.orders.values())
    size = dictionary.size_bytes
    total = size + round(scale * after)
    return dictionary, DictionaryTrial(len(trained), ids, size, after, total)


def _trained(segments: list[Segment], codebook: Codebook, size_bytes: int) -> bytes | None:
    if not size_bytes:
        return b""
    alone = Dictionary(codebook, b"", 0)
    samples: list[bytes | bytearray | memoryview] = []
    samples += filter(None, map(alone.codes, segments))
    if 2 * size_bytes > sum(map(len, samples)):
        return None
    try:
        return zstandard.train_dictionary(
            size_bytes, samples, k=_PIECE_BYTES, d=_STRING_BYTES, level=DICTIONARY_LEVEL
        ).as_bytes()
    except zstandard.ZstdError:  # too few, or all too short
        return None


def _counts(segments: list[Segment]) -> dict[Vocabulary, Counts]:
    tokens = {
        vocabulary: [one.tokens for one in segments if one.vocabulary is vocabulary]
        for vocabulary in Vocabulary
    }
    return {
        vocabulary: np.bincount(np.concatenate(some)) for vocabulary, some in tokens.items() if some
    }


def _cut(codebook: Codebook, ids: int) -> Codebook:
    return Codebook({vocabulary: order[:ids] for vocabulary, order in codebook.orders.items()})
