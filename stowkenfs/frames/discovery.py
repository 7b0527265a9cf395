"""Which runs of ids the registry of substrings should have, by the bytes that they save.

What recurs is found by ``recurring``, with an estimate of what it saves. Then the sample is
encoded with all that was found, and what did not pay is dropped.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from stowkenfs.frames.codec import DELTA_KINDS, LEVEL_QUICK, encode_frame
from stowkenfs.frames.kinds import FRAME_HEADER_BYTES, FrameKind
from stowkenfs.frames.recurring import Run, Sample
from stowkenfs.frames.resources import EncodeChoices
from stowkenfs.frames.segment import Segment, symbols_of
from stowkenfs.frames.substrings import Substring, SubstringMatcher, encode_substring
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress

SAMPLE_IDS_MAX = 4 << 20
"""What of longer samples is looked at: their first segments. Takes 300 to 400 MB of memory."""

ENTRIES_MAX = 4096
"""Runs that are promoted, at most, of each vocabulary."""

# Runs that do not pay before the search ends: more frequent ones have been tried before.
_FAILED_MAX = 1024

# A step of edits to an entry, and the changed ids around it that are no longer compressed.
_COPY_BYTES = 4
# Size of an entry in its column, and what the catalogue has of it.
_ENTRY_BYTES = 2
_ESTIMATE_LEVEL = 3
_PRUNED_TIMES = 3


def discover(
    segments: Sequence[Segment],
    *,
    length_min: int = 16,
    occurrences_min: int = 5,
    known: SubstringMatcher | None = None,
) -> list[Substring]:
    """Runs worth an entry each: ``length_min`` ids or more, ``occurrences_min`` times or more.

    Of occurrences in one segment that overlap, one counts. What ``known`` has needs no entry.
    The same segments in the same order give the same list, in the order of the vocabularies
    and of where they occur first. Looks at SAMPLE_IDS_MAX ids. Raises Unstorable for segments
    that no frame can hold.
    """
    found: list[Substring] = []
    for some in _by_vocabulary(segments):
        runs = _promising(some, max(occurrences_min, 2), known)
        runs = [run for run in runs if len(run.tokens) >= length_min]
        found += _paying(some, runs, known)
    return found


def saved_bytes(
    frames: Iterable[bytes],
    segments: Iterable[Segment],
    matcher: SubstringMatcher,
    level: int = LEVEL_QUICK,
) -> int:
    """By how much ``frames``, which hold ``segments``, shrink where 0x05 is smaller.

    Exact for frames that are rewritten at ``level``; those of 0x04, 0x05 and 0x07 stay as they are.
    """
    saved = 0
    for frame, segment in zip(frames, segments, strict=True):
        if frame[0] not in (*DELTA_KINDS, FrameKind.SUBSTRINGS):
            body = matcher.body(segment, level)
            if body is not None:
                saved += max(0, len(frame) - FRAME_HEADER_BYTES - len(body))
    return saved


def _by_vocabulary(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """The segments that are looked at; those of no ids say nothing."""
    groups: dict[Vocabulary, list[Segment]] = defaultdict(list)
    total = 0
    for segment in segments:
        if total + len(segment.tokens) > SAMPLE_IDS_MAX:
            continue
        total += len(segment.tokens)
        if len(segment.tokens):
            groups[segment.vocabulary].append(segment)
    for vocabulary in sorted(groups):
        yield groups[vocabulary]


def _promising(
    segments: Sequence[Segment], occurrences_min: int, known: SubstringMatcher | None
) -> list[Substring]:
    """Runs that pay by estimate, in the order of their places."""
    vocabulary = segments[0].vocabulary
    sample = Sample([segment.tokens for segment in segments], occurrences_min)
    if known is not None:
        _cover_known(sample, segments, known)
    id_bytes = np.array([_id_bytes(segment) for segment in segments])
    promising: list[Run] = []
    failed = 0
    for run in sample.runs():
        saved = id_bytes[sample.segment_of[run.covered]].sum() - run.copies * _COPY_BYTES
        ids = sample.tokens[run.start : run.end]
        if saved > _entry_bytes(vocabulary, ids):
            promising.append(run)
            sample.cover(run.covered)
        else:
            sample.give_up(run)
            failed += 1
        if failed == _FAILED_MAX or len(promising) == ENTRIES_MAX:
            break
    promising.sort(key=lambda run: run.start)
    return [
        Substring(vocabulary, _read_only(sample.tokens[run.start : run.end]), run.occurrences)
        for run in promising
    ]


def _cover_known(sample: Sample, segments: Sequence[Segment], known: SubstringMatcher) -> None:
    starts = sample.ends - [len(segment.tokens) for segment in segments]
    for start, segment in zip(starts.tolist(), segments, strict=True):
        for copy in known.copies(segment):
            sample.cover(np.arange(start + copy.at, start + copy.at + copy.length))


def _id_bytes(segment: Segment) -> float:
    """What an id of ``segment`` takes in a frame now, about."""
    return _packed_bytes(symbols_of(segment)) / len(segment.tokens)


def _packed_bytes(symbols: bytes) -> int:
    return min(len(symbols), len(compress(symbols, _ESTIMATE_LEVEL)))


def _entry_bytes(vocabulary: Vocabulary, ids: TokenArray) -> int:
    return _packed_bytes(encode_substring(vocabulary, ids)) + _ENTRY_BYTES


def _paying(
    segments: Sequence[Segment], candidates: Sequence[Substring], known: SubstringMatcher | None
) -> list[Substring]:
    """Those of ``candidates`` that save more than they take, where all frames are encoded."""
    if not candidates:
        return []
    vocabulary = segments[0].vocabulary
    choices = EncodeChoices(known)
    frames = [encode_frame(s.tokens, vocabulary, choices=choices) for s in segments]
    entries = {} if known is None else dict(known.entries)
    first = max(entries, default=-1) + 1
    left = dict(enumerate(candidates, first))
    for _ in range(_PRUNED_TIMES):
        new = {number: Segment(vocabulary, some.tokens) for number, some in left.items()}
        saved = saved_by_entry(frames, segments, SubstringMatcher(entries | new))
        paying = {
            number: some
            for number, some in left.items()
            if saved.get(number, 0)
            > _packed_bytes(encode_substring(vocabulary, some.tokens)) + _ENTRY_BYTES
        }
        if len(paying) == len(left):
            break
        left = paying
    return list(left.values())


def saved_by_entry(
    frames: Iterable[bytes],
    segments: Iterable[Segment],
    matcher: SubstringMatcher,
    level: int = LEVEL_QUICK,
) -> Mapping[int, float]:
    """{number: bytes}: what ``frames``, which hold ``segments``, save where 0x05 is smaller.

    Shared out by the ids that each frame copies from each entry.
    """
    saved: dict[int, float] = defaultdict(float)
    for frame, segment in zip(frames, segments, strict=True):
        copies = matcher.copies(segment)
        body = matcher.encode(segment, copies, level) if copies else None
        if body is None or len(body) >= len(frame) - FRAME_HEADER_BYTES:
            continue
        each = (len(frame) - FRAME_HEADER_BYTES - len(body)) / sum(c.length for c in copies)
        for copy in copies:
            saved[copy.source] += each * copy.length
    return saved


def _read_only(ids: TokenArray) -> TokenArray:
    """A copy, which does not keep the sample."""
    found = ids.copy()
    found.flags.writeable = False
    return found
