"""Reports as plain text: what control files show and commands print. Pure functions."""

from collections.abc import Iterable

from stowkenfs.vault.stats import VaultStats
from stowkenfs.vault.verify import VerifyReport

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

FRAME_KINDS = {
    "0x01": "varint",
    "0x02": "varint, zstd",
    "0x03": "dictionary",
    "0x04": "delta",
    "0x05": "substrings",
    "0x06": "model",
}


def format_size(size_bytes: int) -> str:
    """``size_bytes`` for people: ``999 B``, ``1.5 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in _UNITS:
        size /= 1024
        if size < 1023.95 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}"


def format_count(number: int, singular: str, plural: str | None = None) -> str:
    """``1 file``, ``1,234 files``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def format_stats(stats: VaultStats) -> str:
    """The totals of a vault as an aligned table."""
    rows = [
        ("files", f"{stats.documents:,}", ""),
        ("conversations", f"{stats.conversations:,}", ""),
        ("bytes in files", format_size(stats.bytes_in), f"{stats.bytes_in:,}"),
        ("  sealed", format_size(stats.sealed_bytes), f"{stats.sealed_bytes:,}"),
        ("bytes stored", format_size(stats.storage_bytes), f"{stats.storage_bytes:,}"),
    ]
    if stats.disk_bytes:
        rows.append(("bytes on disk", format_size(stats.disk_bytes), f"{stats.disk_bytes:,}"))
    rows += [
        ("ratio", f"{stats.ratio:.2f}", ""),
        ("drafts", f"{stats.drafts:,}", ""),
        ("records", f"{stats.records:,}", ""),
        ("templates", f"{stats.templates:,}", ""),
        ("segments", f"{stats.segments:,}", ""),
    ]
    if stats.dense_segments:
        compacted = f"{stats.dense_segments:,}"
        rows.append(("  compacted", compacted, format_size(stats.dense_bytes)))
    for kind, totals in stats.frames.items():
        if stats.dense_segments and not totals["frames"]:
            continue
        name = f"  frames {kind}" + (f" ({FRAME_KINDS[kind]})" if kind in FRAME_KINDS else "")
        rows.append((name, f"{totals['frames']:,}", format_size(totals["bytes"])))
    return _aligned(rows)


def format_verify(report: VerifyReport) -> str:
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


def printable(name: str) -> str:
    """``name`` on one line, without what a terminal would take for a command."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def _aligned(rows: Iterable[tuple[str, str, str]]) -> str:
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        f"{label:<{widths[0]}}  {value:>{widths[1]}}  {detail:>{widths[2]}}".rstrip() + "\n"
        for label, value, detail in rows
    )
