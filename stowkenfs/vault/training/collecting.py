"""Letting go of what of the registry no frame refers to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from stowkenfs.store.block import BlockKind
from stowkenfs.vault.progress import Progress
from stowkenfs.vault.training.parts import TrainingParts
from stowkenfs.vault.training.references import (
    RegistryReferences,
    blocks_bytes,
    scan_references,
)


@dataclass(slots=True)
class RegistryCollection:
    """What a collection found. ``before``, ``dropped``: entries, by kind.

    ``candidates``: entries that nothing refers to and that are not in use, ``candidate_bytes`` of
    them as stored, by kind. ``freed_bytes``: by how much blocks became smaller. ``problems``: what
    could not be read, and may refer to anything; nothing is dropped then.
    """

    before: dict[BlockKind, int] = field(default_factory=dict)
    candidates: dict[BlockKind, int] = field(default_factory=dict)
    candidate_bytes: dict[BlockKind, int] = field(default_factory=dict)
    dropped: dict[BlockKind, int] = field(default_factory=dict)
    freed_bytes: dict[BlockKind, int] = field(default_factory=dict)
    problems: Sequence[str] = ()


async def collect_registry(
    parts: TrainingParts, kinds: Sequence[BlockKind], progress: Progress, *, dry_run: bool = False
) -> RegistryCollection:
    """Drop the entries of ``kinds`` that no stored frame refers to, but the active dictionary.

    ``dry_run``: only look. Cancelling leaves all that is referred to. Raises OSError.
    """
    registry, report = parts.registry, RegistryCollection()
    await registry.load()
    report.before = {kind: len(registry.entries(kind)) for kind in kinds}
    since = parts.catalogue.next_number(BlockKind.SEGMENTS)
    total = await blocks_bytes(parts.connection, hot=True)
    found = await scan_references(
        parts.catalogue, parts.reader, progress=lambda done: progress(min(done, total), total)
    )
    report.problems = tuple(found.problems)
    unused = {kind: _unused(parts, kind, found) for kind in kinds}
    report.candidates = {kind: len(numbers) for kind, numbers in unused.items()}
    report.candidate_bytes = {
        kind: registry.stored_bytes(kind, numbers) for kind, numbers in unused.items()
    }
    report.dropped = dict.fromkeys(kinds, 0)
    report.freed_bytes = dict.fromkeys(kinds, 0)
    if found.unread or dry_run or not any(unused.values()):
        return report
    registry.withdraw(unused.get(BlockKind.SUBSTRINGS, ()))
    try:
        await parts.drain()
        # What was on its way until then refers to what there was when it was encoded.
        late = await scan_references(parts.catalogue, parts.reader, since=since)
        for kind, numbers in unused.items():
            gone = set() if late.unread else numbers - late.numbers(kind)
            report.freed_bytes[kind] = await registry.drop(kind, gone)
            report.dropped[kind] = report.before[kind] - len(registry.entries(kind))
        report.problems = (*report.problems, *late.problems)
    finally:
        registry.withdraw(())
    return report


def _unused(parts: TrainingParts, kind: BlockKind, found: RegistryReferences) -> set[int]:
    numbers = set(parts.registry.entries(kind)) - found.numbers(kind)
    if kind is BlockKind.DICTIONARIES:
        numbers.discard(-1 if parts.registry.active is None else parts.registry.active)
    return numbers
