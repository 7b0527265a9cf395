"""Reports as plain text: what control files show and commands print. Pure functions."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stowkenfs.vault.stats_report import VaultStats

_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

PROBLEMS_SHOWN = 100

FRAME_KINDS = {
    "0x01": "varint",
    "0x02": "varint, zstd",
    "0x03": "dictionary",
    "0x04": "delta",
    "0x05": "substrings",
    "0x06": "model",
    "0x07": "delta of deltas",
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


def format_stats(stats: "VaultStats") -> str:
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
    return aligned(rows)


def format_problems(problems: Sequence[str]) -> str:
    """A line for each different problem, as many as people read; JSON has all."""
    different = list(dict.fromkeys(map(printable, problems)))
    lines = [f"problem: {problem}" for problem in different[:PROBLEMS_SHOWN]]
    if len(different) > PROBLEMS_SHOWN:
        lines.append(f"and {format_count(len(different) - PROBLEMS_SHOWN, 'problem')} more")
    return "".join(f"{line}\n" for line in lines)


def printable(name: str) -> str:
    """``name`` on one line, without what a terminal would take for a command."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )


def aligned(rows: Iterable[tuple[str, str, str]]) -> str:
    """A line for each row: a label, a value, a detail."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "".join(
        f"{label:<{widths[0]}}  {value:>{widths[1]}}  {detail:>{widths[2]}}".rstrip() + "\n"
        for label, value, detail in rows
    )
