"""Reports of imports and exports as lines."""

import click

from stowkenfs.control.format import format_count, format_size, printable
from stowkenfs.vault.transfer import TransferReport


def transfer_line(report: TransferReport, seconds: float) -> str:
    """``3 files, 1 directory: 1.5 MiB in 0.2 s``."""
    counts = [
        format_count(report.files, "file"),
        format_count(report.directories, "directory", "directories"),
    ]
    if report.names:
        counts.append(format_count(report.names, "hard link"))
    if report.others:
        counts.append(format_count(report.others, "link or special file", "links or special files"))
    return f"{', '.join(counts)}: {format_size(report.content_bytes)} in {seconds:.1f} s"


def tell_failures(report: TransferReport) -> None:
    """What was left out, on stderr."""
    for failure in report.failures:
        click.echo(f"stowkenfs: {printable(failure.path)}: {failure.reason}", err=True)
    if report.omitted:
        click.echo(f"stowkenfs: and {report.omitted:,} more", err=True)
