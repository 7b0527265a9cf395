"""What the terminal can show, and how far a long command is.

A bar on a terminal, else a line now and then.
"""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stowkenfs.control.bars import Look

LINE_SECONDS = 10.0

Show = Callable[[int, int | None, str], None]
"""``show(done_bytes, total_bytes or None, what)``; cheap enough to be called for each file."""


def page_look() -> "Look":
    """What a page on stdout may use; see https://no-color.org for NO_COLOR."""
    from stowkenfs.control.bars import Look

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Look(
        width=shutil.get_terminal_size((80, 24)).columns,
        unicode=sys.stdout.encoding.lower().startswith("utf"),
        color=sys.stdout.isatty() and not plain,
    )


@contextmanager
def shown_progress(title: str, *, quiet: bool) -> Iterator[Show]:
    """Progress on stderr, unless ``quiet``."""
    if quiet:
        yield lambda _done, _total, _what: None
    elif sys.stderr.isatty():
        with _bar(title) as show:
            yield show
    else:
        yield _Lines(title).show


@contextmanager
def _bar(title: str) -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from stowkenfs.control.format import format_size

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(title, total=None, figures="", what="")

        def show(done: int, total: int | None, what: str) -> None:
            speed = progress.tasks[task].speed
            figures = format_size(done) + (f" of {format_size(total)}" if total else "")
            figures += f", {format_size(round(speed))}/s" if speed else ""
            progress.update(task, completed=done, total=total, figures=figures, what=what)

        yield show


class _Lines:
    """``_next``: when another line is due."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._next = time.monotonic() + LINE_SECONDS

    def show(self, done: int, total: int | None, what: str) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LINE_SECONDS
        of = f" of {total / (1 << 20):.1f}" if total else ""
        line = f"{self._title}: {done / (1 << 20):.1f}{of} MiB {what}"
        print(line.rstrip(), file=sys.stderr, flush=True)
