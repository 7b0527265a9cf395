"""Looking for substrings that pay: runs of ids that recur in what is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread

from stowkenfs.frames.codec import EncodeChoices, Segment, encode_frame
from stowkenfs.frames.discovery import discover, saved_by_entry
from stowkenfs.frames.substrings import (
    SUBSTRING_IDS_MIN,
    SubstringMatcher,
    decode_substring,
    encode_substring,
)
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.registry import info_of_substring
from stowkenfs.vault.registry_blocks import SubstringEntry, cut_entries, pack_registry
from stowkenfs.vault.registry_choices import call_in_worker
from stowkenfs.vault.training.parts import TrainingParts
from stowkenfs.vault.training.references import blocks_bytes
from stowkenfs.vault.training.reports import SubstringTraining
from stowkenfs.vault.training.sample import Sampler, Samples

REGISTRY_IDS_MAX = 2 << 20
"""Ids of all substrings of a vault: who encodes keeps some 40 bytes for each."""

SAMPLED_SHARE = 0.2
"""Of the time that training takes."""

_A_TIME_NS = 1 << 60  # as long as any, for blocks that are only measured


_PRUNED_TIMES = 8


@dataclass(frozen=True, slots=True)
class Found:
    """What a sample is worth: entries that pay, and what of it was measured, in bytes.

    ``counted``: samples that are frames that could become smaller, ``sampled_bytes`` of them.
    """

    entries: tuple[bytes, ...]
    candidates: int
    counted: int
    registry_bytes: int
    sampled_bytes: int
    saved_bytes: int


def find_substrings(
    samples: Samples, occurrences_min: int, first: int, level: int, choices: EncodeChoices | None
) -> Found:
    """Runs of ids that recur, and what the frames of ``samples`` save with them.

    ``first``: the number that the first of them gets. A worker's. Deterministic.
    """
    segments = samples.segments()
    known = None if choices is None else choices.substrings
    runs = discover(
        segments, length_min=SUBSTRING_IDS_MIN, occurrences_min=occurrences_min, known=known
    )
    counted = [
        segment for segment, counts in zip(segments, samples.are_frames, strict=True) if counts
    ]
    frames = [_frame(segment, level, choices) for segment in counted]
    entries = [
        SubstringEntry(encode_substring(run.vocabulary, run.tokens), run.occurrences).encode()
        for run in runs
    ]
    best: tuple[int, int, list[bytes]] = 0, 0, []  # bytes saved, bytes of the registry
    for _ in range(_PRUNED_TIMES):
        if not entries:
            break
        saved = _saved(counted, frames, entries, first, level, known)
        size = _stored_bytes(entries)
        if sum(saved) - size > best[0] - best[1]:
            best = round(sum(saved)), size, entries
        # Each is charged with its share of what all of them take.
        each = size / sum(map(len, entries))
        paying = [
            entry for entry, of_it in zip(entries, saved, strict=True) if of_it > each * len(entry)
        ]
        if len(paying) == len(entries):
            break
        entries = paying
    return Found(tuple(best[2]), len(runs), len(counted), best[1], sum(map(len, frames)), best[0])


def _frame(segment: Segment, level: int, choices: EncodeChoices | None) -> bytes:
    return encode_frame(segment.tokens, segment.vocabulary, level=level, choices=choices)


def _saved(
    segments: Sequence[Segment],
    frames: Sequence[bytes],
    entries: Sequence[bytes],
    first: int,
    level: int,
    known: SubstringMatcher | None,
) -> list[float]:
    """By how much ``frames`` become smaller with each of ``entries``."""
    numbered = {
        first + at: decode_substring(SubstringEntry.decode(entry).substring)
        for at, entry in enumerate(entries)
    }
    there = {} if known is None else known.entries
    matcher = SubstringMatcher({**there, **numbered})
    saved = saved_by_entry(frames, segments, matcher, level)
    return [saved.get(number, 0.0) for number in numbered]


def _stored_bytes(entries: Sequence[bytes]) -> int:
    """What the blocks of ``entries`` take."""
    return sum(
        len(pack_registry(BlockKind.SUBSTRINGS, _A_TIME_NS, range(len(some)), some, b"").encoded)
        for some in cut_entries(entries)
    )


async def train(
    parts: TrainingParts, samples: int, occurrences_min: int, progress: Progress
) -> SubstringTraining:
    """Look for substrings and store what pays. Nothing else is written. Raises OSError."""
    total = await blocks_bytes(parts.connection, hot=False)
    sampler = Sampler(parts.catalogue, parts.reader, samples, SUBSTRING_IDS_MIN)
    taken = await sampler.take(
        parts.connection,
        parts.frozen,
        lambda share: progress(int(SAMPLED_SHARE * share * total), total),
    )
    if not taken:
        progress(total, total)
        reason = f"no text of {SUBSTRING_IDS_MIN} tokens or more is stored"
        return SubstringTraining(reason=reason)
    found = await _find(parts, taken, occurrences_min)
    reason = _why_not(parts, found)
    added = []
    if not reason:
        added = await parts.registry.add(BlockKind.SUBSTRINGS, found.entries)
    progress(total, total)
    return SubstringTraining(
        promoted=tuple(info_of_substring(entry) for entry in added),
        candidates=found.candidates,
        sampled=len(taken),
        sampled_bytes=found.sampled_bytes,
        registry_bytes=found.registry_bytes,
        saved_bytes=found.saved_bytes,
        kept=bool(added),
        reason=reason,
    )


def _why_not(parts: TrainingParts, found: Found) -> str:
    if not found.counted:
        return "none of the samples is a frame that could become smaller"
    if not found.entries:
        return "nothing recurs that would make frames smaller"
    ids = sum(entry.length for entry in parts.registry.entries(BlockKind.SUBSTRINGS).values())
    # An id takes a byte at least.
    if ids + sum(map(len, found.entries)) > REGISTRY_IDS_MAX:
        return f"the registry is full: {ids} tokens of at most {REGISTRY_IDS_MAX}"
    return ""


async def _find(parts: TrainingParts, taken: Samples, occurrences_min: int) -> Found:
    choices = await parts.registry.choices()
    first = parts.catalogue.next_number(BlockKind.SUBSTRINGS)
    args = (taken, occurrences_min, first, parts.level)
    if parts.workers:
        return await call_in_worker(find_substrings, *args, choices=choices)
    here = None if choices is None else choices.here
    return await anyio.to_thread.run_sync(find_substrings, *args, here)
