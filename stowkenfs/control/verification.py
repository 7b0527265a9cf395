"""Verification as people ask for it, and the report that they get."""

from typing import TYPE_CHECKING

from stowkenfs.control.format import format_count, format_size, printable
from stowkenfs.control.kinds import JobKind, Progress, Values

if TYPE_CHECKING:
    from stowkenfs.vault.vault import Vault
    from stowkenfs.vault.verify import VerifyReport


def format_verify(report: "VerifyReport") -> str:
    """What a verification found; the last line is the verdict."""
    lines = [
        f"checked {format_count(report.blocks, 'block')}, "
        f"{format_count(report.records, 'record')}, "
        f"{format_count(report.segments, 'segment')}: {format_size(report.stored_bytes)}",
        *(f"damaged: {problem}" for problem in report.problems),
        *(
            f"cannot be read: {printable(damaged.path)}, bytes {damaged.start} to {damaged.end}"
            for damaged in report.files
        ),
    ]
    if report.omitted:
        lines.append(f"and {format_count(report.omitted, 'line')} more")
    if report.clean:
        lines.append("all is well")
    else:
        files = len({damaged.path for damaged in report.files})
        lines.append(
            f"{format_count(len(report.problems), 'problem')} found, "
            f"{format_count(files, 'file')} damaged"
        )
    return "".join(f"{line}\n" for line in lines)


async def _verify(vault: "Vault", _values: Values, progress: Progress) -> "VerifyReport":
    return await vault.verify(progress)


VERIFY: "JobKind[VerifyReport]" = JobKind(
    file="verify",
    title="verify",
    run=_verify,
    told=lambda _done, report: format_verify(report),
    left="Nothing was changed.",
    measured=False,
    damage=lambda report: None if report.clean else "verify found damage; the report names it",
)
