"""``/lost+found``: bytes and files that nothing names any more, put where people find them.

A draft's file becomes that of a new file's draft, under a second name: whatever happens then,
one of the two names stays until an opening finds the rows.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.drafts import DraftTable, Region
from stowkenfs.index.inodes import InodeTable
from stowkenfs.index.rows import Inode
from stowkenfs.store.local import sync_directory
from stowkenfs.vault.draft_files import draft_path, parse_draft_name
from stowkenfs.vault.reindex.report import ReindexReport

FOLDER = b"lost+found"
NAME_BYTES_MAX = 200


@dataclass(slots=True)
class Taken:
    """Files of drafts whose places are not known. ``inodes``: whose own they were.

    ``spool_bytes``: length of the longest of those that were of any.
    """

    inodes: set[InodeNo] = field(default_factory=set)
    spool_bytes: int = 0

    def add(self, name: str, length: int) -> None:
        named = parse_draft_name(name)
        if named is not None:
            self.inodes.add(named[0])
        else:
            self.spool_bytes = max(self.spool_bytes, length)


class LostAndFound:
    """Makes files in a folder of the root, which is made when the first one comes.

    ``next_ino``: one past the highest inode that was ever given out.
    """

    def __init__(
        self,
        connection: Connection,
        inodes: InodeTable,
        next_ino: int,
        now_ns: int,
        report: ReindexReport,
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._drafts = DraftTable(connection)
        self.next_ino = next_ino
        self._now_ns = now_ns
        self._report = report
        self._folder: InodeNo | None = None

    def make_root(self) -> None:
        """The root, if nothing tells of it."""
        if self._inodes.get(ROOT_INODE) is None:
            self._inodes.insert(self._inode(ROOT_INODE, stat.S_IFDIR | 0o755, 2, ROOT_INODE))
            self.next_ino = max(self.next_ino, ROOT_INODE + 1)

    def _inode(self, ino: InodeNo, mode: int, nlink: int, parent: InodeNo) -> Inode:
        now = self._now_ns
        owner = os.getuid(), os.getgid()
        return Inode(ino, mode, *owner, nlink, 0, 0, now, now, now, parent, None)

    def _new(self) -> InodeNo:
        self.next_ino += 1
        return InodeNo(self.next_ino - 1)

    def _home(self) -> InodeNo:
        """The folder; one that exists is used."""
        if self._folder is None:
            found = self._inodes.find(ROOT_INODE, FOLDER)
            inode = self._inodes.get(found) if found is not None else None
            if inode is None or not stat.S_ISDIR(inode.mode):
                name = self._free_name(ROOT_INODE, FOLDER)
                found = self._new()
                self._inodes.insert(self._inode(found, stat.S_IFDIR | 0o700, 2, ROOT_INODE))
                self._inodes.link(ROOT_INODE, name, found)
                root = self._inodes.get(ROOT_INODE)
                assert root is not None
                self._inodes.update(replace(root, nlink=root.nlink + 1))
            self._folder = found
        assert self._folder is not None
        return self._folder

    def _free_name(self, parent: InodeNo, name: bytes) -> bytes:
        number, candidate = 1, name
        while self._inodes.find(parent, candidate) is not None:
            number += 1
            candidate = b"%s (%d)" % (name, number)
        return candidate

    def put(self, inode: Inode, name: bytes) -> None:
        """Give ``inode`` a name here."""
        home = self._home()
        name = self._free_name(home, name[:NAME_BYTES_MAX])
        self._inodes.link(home, name, inode.ino)
        if stat.S_ISDIR(inode.mode):
            self._inodes.update(replace(inode, parent=home))
            folder = self._inodes.get(home)
            assert folder is not None
            self._inodes.update(replace(folder, nlink=folder.nlink + 1))
        path = b"/" + FOLDER + b"/" + name
        self._report.add(self._report.recovered, path.decode("utf-8", "backslashreplace"))

    # Drafts

    def take_drafts(self, drafts: Path, known: Iterable[str]) -> "Taken":
        """Make files of all in ``drafts`` that ``known`` does not name; what these were of."""
        found = Taken()
        kept = set(known)
        taken = {path.stat().st_ino for path in drafts.iterdir() if path.name in kept}
        for path in sorted(drafts.iterdir()):
            status = path.stat()
            if not status.st_size or not path.is_file() or path.name in kept:
                continue
            found.add(path.name, status.st_size)
            # What an interrupted rebuild made already has two names.
            if status.st_ino in taken:
                continue
            taken.add(status.st_ino)
            self._take(drafts, path, status)
        sync_directory(drafts)
        return found

    def _take(self, drafts: Path, path: Path, status: os.stat_result) -> None:
        ino = self._new()
        named = parse_draft_name(path.name)
        generation = _unused(drafts, ino)
        os.link(path, draft_path(drafts, ino, generation))
        inode = replace(
            self._inode(ino, stat.S_IFREG | 0o600, 1, InodeNo(0)),
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
        )
        self._inodes.insert(inode)
        self._drafts.put(ino, generation, [Region(0, 0, status.st_size)])
        self.put(inode, self._name_of(path, named))

    def _name_of(self, path: Path, named: tuple[InodeNo, int] | None) -> bytes:
        """What a draft's bytes are, as far as its file's name and the tree tell."""
        if named is None:
            return b"written lately to several files, " + os.fsencode(path.name)
        where = self._inodes.path_of(named[0])
        if where is None:
            return b"written lately to a file that is not known, " + os.fsencode(path.name)
        return b"written lately to " + where[1:].replace(b"/", b"%")[-150:]


def _unused(drafts: Path, ino: InodeNo) -> int:
    generation = 1
    while draft_path(drafts, ino, generation).exists():
        generation += 1
    return generation


def draft_names(connection: Connection) -> Iterator[str]:
    """Files under ``drafts/`` that rows name."""
    table = DraftTable(connection)
    for ino, generation in table.all():
        yield f"{ino:x}.{generation:x}"
    for spool in table.spool_references():
        yield f"spool-{spool:x}"
