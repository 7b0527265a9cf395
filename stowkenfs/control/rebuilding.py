"""Rebuilding the index as people ask for it, and the report that they get."""

from typing import TYPE_CHECKING

from stowkenfs.control.format import format_count, format_problems, format_size, printable
from stowkenfs.control.kinds import JobKind, Outcome, Progress, Values

if TYPE_CHECKING:
    from stowkenfs.vault.reindex.report import ReindexReport
    from stowkenfs.vault.vault import Vault

LINES_MAX = 100
"""Of each kind, as many as people read; JSON has more."""


def format_rebuilding(done: "Outcome[ReindexReport]", report: "ReindexReport") -> str:
    """What was found in the packs, and what was not; the last line is the verdict."""
    lines = [
        f"Made an index from {format_count(report.blocks, 'block')}, "
        f"{format_size(report.stored_bytes)}, in {done.seconds:.1f} s: "
        f"{format_count(report.inodes, 'inode')}, {format_count(report.names, 'name')}, "
        f"{format_count(report.conversations, 'conversation')}.",
    ]
    if report.kept_drafts:
        lines.append(f"{format_count(report.kept_drafts, 'draft')} kept.")
    if report.cut_bytes:
        lines.append(f"{format_size(report.cut_bytes)} of commits that were interrupted cut off.")
    lines += _listed("put into /lost+found", report.recovered)
    lines += _listed("different from the index of before", report.differences)
    lines += _listed(
        "damaged",
        [
            f"bytes {one.start} to {one.end} of pack {one.pack}: {one.lost}"
            for one in report.damages
        ],
    )
    text = "".join(f"{line}\n" for line in lines) + format_problems(report.problems)
    text += "".join(f"{line}\n" for line in _listed("not all there", report.files))
    if report.omitted:
        text += f"and {format_count(report.omitted, 'line')} more\n"
    if report.clean:
        return text + "nothing is missing\n"
    return (
        f"{text}{format_count(len(report.damages) + len(report.problems), 'problem')} found, "
        f"{format_count(len(report.files), 'file')} damaged\n"
    )


def _listed(what: str, entries: list[str]) -> list[str]:
    lines = [f"{what}: {printable(entry)}" for entry in entries[:LINES_MAX]]
    more = len(entries) - LINES_MAX
    return [*lines, f"{what}: {more:,} more"] if more > 0 else lines


async def _reindex(vault: "Vault", _values: Values, progress: Progress) -> "ReindexReport":
    return await vault.reindex(progress=progress)


REINDEX: "JobKind[ReindexReport]" = JobKind(
    file="reindex",
    title="reindex",
    run=_reindex,
    told=format_rebuilding,
    left="The index is the one of before.",
    measured=False,
    damage=lambda report: (
        None if report.clean else "something is missing in the packs; the report names it"
    ),
)
