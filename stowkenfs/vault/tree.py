"""The rules of files and directories. Event loop's thread; nothing here waits."""

import os
import stat
from collections.abc import Callable, Sequence

from stowkenfs.errors import (
    AlreadyExists,
    AttributeExists,
    Corrupt,
    DirectoryNotEmpty,
    InvalidMove,
    IsADirectory,
    NameTooLong,
    NoSuchAttribute,
    NotADirectory,
    NotFound,
    NotPermitted,
    TooManyLinks,
)
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Dentry, Inode, InodeTable
from stowkenfs.index.space import giving_room
from stowkenfs.vault.files import Clock, FileTable
from stowkenfs.vault.listings import Listings
from stowkenfs.vault.names import HIDDEN_NAME, NAME_BYTES_MAX, check_name
from stowkenfs.vault.times import kept_time
from stowkenfs.vault.xattr_room import check_room

TARGET_BYTES_MAX = 4095
LINKS_MAX = 65000


class Tree:
    """Names and attributes; content is the file table's.

    ``listings``: the directories that somebody is in the middle of.
    """

    def __init__(
        self, connection: Connection, inodes: InodeTable, files: FileTable, clock: Clock
    ) -> None:
        self._connection = connection
        self._inodes = inodes
        self._files = files
        self._clock = clock
        self.listings = Listings()
        self.keeps_replaced: Callable[[Inode, InodeNo], bool] = lambda *_: False
        self.keep_replaced: Callable[[Inode, InodeNo, bytes], None] = lambda *_: None
        try:
            is_new = inodes.get(ROOT_INODE) is None
        except Corrupt:
            is_new = False  # it is there, and opening helps to find out what else is
        if is_new:
            self._make_root()

    def _make_root(self) -> None:
        now, mode, owner = self._clock(), stat.S_IFDIR | 0o755, (os.getuid(), os.getgid())
        number = self._inodes.new_number()
        if number != ROOT_INODE:
            raise self._connection.damaged("it has no root directory")
        self._inodes.insert(Inode(number, mode, *owner, 2, 0, 0, now, now, now, ROOT_INODE, None))

    # Looking

    def inode(self, ino: InodeNo) -> Inode:
        """Raises NotFound."""
        return self._files.inode(ino)

    def lookup(self, parent: InodeNo, name: bytes) -> Inode | None:
        """The inode behind a name, or None."""
        if len(name) > NAME_BYTES_MAX:
            raise NameTooLong(f"a name has at most {NAME_BYTES_MAX} bytes")
        found = self._inodes.find_inode(parent, name)
        return None if found is None else self._files.current(found)

    def resolve(self, path: bytes) -> Inode:
        """The inode at ``path`` from the root, links not followed. Raises NotFound."""
        inode = self.inode(ROOT_INODE)
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            found = self.lookup(inode.ino, name)
            if found is None:
                raise NotFound(f"{path!r} does not exist")
            inode = found
        return inode

    def page(
        self, directory: InodeNo, after: int, rows: int, *, hidden: bool = False
    ) -> list[tuple[Dentry, Inode]]:
        """Directory entries behind position ``after``, stable while the directory changes.

        Without the vault's own directory, unless ``hidden`` things are asked for.
        """
        found = self._inodes.page(directory, after, rows)
        if directory == ROOT_INODE and not hidden:
            shown = [entry for entry in found if entry[0].name != HIDDEN_NAME]
            if found and not shown:
                return self.page(directory, found[-1][0].cookie, rows)
            found = shown
        return [(dentry, self._files.current(inode)) for dentry, inode in found]

    def path_of(self, ino: InodeNo) -> bytes | None:
        """One path of a file, for messages."""
        return self._inodes.path_of(ino)

    # Making

    def create(
        self,
        parent: InodeNo,
        name: bytes,
        mode: int,
        uid: int,
        gid: int,
        *,
        rdev: int = 0,
        target: bytes | None = None,
    ) -> Inode:
        """A new file, directory (by its mode), link target or device.

        Raises AlreadyExists, NotFound (the directory was removed), NameTooLong.
        """
        check_name(name)
        directory = self._directory(parent)
        if self._inodes.find(parent, name) is not None:
            raise AlreadyExists(f"{name!r} exists")
        if target is not None and len(target) > TARGET_BYTES_MAX:
            raise NameTooLong(f"a link target has at most {TARGET_BYTES_MAX} bytes")
        is_directory = stat.S_ISDIR(mode)
        if directory.mode & stat.S_ISGID:  # a set-group-id directory hands its group down
            gid = directory.gid
            mode |= stat.S_ISGID if is_directory else 0
        now = self._clock()
        inode = Inode(
            ino=self._inodes.new_number(),
            mode=mode,
            uid=uid,
            gid=gid,
            nlink=2 if is_directory else 1,
            size=len(target) if target is not None else 0,
            rdev=rdev,
            atime_ns=now,
            mtime_ns=now,
            ctime_ns=now,
            parent=parent if is_directory else InodeNo(0),
            target=target,
        )
        with self._connection.change():
            self._inodes.insert(inode)
            self._inodes.link(parent, name, inode.ino, is_new=True)
            self._touch(directory, now, links=int(is_directory))
        return inode

    def create_nameless(self, mode: int, uid: int, gid: int) -> Inode:
        """A file that goes with its last user, or at the next opening, unless it gets a name."""
        now = self._clock()
        number = self._inodes.new_number()
        inode = Inode(number, mode, uid, gid, 0, 0, 0, now, now, now, InodeNo(0), None)
        self._inodes.insert(inode)
        self._files.nameless.keep(number)
        return inode

    def give_name(self, ino: InodeNo, parent: InodeNo, name: bytes) -> Inode:
        """The first name of a nameless file. Raises AlreadyExists, NotFound, NameTooLong."""
        inode = self.inode(ino)
        assert inode.nlink == 0, "a file with a name gets another one by link()"
        return self._add_name(inode, parent, name)

    def link(self, ino: InodeNo, parent: InodeNo, name: bytes) -> Inode:
        """One more name for a file."""
        inode = self.inode(ino)
        if stat.S_ISDIR(inode.mode):
            raise NotPermitted("a directory has one name")
        if inode.nlink == 0:
            raise NotFound("the file has no name left to link from")
        return self._add_name(inode, parent, name)

    def _add_name(self, inode: Inode, parent: InodeNo, name: bytes) -> Inode:
        check_name(name)
        directory = self._directory(parent)
        if inode.nlink >= LINKS_MAX:
            raise TooManyLinks(f"a file has at most {LINKS_MAX} names")
        if self._inodes.find(parent, name) is not None:
            raise AlreadyExists(f"{name!r} exists")
        now = self._clock()
        with self._connection.change():
            self._inodes.link(parent, name, inode.ino, is_new=True)
            inode.nlink += 1
            inode.ctime_ns = now
            self._inodes.update(inode)
            self._touch(directory, now)
        return inode

    # Removing

    def unlink(self, parent: InodeNo, name: bytes) -> Inode:
        """Remove a name; content goes with the last name and the last user."""
        directory, inode = self._directory(parent), self._child(parent, name)
        if stat.S_ISDIR(inode.mode):
            raise IsADirectory(f"{name!r} is a directory")
        return self._remove(directory, name, inode)

    def rmdir(self, parent: InodeNo, name: bytes) -> Inode:
        """Remove an empty directory."""
        directory, inode = self._directory(parent), self._child(parent, name)
        self._check_removable(inode, name)
        return self._remove(directory, name, inode)

    def _remove(self, directory: Inode, name: bytes, inode: Inode) -> Inode:
        now = self._clock()
        with giving_room(), self._connection.change():
            self._inodes.unlink(directory.ino, name)
            self._drop_name(inode, now)
            self._touch(directory, now, links=-int(stat.S_ISDIR(inode.mode)))
        return inode

    def _check_removable(self, inode: Inode, name: bytes) -> None:
        if not stat.S_ISDIR(inode.mode):
            raise NotADirectory(f"{name!r} is not a directory")
        if not self._inodes.is_empty(inode.ino):
            raise DirectoryNotEmpty(f"{name!r} is not empty")

    def _drop_name(self, inode: Inode, now: int) -> None:
        inode.nlink = 0 if stat.S_ISDIR(inode.mode) else inode.nlink - 1
        inode.ctime_ns = now
        if inode.nlink == 0 and not self._files.in_use(inode.ino):
            self._files.purge(inode.ino)
            return
        if inode.nlink == 0:
            self._files.nameless.keep(inode.ino)
        self._inodes.update(inode)

    # Moving

    def rename(
        self,
        parent: InodeNo,
        name: bytes,
        new_parent: InodeNo,
        new_name: bytes,
        *,
        replace: bool = True,
    ) -> None:
        """Move a name, over an existing one of the same sort if ``replace``."""
        check_name(new_name)
        source, target = self._directory(parent), self._directory(new_parent)
        inode = self._child(parent, name)
        victim = self.lookup(new_parent, new_name)
        if victim is not None and not replace:
            raise AlreadyExists(f"{new_name!r} exists")
        if victim is not None and victim.ino == inode.ino:
            return  # two names of one file: POSIX says to do nothing
        is_directory = stat.S_ISDIR(inode.mode)
        if is_directory:
            self._check_not_below(inode.ino, new_parent)
        if victim is not None:
            self._check_replaceable(victim, new_name, is_directory=is_directory)
        now = self._clock()
        keeps = victim is not None and self.keeps_replaced(victim, new_parent)
        with self._connection.transaction() if keeps else self._connection.change():
            if victim is not None and keeps:
                self.keep_replaced(victim, new_parent, new_name)
            elif victim is not None:
                self._drop_name(victim, now)
                target.nlink -= is_directory
            self._inodes.unlink(parent, name)
            self._inodes.link(new_parent, new_name, inode.ino, is_new=victim is None)
            if is_directory:
                inode.parent = new_parent
            inode.ctime_ns = now
            self._inodes.update(inode)
            if new_parent == parent:
                self._touch(target, now)
            else:
                self._touch(source, now, links=-int(is_directory))
                self._touch(target, now, links=int(is_directory))

    def _check_replaceable(self, victim: Inode, name: bytes, *, is_directory: bool) -> None:
        if is_directory:
            self._check_removable(victim, name)
        elif stat.S_ISDIR(victim.mode):
            raise IsADirectory(f"{name!r} is a directory")

    def exchange(self, parent: InodeNo, name: bytes, new_parent: InodeNo, new_name: bytes) -> None:
        """Swap what two names stand for."""
        source, target = self._directory(parent), self._directory(new_parent)
        one, other = self._child(parent, name), self._child(new_parent, new_name)
        for moved, destination in ((one, new_parent), (other, parent)):
            if stat.S_ISDIR(moved.mode):
                self._check_not_below(moved.ino, destination)
        now = self._clock()
        gained = int(stat.S_ISDIR(one.mode)) - int(stat.S_ISDIR(other.mode))
        with self._connection.change():
            self._inodes.link(parent, name, other.ino)
            self._inodes.link(new_parent, new_name, one.ino)
            for moved, destination in ((one, new_parent), (other, parent)):
                if stat.S_ISDIR(moved.mode):
                    moved.parent = destination
                moved.ctime_ns = now
                self._inodes.update(moved)
            if parent == new_parent:
                self._touch(source, now)
            else:
                self._touch(source, now, links=-gained)
                self._touch(target, now, links=gained)

    def _check_not_below(self, moved: InodeNo, directory: InodeNo) -> None:
        at = directory
        while True:
            if at == moved:
                raise InvalidMove("a directory cannot move into itself")
            if at == ROOT_INODE:
                return
            at = self.inode(at).parent

    # Attributes

    def set_attributes(
        self,
        ino: InodeNo,
        *,
        mode: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        size: int | None = None,
        atime_ns: int | None = None,
        mtime_ns: int | None = None,
    ) -> Inode:
        """Change what is given; the rest stays. The kernel has checked who may."""
        if size is not None:
            self._files.truncate(ino, size)
        inode = self.inode(ino)
        if mode is not None:
            inode.mode = stat.S_IFMT(inode.mode) | stat.S_IMODE(mode)
        inode.uid = inode.uid if uid is None else uid
        inode.gid = inode.gid if gid is None else gid
        inode.atime_ns = inode.atime_ns if atime_ns is None else kept_time(atime_ns)
        inode.mtime_ns = inode.mtime_ns if mtime_ns is None else kept_time(mtime_ns)
        inode.ctime_ns = self._clock()
        with self._connection.change():  # of which no half stays in memory
            self._inodes.update(inode)
        return inode

    def xattr(self, ino: InodeNo, name: bytes) -> bytes:
        """Raises NoSuchAttribute."""
        value = self._inodes.xattr(ino, name)
        if value is None:
            raise NoSuchAttribute(f"no attribute {name!r}")
        return value

    def xattr_names(self, ino: InodeNo) -> Sequence[bytes]:
        return self._inodes.xattr_names(ino)

    def set_xattr(
        self, ino: InodeNo, name: bytes, value: bytes, *, create: bool, replace: bool
    ) -> None:
        """Raises AttributeExists or NoSuchAttribute as asked for, and AttributesTooLarge."""
        inode = self.inode(ino)
        known = self._inodes.xattr(ino, name) is not None
        if create and known:
            raise AttributeExists(f"attribute {name!r} exists")
        if replace and not known:
            raise NoSuchAttribute(f"no attribute {name!r}")
        check_room(self._inodes.xattrs(ino), name, value)
        with self._connection.transaction():
            self._inodes.set_xattr(ino, name, value)
            inode.ctime_ns = self._clock()
            self._inodes.update(inode)

    def remove_xattr(self, ino: InodeNo, name: bytes) -> None:
        """Raises NoSuchAttribute."""
        self.xattr(ino, name)
        inode = self.inode(ino)
        with self._connection.transaction():
            self._inodes.remove_xattr(ino, name)
            inode.ctime_ns = self._clock()
            self._inodes.update(inode)

    # Helpers

    def _directory(self, ino: InodeNo) -> Inode:
        inode = self.inode(ino)
        if not stat.S_ISDIR(inode.mode):
            raise NotADirectory(f"inode {ino} is not a directory")
        if inode.nlink == 0:  # it stays for those who have it open
            raise NotFound(f"directory {ino} was removed")
        return inode

    def _child(self, parent: InodeNo, name: bytes) -> Inode:
        found = self.lookup(parent, name)
        if found is None:
            raise NotFound(f"{name!r} does not exist")
        return found

    def _touch(self, directory: Inode, now: int, *, links: int = 0) -> None:
        directory.mtime_ns = directory.ctime_ns = now
        directory.nlink += links
        self._inodes.update(directory)
