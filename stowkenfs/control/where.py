"""The page that shows where the bytes are: by kind, and by folder. Pure functions."""

from collections.abc import Iterable, Sequence

from stowkenfs.control.bars import (
    BAR_CELLS_MAX,
    BAR_CELLS_MIN,
    Look,
    bar,
    cells_of,
    fitted,
)
from stowkenfs.control.format import format_count, format_size, format_stats, printable
from stowkenfs.vault.stats_report import KindBytes, VaultStats
from stowkenfs.vault.where_report import FolderBytes, Folders, Where

KIND_NOTES = {
    "segments": "texts as token ids, raw bytes",
    "values": "numbers and short strings",
    "templates": "JSON without what it holds",
    "recipes": "which records make up each file",
    "keys": "hashes, to find what comes twice",
    "inodes": "sizes, times, owners of files",
    "names": "names of files and folders",
    "registry": "what texts refer to",
    "index": "the database that finds all this",
    "drafts": "written and not encoded yet",
    "slack": "unused ends of disk blocks",
}
"""What each kind is, in a few words."""

FOLDERS_SHOWN = 40
"""As many rows as people read; JSON has all."""

_NAME_CELLS_MAX = 40
_KIND_CELLS = max(map(len, KIND_NOTES))
_NOTE_CELLS = max(map(len, KIND_NOTES.values()))
_GAP = "  "


def format_stats_page(stats: VaultStats, look: Look) -> str:
    """The totals of a vault, and where its bytes are by kind."""
    kinds = f"\n{format_kinds(stats.kinds, look)}" if stats.kinds else ""
    return format_stats(stats) + kinds


def format_where(where: Where, look: Look) -> str:
    """Where the bytes of a vault are, by kind and by folder."""
    stats = where.stats
    place, taken = ("on disk", stats.disk_bytes) if stats.disk_bytes else (
        "stored", stats.storage_bytes
    )  # fmt: skip
    headline = (
        f"{format_size(stats.bytes_in)} in {format_count(stats.documents, 'file')}, "
        f"{format_size(taken)} {place}: ratio {stats.ratio:.2f}"
    )
    parts = [f"{look.bold(headline)}\n", format_kinds(stats.kinds, look)]
    folders = _folders(where.folders, look)
    return "\n".join([*parts, folders] if folders else parts)


def format_kinds(kinds: Sequence[KindBytes], look: Look) -> str:
    """A row for each kind, with a bar."""
    whole = sum(kind.stored_bytes for kind in kinds)
    largest = max((kind.stored_bytes for kind in kinds), default=0)
    sizes = [format_size(kind.stored_bytes) for kind in kinds]
    size_cells = max(map(len, [*sizes, "size"]))
    used = _KIND_CELLS + size_cells + len("100.0 %") + 2 * len(_GAP)
    left = look.width - used - len(_GAP)
    has_notes = left >= BAR_CELLS_MIN + len(_GAP) + _NOTE_CELLS
    bar_cells = _bar_cells(left - (len(_GAP) + _NOTE_CELLS if has_notes else 0))
    lines = [look.bold("Where the bytes are, by kind")]
    for kind, size in zip(kinds, sizes, strict=True):
        share = 100 * kind.stored_bytes / whole if whole else 0.0
        cold = kind.stored_bytes - kind.hot_bytes
        drawn = bar(cold, kind.hot_bytes, largest, bar_cells, look).shown(look)
        line = [f"{kind.kind:<{_KIND_CELLS}}", f"{size:>{size_cells}}", f"{share:5.1f} %"]
        line += [drawn] if bar_cells else []
        line += [look.dim(KIND_NOTES.get(kind.kind, ""))] if has_notes else []
        lines.append(_GAP.join(line))
    if bar_cells and any(kind.hot_bytes for kind in kinds):
        lines.append(look.dim(f"{'░' if look.unicode else '.'} not compacted yet"))
    return _joined(lines)


def _folders(folders: Folders, look: Look) -> str:
    """A row for each folder, with a bar."""
    shown = list(folders.folders[:FOLDERS_SHOWN])
    rest = list(folders.folders[FOLDERS_SHOWN:])
    more = len(rest) + folders.more
    if folders.others is not None:
        rest.append(folders.others)
    if not shown:
        return ""
    names = [_name(folder.name, look) for folder in shown]
    if rest:
        shown.append(_together(rest))
        names.append(f"and {format_count(more, 'folder')} more")
    rows = [
        (f"{one.files:,}", format_size(one.bytes_in), format_size(one.stored_bytes), _ratio(one))
        for one in shown
    ]
    heads = ("files", "content", "stored", "ratio")
    widths = [max(len(row[at]) for row in [*rows, heads]) for at in range(len(heads))]
    used = sum(widths) + len(heads) * len(_GAP)
    name_cells = min(max(map(cells_of, names)), _NAME_CELLS_MAX, max(look.width - used, 8))
    bar_cells = _bar_cells(look.width - used - name_cells - len(_GAP))
    largest = max(one.stored_bytes for one in shown)

    def line(name: str, cells: Iterable[str]) -> str:
        columns = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        return _GAP.join([fitted(name, name_cells, look), *columns])

    top = _name(folders.top, look)
    lines = [look.bold(f"By folder of {top}"), look.dim(line("", heads))]
    for one, name, row in zip(shown, names, rows, strict=True):
        drawn = bar(one.stored_bytes, 0, largest, bar_cells, look).shown(look)
        lines.append(line(name, row) + (_GAP + drawn if bar_cells else ""))
    return _joined([*lines, *(look.dim(note) for note in _notes(folders))])


def _notes(folders: Folders) -> Iterable[str]:
    yield "Stored bytes are estimates: files that lie in one block divide it by their length."
    yield "What folders share counts where it was stored first."
    if folders.unattributed_bytes:
        yield f"{format_size(folders.unattributed_bytes)} of content belong to no folder."
    if folders.damaged:
        yield f"{format_count(folders.damaged, 'file or folder', 'files or folders')} not readable."


def _together(folders: Sequence[FolderBytes]) -> FolderBytes:
    return FolderBytes(
        "",
        sum(folder.files for folder in folders),
        sum(folder.bytes_in for folder in folders),
        sum(folder.stored_bytes for folder in folders),
    )


def _ratio(folder: FolderBytes) -> str:
    return f"{folder.bytes_in / folder.stored_bytes:.2f}" if folder.stored_bytes else "-"


def _name(name: str, look: Look) -> str:
    """Safe to print, whatever bytes somebody named a folder with."""
    shown = printable(name)
    return shown if look.unicode else shown.encode("ascii", "backslashreplace").decode()


def _bar_cells(left: int) -> int:
    return min(left, BAR_CELLS_MAX) if left >= BAR_CELLS_MIN else 0


def _joined(lines: Iterable[str]) -> str:
    return "".join(f"{line.rstrip()}\n" for line in lines)
