"""The page that shows where the bytes are, on terminals of all sorts."""

import re
import unicodedata

import pytest

from stowkenfs.control.bars import Look, bar, cells_of, fitted
from stowkenfs.control.where import (
    FOLDERS_SHOWN,
    KIND_NOTES,
    format_kinds,
    format_stats_page,
    format_where,
)
from stowkenfs.vault.stats import KindBytes, VaultStats
from stowkenfs.vault.where import FolderBytes, Folders, Where

KINDS = [
    KindBytes("segments", 800_000, 200_000, 3_000_000),
    KindBytes("values", 100_000, 0, 500_000),
    KindBytes("index", 4096),
    KindBytes("drafts", 0),
    KindBytes("slack", -2048),
]


def stats(kinds: list[KindBytes]) -> VaultStats:
    disk_bytes = sum(kind.stored_bytes for kind in kinds)
    return VaultStats(
        12, 10, 0, 0, 0, {}, 9_000_000, 9_000_000, 900_000, disk_bytes, 0, 9.98, kinds=kinds
    )


def page(folders: list[FolderBytes], look: Look, **more: object) -> str:
    told = Folders("/logs", folders, 0, None, 0)
    changed = {name: more.get(name, getattr(told, name)) for name in Folders.__slots__}
    return format_where(Where(stats(KINDS), Folders(**changed)), look)  # type: ignore[arg-type]


def folder(name: str, stored: int = 1000) -> FolderBytes:
    return FolderBytes(name, 3, 10_000, stored)


# Bars


@pytest.mark.parametrize(
    ("solid", "light", "drawn"),
    [
        (0, 0, ""),
        (100, 0, "██████████"),
        (50, 0, "█████"),
        (55, 0, "█████▌"),
        (0.001, 0, "▏"),  # what is there is seen
        (50, 50, "█████░░░░░"),
        (0, 100, "░░░░░░░░░░"),
        (99.9, 0.1, "█████████░"),
        (-5, 0, ""),
        (200, 0, "██████████"),
    ],
)
def test_bars(solid, light, drawn):
    drawing = bar(solid, light, 100, 10, Look())
    assert drawing.solid + drawing.light == drawn
    assert drawing.shown(Look()) == drawn.ljust(10)


def test_bars_without_block_characters():
    plain = Look(unicode=False)
    assert bar(50, 30, 100, 10, plain).shown(plain) == "#####...  "
    assert bar(0.1, 0, 100, 10, plain).shown(plain) == "#         "


def test_nothing_at_all_is_no_bar():
    assert bar(0, 0, 0, 10, Look()).shown(Look()) == " " * 10


@pytest.mark.parametrize(
    ("text", "cells", "shown"),
    [
        ("abc", 5, "abc  "),
        ("abcdef", 5, "abcd…"),
        ("潮汐表", 6, "潮汐表"),
        ("潮汐表", 5, "潮汐…"),
        ("潮汐表", 4, "潮… "),
        ("e\u0301te\u0301", 3, "e\u0301te\u0301"),
        ("", 2, "  "),
    ],
)
def test_names_fill_their_column(text, cells, shown):
    assert fitted(text, cells, Look()) == shown
    assert cells_of(shown) == cells


# Pages


@pytest.mark.parametrize("width", [45, 60, 80, 100, 200])
@pytest.mark.parametrize("has_unicode", [True, False])
def test_rows_are_aligned_and_fit(width, has_unicode):
    names = ["short", "long-name-of-a-folder-that-goes-on-and-on-and-on", "潮汐" * 20]
    look = Look(width, unicode=has_unicode)
    lines = page([folder(name, 10 ** (at + 2)) for at, name in enumerate(names)], look).splitlines()
    rows = [line for line in lines if re.match(r"(segments|values|index|short|long|潮|\\)", line)]
    assert len(rows) == 6
    assert all(cells_of(row) <= width for row in rows)
    if width >= 60:
        marks = {"█", "░", "#", ".", *"▏▎▍▌▋▊▉"}
        kinds = [row for row in rows if row.startswith(("segments", "values", "index"))]
        at = {min(cells_of(row[: row.find(mark, 25)]) for mark in marks if row.find(mark, 25) > 0)
              for row in kinds}  # fmt: skip
        assert len(at) == 1, "bars begin below each other"


@pytest.mark.parametrize("width", [0, 1, 10, 25])
def test_a_very_narrow_terminal_gets_numbers_without_bars(width):
    text = page([folder("a")], Look(width))
    assert "█" not in text
    assert "781.2 KiB" in text


def test_wide_enough_it_says_what_each_kind_is():
    assert KIND_NOTES["segments"] in format_kinds(KINDS, Look(80))
    assert KIND_NOTES["segments"] not in format_kinds(KINDS, Look(60))
    assert "░ not compacted yet" in format_kinds(KINDS, Look(80))
    assert "not compacted" not in format_kinds([KindBytes("values", 5)], Look(80))


def test_an_unknown_kind_is_shown():
    assert "models  " in format_kinds([KindBytes("models", 5)], Look())


def test_ascii_means_ascii():
    text = page([folder("grüße 潮")], Look(unicode=False))
    assert text.isascii()
    assert r"gr\xfc\xdfe \u6f6e" in text


def test_colors_only_where_they_are_understood():
    assert "\x1b" not in page([folder("a")], Look())
    colored = page([folder("a")], Look(color=True))
    assert "\x1b[36m" in colored
    assert re.sub("\x1b\\[[0-9]+m", "", colored).split() == page([folder("a")], Look()).split()


@pytest.mark.parametrize("color", [True, False])
def test_hostile_names_do_nothing(color):
    names = [
        "new\nline",
        "\x1b[2J\x1b]0;title\x07",
        "\udcff",
        "\u202eright",
        "tab\there",
        "\x9b31m",
    ]
    text = page([folder(name) for name in names], Look(120, color=color), top="/\x1b[31m\n")
    safe = re.sub("\x1b\\[(0|1|2|36)m", "", text) if color else text
    assert not [c for c in safe if unicodedata.category(c)[0] == "C" and c != "\n"]
    assert r"new\nline" in safe
    assert r"\x1b[2J" in safe
    assert r"By folder of /\x1b[31m\n" in safe
    lines = safe[safe.index("By folder") :].splitlines()
    assert len(lines) == 2 + len(names) + 2


def test_many_folders_are_cut_and_added_up():
    folders = [folder(f"f{at:03}", 5000 - at) for at in range(FOLDERS_SHOWN + 7)]
    others = FolderBytes("", 100, 10**6, 777)
    text = page(folders, Look(100), more=20, others=others)
    assert "f039" in text
    assert "f040" not in text
    (rest,) = [line for line in text.splitlines() if line.startswith("and 27 folders more")]
    assert rest.split()[4] == f"{7 * 3 + 100:,}"


def test_what_is_not_told_by_folder_is_told():
    text = page([folder("a")], Look(), unattributed_bytes=2048, damaged=1)
    assert "2.0 KiB of content belong to no folder." in text
    assert "1 file or folder not readable." in text


def test_the_headline():
    first = page([], Look()).splitlines()[0]
    assert first == "8.6 MiB in 12 files, 880.9 KiB on disk: ratio 9.98"


def test_stats_show_the_kinds_below_the_totals():
    text = format_stats_page(stats(KINDS), Look())
    assert text.index("bytes on disk") < text.index("Where the bytes are") < text.index("slack")
