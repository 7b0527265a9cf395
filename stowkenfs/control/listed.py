"""What was trained, as lists for people and for programs. Pure functions.

Rows are what the infos' ``to_dict`` gives, and what the JSON twins of the lists have.
"""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from stowkenfs.control.format import format_size

Row = Mapping[str, Any]

ID_CELLS: Final = 64


def format_dictionaries(rows: Sequence[Row]) -> str:
    """A line for each dictionary; a star marks the one in use."""
    if not rows:
        return "there are no dictionaries yet; training makes one where that pays\n"
    lines = [f"  {'id':<{ID_CELLS}}  {'created at':<24}  {'samples':>9}  {'size':>10}"]
    lines += [
        f"{'*' if row['is_active'] else ' '} {row['id']}  "
        f"{_clock(row['created_at']):<24}  {row['sample_count']:>9,}  "
        f"{format_size(row['size_bytes']):>10}"
        for row in rows
    ]
    if not any(row["is_active"] for row in rows):
        lines.append("none is active")
    return "".join(f"{line}\n" for line in lines)


def format_substrings(rows: Sequence[Row]) -> str:
    """A line for each substring."""
    if not rows:
        return "there are no substrings yet; training finds them where there are some\n"
    lines = [f"{'id':<{ID_CELLS}}  {'created at':<24}  {'tokens':>9}  {'occurrences':>11}"]
    lines += [
        f"{row['id']}  {_clock(row['created_at']):<24}  {row['length']:>9,}  "
        f"{row['source_occurrences']:>11,}"
        for row in rows
    ]
    return "".join(f"{line}\n" for line in lines)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def dictionaries_json(rows: Sequence[Row], activation: dict[str, Any] | None = None) -> str:
    """All of them, and how the last activation went, for programs."""
    return as_json({"dictionaries": rows, "activation": activation})


def substrings_json(rows: Sequence[Row]) -> str:
    """All of them for programs."""
    return as_json({"substrings": rows})


def as_json(value: object) -> str:
    """``value`` as files for programs show it."""
    return json.dumps(value, indent=2) + "\n"
