"""Dictionaries: training one, and deciding whether new frames should use it."""

import anyio
import anyio.to_thread

from stowkenfs.errors import ActivationRefused, NotFound
from stowkenfs.frames.codec import EncodeChoices, FrameKind
from stowkenfs.frames.dictionary_training import DictionaryTraining, train_dictionary
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.registry import Entry, info_of_dictionary
from stowkenfs.vault.registry_blocks import DictionaryEntry, content_id
from stowkenfs.vault.registry_choices import call_in_worker
from stowkenfs.vault.training.parts import TrainingParts
from stowkenfs.vault.training.references import blocks_bytes, scan_references
from stowkenfs.vault.training.reports import ActivationReport, DictionaryTrainingReport
from stowkenfs.vault.training.sample import Sampler, Samples

SAMPLED_SHARE = 0.2
"""Of the time that training takes."""

_PLAIN = (FrameKind.VARINT, FrameKind.ZSTD)


def find_dictionary(
    samples: Samples, level: int, stored_bytes: int, choices: EncodeChoices | None
) -> DictionaryTraining:
    """A worker's. Deterministic."""
    return train_dictionary(
        samples.segments(), level=level, stored_bytes=stored_bytes, choices=choices
    )


async def train(
    parts: TrainingParts, samples: int, progress: Progress, *, activate: bool
) -> DictionaryTrainingReport:
    """Train a dictionary and store it if it pays, and let new frames use it if asked to.

    Raises OSError.
    """
    total = await blocks_bytes(parts.connection, hot=False)
    sampler = Sampler(parts.catalogue, parts.reader, samples, 1)
    taken = await sampler.take(
        parts.connection,
        parts.frozen,
        lambda share: progress(int(SAMPLED_SHARE * share * total), total),
    )
    _, frames_bytes = _frames(parts, *_PLAIN, FrameKind.DICTIONARY)
    found = await _find(parts, taken, frames_bytes)
    added: Entry | None = None
    if found.dictionary is not None:
        entry = DictionaryEntry(
            found.dictionary.encode(), found.heldout_before, found.heldout_after
        )
        added = await _added(parts, entry)
    reason = "" if added is not None else "no dictionary would make the vault smaller"
    if added is not None and activate:
        try:
            await activate_entry(parts, added, force=False)
        except ActivationRefused as refused:
            reason = str(refused)
    progress(total, total)
    active = parts.registry.active
    return DictionaryTrainingReport(
        info=None if added is None else info_of_dictionary(added, active),
        sampled=found.sample_count,
        heldout_count=found.heldout_count,
        heldout_before=found.heldout_before,
        heldout_after=found.heldout_after,
        stored_bytes=found.stored_bytes,
        total_bytes=found.total_bytes,
        tried=len(found.tried),
        kept=added is not None,
        activated=added is not None and added.number == active,
        reason=reason,
    )


async def _find(parts: TrainingParts, taken: Samples, stored_bytes: int) -> DictionaryTraining:
    choices = await parts.registry.choices()
    args = (taken, parts.level, stored_bytes)
    if parts.workers:
        return await call_in_worker(find_dictionary, *args, choices=choices)
    here = None if choices is None else choices.here
    return await anyio.to_thread.run_sync(find_dictionary, *args, here)


async def _added(parts: TrainingParts, entry: DictionaryEntry) -> Entry:
    """The entry as it is stored now, maybe since long."""
    registry = parts.registry
    before = set(registry.entries(BlockKind.DICTIONARIES))
    added = await registry.add(BlockKind.DICTIONARIES, [entry.encode()])
    if added:
        return added[0]
    name = content_id(entry.dictionary)
    entries = registry.entries(BlockKind.DICTIONARIES)
    return next(entries[number] for number in before if entries[number].id == name)


def _frames(parts: TrainingParts, *kinds: FrameKind) -> tuple[int, int]:
    """How many frames of these kinds are stored, and their bytes."""
    marks = ",".join("?" * len(kinds))
    rows = parts.connection.all(
        f"SELECT frames, bytes FROM frame_kind WHERE kind IN ({marks})",  # noqa: S608
        kinds,
    )
    return sum(count for count, _ in rows), sum(size for _, size in rows)


async def activate(parts: TrainingParts, name: str | None, *, force: bool) -> ActivationReport:
    """Let new frames refer to the dictionary ``name``, an id or its beginning; None for none.

    Raises NotFound, ActivationRefused.
    """
    await parts.registry.load()
    if name is None:
        parts.registry.activate(None)
        return ActivationReport(None)
    entries = parts.registry.entries(BlockKind.DICTIONARIES).values()
    found = [entry for entry in entries if name and entry.id.startswith(name)]
    if len(found) != 1:
        raise NotFound(f"{len(found) or 'no'} dictionaries have an id like {name!r}")
    return await activate_entry(parts, found[0], force=force)


async def activate_entry(parts: TrainingParts, entry: Entry, *, force: bool) -> ActivationReport:
    """Raises ActivationRefused where the vault would become larger, unless forced."""
    frames, frames_bytes = _frames(parts, *_PLAIN)
    saving = round(max(entry.gain, 0) * frames_bytes)
    cost = await _cost(parts, entry)
    is_dear = saving <= cost and entry.number != parts.registry.active and cost > 0
    if is_dear and not force:
        raise ActivationRefused(entry.id, cost, saving, frames, frames_bytes)
    parts.registry.activate(entry.number)
    return ActivationReport(entry.id, cost, saving, frames, frames_bytes, is_dear)


async def _cost(parts: TrainingParts, entry: Entry) -> int:
    """Bytes of the registry that are kept for this dictionary, if nothing refers to it yet."""
    row = parts.connection.one(
        "SELECT frames FROM frame_kind WHERE kind = ?", (FrameKind.DICTIONARY,)
    )
    if row and row[0]:
        found = await scan_references(parts.catalogue, parts.reader)
        if entry.number in found.dictionaries:
            return 0
    return parts.registry.stored_bytes(BlockKind.DICTIONARIES, [entry.number])
