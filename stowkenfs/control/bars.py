"""Bars and columns for pages that are read on a terminal or in a file. Pure functions."""

import unicodedata
from dataclasses import dataclass

BAR_CELLS_MIN = 6
BAR_CELLS_MAX = 40

_EIGHTHS = " ▏▎▍▌▋▊▉"


@dataclass(frozen=True, slots=True)
class Look:
    """What a page may use.

    Attributes:
        width: columns of the terminal.
        unicode: whether block characters can be shown; else ``#`` and ``.`` stand for them.
        color: whether escape sequences for colours are understood.

    """

    width: int = 80
    unicode: bool = True
    color: bool = False

    def bold(self, text: str) -> str:
        return self._styled("1", text)

    def dim(self, text: str) -> str:
        return self._styled("2", text)

    def accent(self, text: str) -> str:
        return self._styled("36", text)

    def _styled(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.color and text.strip() else text


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar as it is shown: ``solid`` and behind it ``light``, together ``cells`` columns."""

    solid: str
    light: str
    cells: int

    def shown(self, look: Look) -> str:
        rest = " " * (self.cells - len(self.solid) - len(self.light))
        return look.accent(self.solid) + look.dim(self.light) + rest


def bar(solid: float, light: float, full: float, cells: int, look: Look) -> Bar:
    """A bar for ``solid`` and ``light``, where ``full`` fills all ``cells``.

    What is not zero is seen: at least an eighth of a column, or a whole one of ``#``.
    """
    scale = cells / full if full > 0 else 0.0
    solid_cells, all_cells = max(solid, 0.0) * scale, max(solid + light, 0.0) * scale
    if light <= 0:
        return Bar(_solid(solid_cells, cells, look), "", cells)
    whole = min(max(round(all_cells), 1), cells)
    covered = min(round(solid_cells), whole - 1)
    blocks = ("█", "░") if look.unicode else ("#", ".")
    return Bar(blocks[0] * covered, blocks[1] * (whole - covered), cells)


def _solid(length: float, cells: int, look: Look) -> str:
    if length <= 0:
        return ""
    if not look.unicode:
        return "#" * min(max(round(length), 1), cells)
    eighths = min(max(round(length * 8), 1), cells * 8)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()


def cells_of(text: str) -> int:
    """Columns of a terminal that ``text`` takes up."""
    return sum(_cells(letter) for letter in text)


def _cells(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def fitted(text: str, cells: int, look: Look) -> str:
    """``text`` in exactly ``cells`` columns: cut where it is longer, else filled up."""
    end = "…" if look.unicode else "~"
    if cells_of(text) > cells:
        kept, left = "", cells - 1
        for letter in text:
            left -= _cells(letter)
            if left < 0:
                break
            kept += letter
        text = kept + end
    return text + " " * (cells - cells_of(text))
