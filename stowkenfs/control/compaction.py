"""Compaction as people ask for it, and the report that they get."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from stowkenfs.control.format import format_count, format_problems, format_size
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values
from stowkenfs.control.words import whole

if TYPE_CHECKING:
    from stowkenfs.vault.compaction.compactor import CompactReport
    from stowkenfs.vault.vault import Vault

LEVELS = (1, 22)
"""Of zstd."""


def found_nothing(report: "CompactReport") -> bool:
    """Whether there was nothing to do."""
    return not any(
        (report.documents, report.postponed, report.records, report.segments,
         report.templates, report.blocks_merged, report.inodes_frozen, report.problems)
    )  # fmt: skip


def format_compaction(done: "Outcome[CompactReport]", report: "CompactReport") -> str:
    """What a compaction did, in a few sentences."""
    disk = done.disk
    assert disk is not None, "it is measured"
    now = format_size(disk.bytes_after)
    if found_nothing(report):
        return (
            f"There was nothing to do: all is compacted. {now} on disk, ratio {disk.ratio:.2f}.\n"
        )
    content = report.content_bytes
    speed = f", {format_size(round(content / done.seconds))}/s" if content and done.seconds else ""
    lines = [
        f"Compacted {format_count(report.documents, 'file')} with {format_size(content)} in "
        f"{done.seconds:.1f} s{speed}.",
        f"{format_size(disk.bytes_before)} on disk before, {now} now: ratio {disk.ratio:.2f}.",
    ]
    if report.postponed:
        verb = "is" if report.postponed == 1 else "are"
        lines.append(
            f"{format_count(report.postponed, 'file')} changed meanwhile and {verb} left for "
            "the next time."
        )
    return "".join(f"{line}\n" for line in lines) + format_problems(report.problems)


async def _compact(vault: "Vault", values: Values, progress: Progress) -> "CompactReport":
    # Here, since a command that has a mount do it needs nothing of it.
    from stowkenfs.vault.compaction.batch import CompactOptions  # noqa: PLC0415

    options = CompactOptions(threads=max(vault.config.workers, 1))
    if values["level"] is not None:
        options = replace(options, level=values["level"])
    return await vault.compact(options, progress)


def _fields(report: "CompactReport | None") -> dict[str, Any]:
    if report is None:
        return {"nothing_to_do": False, "report": None}
    return {"nothing_to_do": found_nothing(report), "report": report.to_dict()}


COMPACT: "JobKind[CompactReport]" = JobKind(
    file="compact",
    title="compact",
    words=(whole("level", "effort of the compressor", *LEVELS, None, "a zstd level"),),
    run=_compact,
    told=format_compaction,
    left="What was compacted until then is kept, and the next run goes on from there.",
    damage=lambda report: (
        "compact met problems; the report names them" if report.problems else None
    ),
    fields=_fields,
)
