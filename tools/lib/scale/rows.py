"""What was measured as rows: of a CSV, and of a table that says what grew."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from lib.density.tables import table

GROWTH_MAX = 1.5
SPAN = 100
"""Compared with the same at a hundredth of the size."""

MOUNT_SECONDS_MAX = 1.0

JUDGED = {
    "files": (
        "ingest_us_per_file", "ingest_cpu_us_per_file", "ingest_memory", "ingest_log_peak",
        "lookup_cold", "lookup_warm", "read_cold", "compact_s_per_mb", "compact_cpu_s_per_mb",
        "compact_memory", "gc_us_per_file", "gc_memory", "look_memory", "index_per_file",
        "open_cold", "open_warm", "close", "mount_cold", "mount_warm",
    ),
    "bytes": (
        "ingest_s_per_mb", "ingest_cpu_s_per_mb", "ingest_memory", "ingest_log_peak",
        "lookup_cold", "lookup_warm", "read_cold", "compact_s_per_mb", "compact_cpu_s_per_mb",
        "compact_memory", "gc_s_per_mb", "gc_memory", "look_memory", "index_per_file",
        "open_cold", "open_warm", "close", "mount_cold", "mount_warm",
    ),
}  # fmt: skip
"""What the table tells; the CSV has all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. ``size`` is in files or in bytes, as the ladder is."""

    ladder: str
    size: int
    state: str
    measure: str
    value: float
    unit: str


COLUMNS = tuple(field.name for field in fields(Row))


class Sheet:
    """A CSV that has each row as soon as it is known."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(COLUMNS)

    def add(self, row: Row) -> None:
        self._writer.writerow([_cell(value) for value in astuple(row)])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) else value


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV."""
    with path.open(newline="") as file:
        return [
            Row(
                one["ladder"], int(one["size"]), one["state"], one["measure"],
                float(one["value"]), one["unit"],
            )
            for one in csv.DictReader(file)
        ]  # fmt: skip


def grown(rows: Sequence[Row], ladder: str) -> str:
    """A table of one ladder: each measure by size, and what it is at the end of what it was."""
    found = {(row.measure, row.state, row.size): row for row in rows if row.ladder == ladder}
    sizes = sorted({size for _, _, size in found})
    first = max((size for size in sizes if size * SPAN <= sizes[-1]), default=sizes[0])
    kinds = dict.fromkeys(
        (measure, state)
        for measure in JUDGED.get(ladder, ())
        for name, state, _ in found
        if name == measure
    )
    body = []
    for measure, state in kinds:
        line = [found.get((measure, state, size)) for size in sizes]
        unit = next(row.unit for row in line if row is not None)
        at_first, at_last = line[sizes.index(first)], line[-1]
        times = at_last.value / at_first.value if at_first and at_last and at_first.value else 0.0
        body.append(
            (
                f"{measure}, {state}",
                unit,
                *(_number(row.value) if row else "-" for row in line),
                f"{times:.2f}" if times else "-",
            )
        )
    return table((ladder, "unit", *map(short, sizes), f"{short(sizes[-1])} / {short(first)}"), body)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def short(size: float) -> str:
    """A size as people write it: 300k, 10G."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if size >= factor:
            return f"{size / factor:g}{unit}"
    return f"{size:g}"
