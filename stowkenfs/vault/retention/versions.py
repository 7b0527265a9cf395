"""Earlier versions of files, as policies of their folders keep them.

What a file holds is kept when it is about to be changed, if all of it is sealed: its extents
are copied, which takes no room for content. A file of which another one takes the name moves.
"""

import logging
import stat
from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Final

from cachetools import LRUCache

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.index.paths import names_of
from stowkenfs.vault.complaints import complain_of
from stowkenfs.vault.files import FILE_BYTES_MAX, FileTable
from stowkenfs.vault.retention.policies import Policies
from stowkenfs.vault.retention.version_tree import VersionTree
from stowkenfs.vault.tree import Tree

log = logging.getLogger(__name__)

EXTENTS_MAX: Final = 500
"""Of a file that is overwritten in place; of one in more pieces there is no version: copying
their places would keep the event loop for too long."""

PLACES_MAX: Final = 65_536
ARMED_MAX: Final = 4096
_WRITE_BITS: Final = 0o222

_Place = tuple[InodeNo, bytes]
"""A folder and a name in it."""


class Versions:
    """Event loop's thread.

    ``_places`` are hints where files are, of those that were looked up last; ``_armed`` where
    those are that may be written and of which versions are kept.
    """

    def __init__(
        self,
        connection: Connection,
        inodes: InodeTable,
        catalogue: Catalogue,
        files: FileTable,
        tree: Tree,
        policies: Policies,
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._catalogue = catalogue
        self._files = files
        self._tree = tree
        self._policies = policies
        self.tree = VersionTree(tree)
        self._places: LRUCache[InodeNo, _Place] = LRUCache(PLACES_MAX)
        self._armed: dict[InodeNo, _Place] = {}
        files.before_change = self._before_change
        tree.keeps_replaced = self._keeps_replaced
        tree.keep_replaced = self._keep_replaced

    # Where files are

    def seen(self, folder: InodeNo, name: bytes, ino: InodeNo) -> None:
        """A file was looked up: a hint, should it be written."""
        if self._policies.keeps_versions:
            self._places[ino] = (folder, name)

    async def prepare(self, ino: InodeNo) -> None:
        """A file is about to be opened to be written, or truncated: find out where it is.

        Names are found by directory. For one that was not looked up since versions are kept all
        names are gone through, beside the loop.
        """
        if not self._policies.keeps_versions:
            return
        place = self._places.get(ino)
        if place is None or self._inodes.find(*place) != ino:
            async with self._connection.scanner() as scan:
                place = (await names_of(scan, self._inodes.frozen, [ino])).get(ino)
        self._armed.pop(ino, None)
        if place is None or not self._policies.versions_of(place[0]):
            return
        if len(self._armed) >= ARMED_MAX:
            in_use = {one: at for one, at in self._armed.items() if self._files.has_users(one)}
            self._armed = in_use
        self._places[ino] = self._armed[ino] = place

    # Keeping

    def keep(self, folder: InodeNo, name: bytes, inode: Inode) -> None:
        """The file that has a name in a folder is about to get another content, as a whole.

        Not inside of a transaction: what fails here is none of its.
        """
        if self._policies.keeps_versions and not self._files.has_draft(inode.ino):
            self._armed[inode.ino] = (folder, name)
            self._before_change(inode)
            del self._armed[inode.ino]

    def _before_change(self, inode: Inode) -> None:
        """The content of a file, all of it sealed, is about to be another one."""
        place = self._armed.get(inode.ino)
        if place is None or not inode.size:
            return
        try:
            is_there = self._inodes.find(*place) == inode.ino
            kept = self._policies.versions_of(place[0]) if is_there else 0
            extents = self._catalogue.extents(inode.ino, 0, FILE_BYTES_MAX) if kept else ()
            if len(extents) > EXTENTS_MAX:
                log.warning("%r is in too many pieces for what it was to be kept", place[1])
            elif extents:
                self._copy(inode, extents, place, kept)
        except Corrupt as error:  # it may still be given another content
            log.error("what %r was is not kept: %s", place[1], error)  # noqa: TRY400
        except OSError as error:
            complain_of(log, error, "what files were is not kept")

    def _copy(self, inode: Inode, extents: Sequence[Extent], place: _Place, kept: int) -> None:
        with self._connection.transaction():
            directory = self.tree.make(*place)
            number = self.tree.next_number(directory)
            mode = inode.mode & ~_WRITE_BITS
            copy = self._tree.create(directory, number, mode, inode.uid, inode.gid)
            self._catalogue.replace_extents(copy.ino, 0, inode.size, extents)
            copy.size, copy.mtime_ns = inode.size, inode.mtime_ns
            self._inodes.update(copy)
            self.tree.prune(directory, kept)

    def _keeps_replaced(self, victim: Inode, folder: InodeNo) -> bool:
        """Whether a file that is about to lose its name to another one is to be kept."""
        if not self._policies.keeps_versions:
            return False
        if not stat.S_ISREG(victim.mode) or victim.nlink != 1 or not victim.size:
            return False
        live = self._files.live(victim.ino)
        if live is not None and live.writers:  # who would go on writing the version
            return False
        try:
            return self._policies.versions_of(folder) > 0
        except Corrupt:  # of a folder above; the file may be replaced all the same
            return False

    def _keep_replaced(self, victim: Inode, folder: InodeNo, name: bytes) -> None:
        """Give it a name among the versions; inside of the transaction that takes its own."""
        directory = self.tree.make(folder, name)
        number = self.tree.next_number(directory)
        self._inodes.link(directory, number, victim.ino, is_new=True)
        victim.mode &= ~_WRITE_BITS
        self._inodes.update(victim)
        self._inodes.name_conversation(victim.ino, ())
        self.tree.prune(directory, self._policies.versions_of(folder))

    # Reading

    def of(self, folder: InodeNo, name: bytes) -> list[Inode]:
        """Versions of the file that has a name in a folder, the newest first."""
        directory = self.tree.find(b"%d" % folder, name)
        return [inode for _, inode in reversed(self.tree.versions(directory))]

    def names(self, folder: InodeNo) -> Generator[list[bytes], None, None]:
        """Names in a folder of which there are versions, some at a time. Close it."""
        with closing(self.tree.pages(self.tree.find(b"%d" % folder))) as pages:
            for page in pages:
                yield [name for name, _ in page]
