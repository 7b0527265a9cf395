"""Curves as SVG: small multiples, both axes logarithmic."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from lib.scale.rows import Row, short

PANEL_WIDTH, PANEL_HEIGHT = 300, 210
LEFT, TOP, RIGHT, BOTTOM = 56, 30, 14, 66
COLUMNS = 3
HEAD = 40
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Told apart by everybody: Okabe and Ito, https://jfly.uni-koeln.de/color/."""

_STYLE = (
    "text{font:11px sans-serif;fill:#222}.title{font-weight:bold;font-size:12px}"
    ".head{font-weight:bold;font-size:15px}.grid{stroke:#ddd}.axis{stroke:#666;fill:none}"
    ".curve{fill:none;stroke-width:1.8}"
)


@dataclass(frozen=True, slots=True)
class Panel:
    """``curves``: (measure, state, label)."""

    title: str
    unit: str
    curves: Sequence[tuple[str, str, str]]


def _panels(unit: str, per: str, words: str) -> tuple[Panel, ...]:
    both = (("imported", "imported"), ("compacted", "compacted"))
    return (
        Panel(f"ingest, {words}", unit, (
            (f"ingest_{per}", "imported", "time"), (f"ingest_cpu_{per}", "imported", "CPU time"),
        )),
        Panel("compaction of what was added, s per MB", "s/MB", (
            ("compact_s_per_mb", "compacted", "time"),
            ("compact_cpu_s_per_mb", "compacted", "CPU time"),
        )),
        Panel(f"collection of all, {words}", unit, (
            (f"gc_{per}", "compacted", "time"), (f"gc_cpu_{per}", "compacted", "CPU time"),
        )),
        Panel("finding a random path, us", "us", tuple(
            (f"lookup_{cache}", state, f"{label}, {cache}")
            for state, label in both for cache in ("cold", "warm")
        )),
        Panel("reading at random, caches empty, us", "us", tuple(
            ("read_cold", state, label) for state, label in both
        )),
        Panel("opening and mounting, s", "s", (
            ("open_cold", "imported", "open, disk, imported"),
            ("open_warm", "compacted", "open, compacted"),
            ("mount_cold", "compacted", "mount, disk"), ("mount_warm", "compacted", "mount"),
        )),
        Panel("peak memory of the process, MB", "MB", (
            ("ingest_memory", "imported", "ingest"), ("look_memory", "compacted", "reading"),
            ("compact_memory", "compacted", "compaction"), ("gc_memory", "compacted", "collection"),
        )),
        Panel("closing, s", "s", (
            ("ingest_close", "imported", "after ingest"),
            ("compact_close", "compacted", "after compaction"),
            ("close", "compacted", "after nothing"),
        )),
        Panel("on the disk, MB", "MB", (
            ("held", "compacted", "files"), ("vault", "imported", "vault, imported"),
            ("vault", "compacted", "vault, compacted"), ("index", "imported", "index, imported"),
            ("index", "compacted", "index, compacted"), ("ingest_log_peak", "imported", "its log"),
        )),
    )  # fmt: skip


LADDERS = {
    "files": ("small files", _panels("us", "us_per_file", "us per file")),
    "bytes": ("logs and chats, bytes", _panels("s/MB", "s_per_mb", "s per MB")),
}


def drawn(rows: Sequence[Row]) -> str:
    """The whole picture: the panels of each ladder of which something is known."""
    pieces: list[str] = []
    top = 0.0
    for ladder, (title, panels) in LADDERS.items():
        mine = [row for row in rows if row.ladder == ladder and row.value > 0]
        if not mine:
            continue
        pieces.append(_text(LEFT, top + 26, f"By number of {title}", "head"))
        for number, panel in enumerate(panels):
            across, down = number % COLUMNS, number // COLUMNS
            at = (across * PANEL_WIDTH, top + HEAD + down * PANEL_HEIGHT)
            pieces.append(f'<g transform="translate({at[0]},{at[1]:g})">')
            pieces += _panel(panel, mine)
            pieces.append("</g>")
        top += HEAD + math.ceil(len(panels) / COLUMNS) * PANEL_HEIGHT
    width = COLUMNS * PANEL_WIDTH
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top:g}" width="{width}"'
        f' height="{top:g}"><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
    )
    return "\n".join((head, *pieces, "</svg>", ""))


def _panel(panel: Panel, rows: Sequence[Row]) -> Iterator[str]:
    curves = [
        (label, sorted((row.size, row.value) for row in rows if _is(row, measure, state)))
        for measure, state, label in panel.curves
    ]
    points = [point for _, curve in curves for point in curve]
    yield _text(LEFT, 16, panel.title, "title")
    if not points:
        return
    plane = Plane.around(points)
    yield from plane.axes()
    for number, (label, curve) in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        places = [plane.place(x, y) for x, y in curve]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        if places:
            yield f'<polyline class="curve" stroke="{colour}" points="{path}"/>'
        for x, y in places:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{colour}"/>'
        column, line = number % 2, number // 2
        x, y = LEFT - 30 + column * 135, PANEL_HEIGHT - 34 + line * 13
        yield f'<rect x="{x}" y="{y - 8}" width="10" height="8" fill="{colour}"/>'
        yield _text(x + 14, y, label)


def _is(row: Row, measure: str, state: str) -> bool:
    return row.measure == measure and row.state == state


@dataclass(frozen=True, slots=True)
class Plane:
    """Where a point lies in a panel. Powers of ten around what is shown."""

    low_x: float
    high_x: float
    low_y: int
    high_y: int

    @classmethod
    def around(cls, points: Sequence[tuple[float, float]]) -> "Plane":
        across = [math.log10(x) for x, _ in points]
        up = [math.log10(y) for _, y in points]
        low, high = math.floor(min(up)), math.ceil(max(up))
        return cls(min(across), max(*across, min(across) + 0.1), low, max(high, low + 1))

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Of two values, neither of them 0."""
        width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
        across = (math.log10(x) - self.low_x) / (self.high_x - self.low_x)
        up = (math.log10(y) - self.low_y) / (self.high_y - self.low_y)
        return LEFT + across * width, TOP + (1 - up) * height

    def axes(self) -> Iterator[str]:
        """A line for each power of ten, with its value, and a frame."""
        left, bottom = self.place(10**self.low_x, 10.0**self.low_y)
        right, top = self.place(10**self.high_x, 10.0**self.high_y)
        for power in range(self.low_y, self.high_y + 1):
            _, y = self.place(10**self.low_x, 10.0**power)
            yield f'<line class="grid" x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}"/>'
            yield _text(left - 4, y + 4, _tick(power), anchor="end")
        for power in range(math.ceil(self.low_x - 1e-9), math.floor(self.high_x + 1e-9) + 1):
            x, _ = self.place(10.0**power, 10.0**self.low_y)
            yield f'<line class="grid" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            yield _text(x, bottom + 13, short(10**power), anchor="middle")
        size = f'width="{right - left}" height="{bottom - top}"'
        yield f'<rect class="axis" x="{left}" y="{top}" {size}/>'


def _tick(power: int) -> str:
    return short(10.0**power) if power >= 0 else f"{10.0**power:g}"


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{named}>{escape(words)}</text>'
