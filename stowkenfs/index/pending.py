"""Rows of the tree that changed and are not in the database yet (docs/DESIGN.md, "Index").

A transaction for each change costs more than the change: a file that is made, written and
closed is one row in the end, and its directory is one row for a thousand files. So rows are
kept here, where look-ups find them first, and written many at a time. What each change did
is told to the journal at once, in the form that FORMAT.md describes.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any, Final, NamedTuple

InodeRow = tuple[int, int, int, int, int, int, int, int, int, int, int, bytes | None]
"""ino, mode, uid, gid, nlink, size, rdev, atime_ns, mtime_ns, ctime_ns, parent, target."""
RegionRow = tuple[int, int, int | None, int]
"""start, file_start, length, spool."""


class Unknown(Enum):
    """What a look-up gives for rows that did not change."""

    ROW = 0


UNKNOWN: Final = Unknown.ROW


class InodeChange(NamedTuple):
    """A row as it is now; ``is_new``: the database has none of it."""

    row: InodeRow
    is_new: bool


@dataclass(frozen=True, slots=True)
class DraftChange:
    """Rows of one draft: ``regions`` by their starts, and spans of starts that are ``cuts``.

    ``whole``: no others are left of it, and without generation none.
    """

    generation: int | None = None
    regions: Mapping[int, RegionRow] = field(default_factory=dict)
    cuts: tuple[tuple[int, int], ...] = ()
    whole: bool = False


NOTHING: Final[DraftChange] = DraftChange(whole=True)
UNCHANGED: Final[DraftChange] = DraftChange()

Execute = Callable[[str, Sequence[Sequence[object]]], object]

_INODE = struct.Struct("<B11qi")
_NUMBER = struct.Struct("<Bq")
_NAME = struct.Struct("<BqqqH")
_NAME_GONE = struct.Struct("<BqH")
_DRAFT = struct.Struct("<Bqq")
_REGION = struct.Struct("<Bqqqqq")
_SETTING = struct.Struct("<BqB")
_CUT_FORM = struct.Struct("<Bqqq")
_NEW, _CHANGED, _GONE, _NAMED, _UNNAMED, _DRAFTED, _REGIONED, _UNDRAFTED, _SET, _CUT = range(1, 11)
_NONE = -1

_TABLES_OF_AN_INODE = ("inode", "extent", "xattr", "conversation", "draft", "draft_region")


class PendingRows:
    """Changes in memory, and those of the change that is being made as bytes for the journal.

    ``inodes``: {inode: its row, None when it is gone}; ``names``: {directory: {name: (inode,
    cookie), None when it is gone}}; ``drafts``; ``settings``. ``count`` is about how many rows
    that is. Event loop's thread.
    """

    def __init__(self) -> None:
        self.inodes: dict[int, InodeChange | None] = {}
        self.names: dict[int, dict[bytes, tuple[int, int] | None]] = {}
        self.drafts: dict[int, DraftChange] = {}
        self.settings: dict[str, int] = {}
        self.count = 0
        self.told = bytearray()
        self._undo: list[tuple[dict[Any, Any], Any, Any]] = []

    # Looking

    def inode(self, ino: int) -> InodeChange | Unknown | None:
        return self.inodes.get(ino, UNKNOWN)

    def is_new(self, ino: int) -> bool:
        """Whether the database has nothing of an inode."""
        change = self.inodes.get(ino)
        return change is not None and change.is_new

    def name(self, parent: int, name: bytes) -> tuple[int, int] | Unknown | None:
        names = self.names.get(parent)
        return UNKNOWN if names is None else names.get(name, UNKNOWN)

    def draft(self, ino: int) -> DraftChange | None:
        """What changed of a draft; ``NOTHING`` when it is gone with its inode."""
        change = self.inodes.get(ino, UNKNOWN)
        return NOTHING if change is None else self.drafts.get(ino)

    # Changing

    def put_inode(self, row: InodeRow, *, is_new: bool) -> None:
        target = row[11]
        length = _NONE if target is None else len(target)
        self.told += _INODE.pack(_NEW if is_new else _CHANGED, *row[:11], length)
        self.told += target or b""
        self._put(self.inodes, row[0], InodeChange(row, is_new))

    def drop_inode(self, ino: int) -> None:
        """Forget an inode and all that is its own."""
        self.told += _NUMBER.pack(_GONE, ino)
        self._take(self.drafts, ino)
        self._put(self.inodes, ino, None)

    def put_name(self, parent: int, name: bytes, ino: int, cookie: int) -> None:
        self.told += _NAME.pack(_NAMED, parent, ino, cookie, len(name))
        self.told += name
        self._put(self.names.setdefault(parent, {}), name, (ino, cookie))

    def drop_name(self, parent: int, name: bytes) -> None:
        self.told += _NAME_GONE.pack(_UNNAMED, parent, len(name))
        self.told += name
        self._put(self.names.setdefault(parent, {}), name, None)

    def put_draft(self, ino: int, generation: int, regions: Iterable[RegionRow]) -> None:
        """State a whole draft."""
        self.told += _DRAFT.pack(_DRAFTED, ino, generation)
        there = {region[0]: region for region in regions}
        for region in there.values():
            self._tell_region(ino, region)
        self._put(self.drafts, ino, DraftChange(generation, there, whole=True), 1 + len(there))

    def put_region(self, ino: int, region: RegionRow) -> None:
        self._tell_region(ino, region)
        change = self.drafts.get(ino) or UNCHANGED
        regions = {**change.regions, region[0]: region}
        self._put(self.drafts, ino, replace(change, regions=regions))

    def cut_regions(self, ino: int, first: int, last: int) -> None:
        """Forget those that begin at ``first`` to ``last``."""
        self.told += _CUT_FORM.pack(_CUT, ino, first, last)
        change = self.drafts.get(ino) or UNCHANGED
        left = {at: row for at, row in change.regions.items() if not first <= at <= last}
        cuts = () if change.whole else (*change.cuts, (first, last))
        self._put(self.drafts, ino, replace(change, regions=left, cuts=cuts))

    def _tell_region(self, ino: int, region: RegionRow) -> None:
        start, file_start, length, spool = region
        told = _NONE if length is None else length
        self.told += _REGION.pack(_REGIONED, ino, start, file_start, told, spool)

    def drop_draft(self, ino: int) -> None:
        self.told += _NUMBER.pack(_UNDRAFTED, ino)
        self._put(self.drafts, ino, NOTHING)

    def put_setting(self, name: str, value: int) -> None:
        encoded = name.encode()
        self.told += _SETTING.pack(_SET, value, len(encoded))
        self.told += encoded
        self._put(self.settings, name, value)

    def _put(self, rows: dict[Any, Any], key: object, value: object, count: int = 1) -> None:
        self._undo.append((rows, key, rows.get(key, UNKNOWN)))
        rows[key] = value
        self.count += count

    def _take(self, rows: dict[Any, Any], key: object) -> None:
        if key in rows:
            self._undo.append((rows, key, rows.pop(key)))

    # The change that is being made

    def end_change(self) -> None:
        """It is kept: what comes now is the next one."""
        self._undo.clear()
        self.told.clear()

    def undo_change(self) -> None:
        """Be as before it."""
        while self._undo:
            rows, key, before = self._undo.pop()
            if before is UNKNOWN:
                del rows[key]
            else:
                rows[key] = before
        self.told.clear()

    # Writing

    def write(self, execute_many: Execute) -> None:
        """All rows into the database, within the caller's transaction."""
        new = {ino for ino, change in self.inodes.items() if change is not None and change.is_new}
        self._write_inodes(execute_many)
        self._write_names(execute_many)
        self._write_drafts(execute_many, new)
        if self.settings:
            execute_many(
                "INSERT OR REPLACE INTO setting VALUES (?, ?)", list(self.settings.items())
            )

    def _write_inodes(self, execute_many: Execute) -> None:
        gone = [(ino,) for ino, change in self.inodes.items() if change is None]
        if gone:
            for table in _TABLES_OF_AN_INODE:
                execute_many(f"DELETE FROM {table} WHERE ino = ?", gone)  # noqa: S608
        there = [change for change in self.inodes.values() if change is not None]
        execute_many(
            "INSERT INTO inode VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [change.row for change in there if change.is_new],
        )
        execute_many(
            "UPDATE inode SET mode = ?2, uid = ?3, gid = ?4, nlink = ?5, size = ?6, rdev = ?7,"
            " atime_ns = ?8, mtime_ns = ?9, ctime_ns = ?10, parent = ?11, target = ?12"
            " WHERE ino = ?1",
            [change.row for change in there if not change.is_new],
        )

    def _write_names(self, execute_many: Execute) -> None:
        gone, there = [], []
        for parent, names in self.names.items():
            for name, entry in names.items():
                if entry is None:
                    gone.append((parent, name))
                else:
                    there.append((parent, name, *entry))
        execute_many("DELETE FROM dentry WHERE parent = ? AND name = ?", gone)
        execute_many(
            "INSERT INTO dentry VALUES (?, ?, ?, ?) ON CONFLICT (parent, name)"
            " DO UPDATE SET ino = excluded.ino, cookie = excluded.cookie",
            there,
        )

    def _write_drafts(self, execute_many: Execute, new: set[int]) -> None:
        drafts = self.drafts.items()
        anew = [(ino,) for ino, draft in drafts if draft.whole and ino not in new]
        execute_many("DELETE FROM draft_region WHERE ino = ?", anew)
        cuts = [(ino, *cut) for ino, draft in drafts for cut in draft.cuts]
        execute_many("DELETE FROM draft_region WHERE ino = ? AND start BETWEEN ? AND ?", cuts)
        gone = [(ino,) for ino, draft in drafts if draft.whole and draft.generation is None]
        execute_many("DELETE FROM draft WHERE ino = ?", gone)
        execute_many(
            "INSERT OR REPLACE INTO draft VALUES (?, ?)",
            [(ino, draft.generation) for ino, draft in drafts if draft.generation is not None],
        )
        execute_many(
            "INSERT OR REPLACE INTO draft_region VALUES (?, ?, ?, ?, ?)",
            [(ino, *region) for ino, draft in drafts for region in draft.regions.values()],
        )

    # Reading what was told

    def apply(self, told: bytes) -> None:
        """Make the changes of one entry of a journal. Raises ValueError if it is none."""
        try:
            for put, arguments, keywords in _Told(told).steps():
                put(self, *arguments, **keywords)
        except struct.error as error:
            raise ValueError(f"an entry of the journal ends too early: {error}") from error
        self.end_change()


_Step = tuple[Callable[..., None], tuple[Any, ...], dict[str, Any]]


class _Told:
    """Reads one entry of a journal."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def steps(self) -> Iterator[_Step]:
        """What to call for each row: a method of PendingRows, and its arguments."""
        while self._at < len(self._content):
            kind = self._content[self._at]
            row = _ROWS.get(kind)
            if row is None:
                raise ValueError(f"an entry of the journal has a row of the unknown kind {kind}")
            form, read = row
            _, *fields = form.unpack_from(self._content, self._at)
            self._at += form.size
            yield read(self, fields)

    def _text(self, length: int) -> bytes:
        taken = self._content[self._at : self._at + length]
        if len(taken) != length:
            raise ValueError("an entry of the journal ends too early")
        self._at += length
        return taken

    def _inode(self, fields: list[int], *, is_new: bool) -> _Step:
        target = None if fields[11] == _NONE else self._text(fields[11])
        return PendingRows.put_inode, ((*fields[:11], target),), {"is_new": is_new}

    def new(self, fields: list[int]) -> _Step:
        return self._inode(fields, is_new=True)

    def changed(self, fields: list[int]) -> _Step:
        return self._inode(fields, is_new=False)

    def gone(self, fields: list[int]) -> _Step:
        return PendingRows.drop_inode, tuple(fields), {}

    def named(self, fields: list[int]) -> _Step:
        parent, ino, cookie, length = fields
        return PendingRows.put_name, (parent, self._text(length), ino, cookie), {}

    def unnamed(self, fields: list[int]) -> _Step:
        parent, length = fields
        return PendingRows.drop_name, (parent, self._text(length)), {}

    def drafted(self, fields: list[int]) -> _Step:
        return PendingRows.put_draft, (*fields, ()), {}

    def region(self, fields: list[int]) -> _Step:
        ino, start, file_start, length, spool = fields
        row = (start, file_start, None if length == _NONE else length, spool)
        return PendingRows.put_region, (ino, row), {}

    def undrafted(self, fields: list[int]) -> _Step:
        return PendingRows.drop_draft, tuple(fields), {}

    def setting(self, fields: list[int]) -> _Step:
        value, length = fields
        return PendingRows.put_setting, (self._text(length).decode(), value), {}

    def cut(self, fields: list[int]) -> _Step:
        return PendingRows.cut_regions, tuple(fields), {}


_ROWS: dict[int, tuple[struct.Struct, Callable[[_Told, list[int]], _Step]]] = {
    _NEW: (_INODE, _Told.new),
    _CHANGED: (_INODE, _Told.changed),
    _GONE: (_NUMBER, _Told.gone),
    _NAMED: (_NAME, _Told.named),
    _UNNAMED: (_NAME_GONE, _Told.unnamed),
    _DRAFTED: (_DRAFT, _Told.drafted),
    _REGIONED: (_REGION, _Told.region),
    _UNDRAFTED: (_NUMBER, _Told.undrafted),
    _SET: (_SETTING, _Told.setting),
    _CUT: (_CUT_FORM, _Told.cut),
}
