"""What was measured as Markdown tables, to read on a terminal and to paste into a page."""

from collections.abc import Callable, Sequence
from typing import Any

Told = dict[str, Any]

PARTS_LAST = ("index", "slack", "drafts")
MEGA = 1e6


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned; the first column to the left, the others to the right."""
    widths = [max(len(row[at]) for row in (headers, *rows)) for at in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join((first, *others)) + " |"

    rule = [f"{'-' * (width - 1)}{':' if at else '-'}" for at, width in enumerate(widths)]
    return "\n".join((line(headers), line(rule), *map(line, rows)))


def megabytes(size: float) -> str:
    return f"{size / MEGA:,.2f} MB"


def parts(told: Told) -> str:
    before, after = told["imported"], told["compacted"]
    archive, bytes_in = told["archive_bytes"], told["bytes_in"]
    names = sorted(
        before["kinds"] | after["kinds"],
        key=lambda name: (name in PARTS_LAST, -after["kinds"].get(name, 0)),
    )
    rows = [
        (
            name,
            f"{before['kinds'].get(name, 0):,}",
            f"{after['kinds'].get(name, 0):,}",
            f"{after['kinds'].get(name, 0) / after['disk_bytes']:.1%}",
        )
        for name in names
    ]

    def pair(what: str, show: Callable[[int], str]) -> tuple[str, str, str, str]:
        return what, show(before["disk_bytes"]), show(after["disk_bytes"]), ""

    rows += [
        pair("**whole vault, du**", lambda size: f"{size:,}"),
        pair("times smaller than the files", lambda size: f"{bytes_in / size:.2f}"),
        pair("x tar + zstd -19 --long=31", lambda size: f"{size / archive:.3f}"),
    ]
    compared = told["compared"]
    return "\n\n".join(
        (
            f"{told['files']:,} files, {bytes_in:,} bytes; as one tar under zstd -19 --long=31"
            f" {archive:,}. Sizes in bytes.",
            table(("part", "imported", "compacted", "of it"), rows),
            f"Compared byte for byte after compaction: {compared['files']:,} files,"
            f" {len(compared['different'])} of them different.",
        )
    )


def by_corpus(told: Sequence[Told]) -> str:
    rows = []
    for one in told:
        packed = one["packed_bytes"] or one["archive_bytes"]
        verdict = {True: "yes", False: "NO", None: "small"}[one["within"]]
        rows.append(
            (
                one["name"],
                f"{one['bytes_in']:,}",
                f"{one['imported_bytes']:,}",
                f"{one['compacted_bytes']:,}",
                f"{one['archive_bytes']:,}",
                f"{packed:,}",
                f"{one['compacted_bytes'] / packed:.3f}",
                verdict,
            )
        )
    headers = (
        "corpus", "bytes in", "imported", "compacted", "tar + zstd", "packed", "x packed",
        "at most 1.15",
    )  # fmt: skip
    return table(headers, rows)


def reads(told: Told) -> str:
    names = {"find": "finding the path", "read": "reading the content", "both": "both"}
    caches = {"cached": "caches within their bound", "cold": "every cache empty"}
    rows = []
    for cache, cache_name in caches.items():
        for step, name in names.items():
            of = told["small"][cache][step]
            rows.append(
                (
                    f"{name}, {cache_name}",
                    f"{of['reads']:,}",
                    f"{of['p50_ms']:.2f}",
                    f"{of['p99_ms']:.2f}",
                    f"{of['max_ms']:.2f}",
                    f"{of['decoded_p50_bytes']:,.0f}",
                    f"{of['decoded_p99_bytes']:,.0f}",
                    f"{of['decoded_max_bytes']:,.0f}",
                    f"{of['blocks_mean']:.2f}",
                )
            )
    headers = (
        "files of 2 to 8 kB", "reads", "p50 ms", "p99 ms", "max ms", "decoded p50", "decoded p99",
        "decoded max", "blocks",
    )  # fmt: skip
    log, largest = told["log"], told["largest"]
    speeds = [
        (name, f"{size / MEGA:.1f}", f"{seconds:.2f}", _speed(size, seconds))
        for name, size, seconds in (
            ("a log of different records, imported", log["bytes"], log["imported_seconds"]),
            ("the same, compacted", log["bytes"], log["compacted_seconds"]),
            (f"{largest['path']}, compacted", largest["bytes"], largest["seconds"]),
        )
    ]
    return "\n\n".join((table(headers, rows), table(("read through", "MB", "s", "MB/s"), speeds)))


def _speed(size: float, seconds: float) -> str:
    return f"{size / MEGA / seconds:.1f}" if seconds else "-"


def compaction(told: Told) -> str:
    first, second = told["first"], told["second"]
    content = first["report"]["content_bytes"]
    cpu = first["user_seconds"] + first["system_seconds"]
    rows = (
        ("content", megabytes(content)),
        ("time", f"{first['seconds']:.1f} s"),
        ("speed", f"{_speed(content, first['seconds'])} MB/s"),
        ("user CPU time", f"{first['user_seconds']:.1f} s"),
        ("speed per core used (user CPU time)", f"{_speed(content, first['user_seconds'])} MB/s"),
        ("speed per core used (user and system)", f"{_speed(content, cpu)} MB/s"),
        ("peak memory of the process", megabytes(first["own_peak_bytes"])),
        ("peak memory of its worker", megabytes(first["worker_peak_bytes"])),
        ("peak memory of both at once", megabytes(first["together_peak_bytes"])),
        ("scratch beside the new packs", megabytes(first["scratch_peak_bytes"])),
        ("event loop late, p99", f"{first['wait_p99_ms']:.2f} ms"),
        ("event loop late, worst", f"{first['wait_max_ms']:.1f} ms"),
        ("event loop late by more than 5 ms", f"{first['late_waits']:,} of {first['waits']:,}"),
        ("a process that only sleeps late, p99", f"{first['machine_late_p99_ms']:.2f} ms"),
        ("a process that only sleeps late, worst", f"{first['machine_late_max_ms']:.1f} ms"),
        ("second run right after", f"{second['seconds']:.2f} s"),
        ("documents that it moved", f"{second['report']['documents']:,}"),
        ("packs that it touched", f"{told['packs_touched']:,}"),
    )
    return table(("compaction", ""), rows)


def copies(told: Told) -> str:
    before, after, again = (told[key] for key in ("before_bytes", "copied_bytes", "again_bytes"))
    compared = told["compared"]
    rows = (
        ("compacted", f"{before:,}", ""),
        ("half of the files once more", f"{after:,}", f"{after - before:+,}"),
        ("compacted again", f"{again:,}", f"{again - before:+,}"),
    )
    return "\n\n".join(
        (
            f"{told['files']:,} files, {told['bytes']:,} bytes, imported under other names."
            " Sizes in bytes of the disk.",
            table(("whole vault, du", "bytes", "more"), rows),
            f"Compared byte for byte after that: {compared['files']:,} files,"
            f" {len(compared['different'])} of them different.",
        )
    )


def wheel(told: Sequence[Told]) -> str:
    headers = (
        "corpus", "bytes in", "wheel, du", "wheel, frames", "vault, du", "wheel du / vault",
        "vault / frames", "conversations", "refused",
    )  # fmt: skip
    rows = [
        (
            one["name"],
            f"{one['bytes_in']:,}",
            f"{one['wheel_bytes']:,}",
            f"{one['frame_bytes']:,}",
            f"{one['compacted_bytes']:,}",
            f"{one['wheel_bytes'] / one['compacted_bytes']:.1f}",
            f"{one['compacted_bytes'] / max(one['frame_bytes'], 1):.3f}",
            f"{one['conversations']:,}",
            f"{one['refused']:,}",
        )
        for one in told
    ]
    return table(headers, rows)
