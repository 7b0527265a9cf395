"""Collection as people ask for it, and the report that they get."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stowkenfs.control.format import aligned, format_count, format_problems, format_size
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values
from stowkenfs.control.words import yes_or_no

if TYPE_CHECKING:
    from stowkenfs.vault.collection.report import GcReport, KindCount
    from stowkenfs.vault.vault import Vault


def format_collection(done: "Outcome[GcReport]", report: "GcReport") -> str:
    """What a collection freed, or would, in a few sentences and by kind."""
    disk = done.disk
    assert disk is not None, "it is measured"
    before, now = format_size(disk.bytes_before), format_size(disk.bytes_after)
    counts = report.candidates if report.dry_run else report.freed
    if not (report.packs_removed or any(one.count for one in counts.values())):
        first = f"There was nothing to do: all that can be dropped is gone. {now} on disk."
    elif report.dry_run:
        first = (
            f"Nothing was dropped. A collection would free about "
            f"{format_size(report.estimated_bytes)} of {now} on disk."
        )
    else:
        first = f"{before} on disk before, {now} now; it took {done.seconds:.1f} s."
    lines = [first]
    if report.packs_removed:
        lines.append(f"{format_count(report.packs_removed, 'pack')} removed.")
    if report.waiting_bytes:
        lines.append(
            f"{format_size(report.waiting_bytes)} that nothing refers to stay in their blocks "
            "until rewriting those pays."
        )
    if report.pinned_bytes:
        lines.append(
            f"{format_size(report.pinned_bytes)} that nothing refers to stay for the sake of "
            "blocks that are compressed against them."
        )
    text = "".join(f"{line}\n" for line in lines)
    return text + _by_kind(counts) + format_problems(report.problems)


def _by_kind(counts: "Mapping[str, KindCount]") -> str:
    rows = [
        (f"  {kind}", f"{one.count:,}", format_size(one.bytes))
        for kind, one in counts.items()
        if one.count
    ]
    return aligned(rows) if rows else ""


async def _gc(vault: "Vault", values: Values, progress: Progress) -> "GcReport":
    return await vault.gc(progress=progress, **values)


GC: "JobKind[GcReport]" = JobKind(
    file="gc",
    title="gc",
    words=(yes_or_no("dry-run", "whether it only says what it would do"),),
    run=_gc,
    told=format_collection,
    left="What was freed until then is free, and the next run goes on from there.",
    damage=lambda report: "gc met problems; the report names them" if report.problems else None,
)
