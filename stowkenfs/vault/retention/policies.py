"""The policies of a vault: a list that packs tell of, too."""

import stat
from collections.abc import Callable, Mapping

from stowkenfs.errors import BadRequest, Corrupt, InvalidName, NotADirectory, NotFound, NotPermitted
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.connection import Connection
from stowkenfs.index.inodes import Inode, InodeTable
from stowkenfs.vault.names import HIDDEN_NAME
from stowkenfs.vault.retention.folder_paths import FolderPaths
from stowkenfs.vault.retention.policy import (
    NEVER,
    POLICIES_MAX,
    Policy,
    Stated,
    decode_policies,
    encode_policies,
)
from stowkenfs.vault.tree import Tree
from stowkenfs.vault.xattr_room import OWN_PREFIX, check_room

ATTRIBUTE = OWN_PREFIX + b"retention"
"""Of the root directory, which is always there; so one look-up finds all of them. An inode number
is never given to another folder: the policy of one that is gone means nothing."""


class Policies:
    """Which folders have a policy. Event loop's thread.

    Owned: ``_known``, what the index says, or None while that is not known.
    """

    def __init__(self, connection: Connection, inodes: InodeTable, tree: Tree) -> None:
        self._connection = connection
        self._inodes = inodes
        self._tree = tree
        self.paths = FolderPaths(connection, inodes, tree)
        self._known: dict[InodeNo, Stated] | None = None
        self._keeps_versions = False
        connection.on_rollback(self._forget)

    def _forget(self) -> None:
        self._known = None

    def all(self) -> Mapping[InodeNo, Stated]:
        """All that are stated, also of folders that are gone since. Raises Corrupt."""
        if self._known is None:
            self._know(decode_policies(self._inodes.xattr(ROOT_INODE, ATTRIBUTE) or b""))
        assert self._known is not None
        return self._known

    def _know(self, stated: dict[InodeNo, Stated]) -> None:
        self._known = stated
        self._keeps_versions = any(
            isinstance(policy, Policy) and policy.versions for policy in stated.values()
        )

    @property
    def keeps_versions(self) -> bool:
        """Whether any folder keeps versions of its files; not if policies cannot be read."""
        if self._known is None:
            try:
                self.all()
            except Corrupt:
                return False
        return self._keeps_versions

    def versions_of(self, folder: InodeNo) -> int:
        """How many versions of a file in ``folder`` are kept: what the nearest folder says."""
        return self._nearest(folder, lambda policy: policy.versions) or 0

    def max_age_of(self, folder: InodeNo) -> int:
        """After how many seconds a file in ``folder`` goes; NEVER (0) if none does for its age."""
        return self._nearest(folder, lambda policy: policy.max_age_seconds) or NEVER

    def _nearest(self, folder: InodeNo, said: Callable[[Policy], int | None]) -> int | None:
        while True:
            policy = self.all().get(folder)
            found = said(policy) if isinstance(policy, Policy) else None
            if found is not None or folder == ROOT_INODE:
                return found
            try:
                folder = self._tree.inode(folder).parent
            except NotFound:
                return None

    def folders(self) -> list[tuple[bytes, InodeNo, Stated]]:
        """Path, inode and policy of each folder that has one, in the order of their paths."""
        found = []
        for ino, policy in self.all().items():
            path = self.paths.path(ino)
            if path is not None:
                found.append((path, ino, policy))
        return sorted(found, key=lambda folder: folder[0].split(b"/"))

    def folder(self, path: bytes) -> Inode:
        """The folder at ``path``; links are not followed. Raises TreeError, which says why not."""
        if b".." in path.split(b"/"):
            raise InvalidName("a folder is named by its path from the root, without '..'")
        inode = self._tree.inode(ROOT_INODE)
        for name in path.split(b"/"):
            if name in (b"", b"."):
                continue
            found = self._tree.lookup(inode.ino, name)
            if found is None or (inode.ino == ROOT_INODE and name == HIDDEN_NAME):
                raise NotFound(f"there is no folder {_shown(path)}; make it first")
            if stat.S_ISLNK(found.mode):
                raise NotADirectory(f"{_shown(name)} is a link; name the folder that it leads to")
            if not stat.S_ISDIR(found.mode):
                raise NotADirectory(f"{_shown(name)} is a file; policies are of folders")
            inode = found
        return inode

    def change(self, changes: Mapping[InodeNo, Policy | None]) -> None:
        """Set policies of folders, or take them away (None); all or none of them.

        Raises BadRequest if there are too many, NotPermitted without a policy to take away.
        """
        kept = {
            ino: policy for ino, policy in self.all().items() if self.paths.path(ino) is not None
        }
        for ino, policy in changes.items():
            if policy is not None:
                kept[ino] = policy
            elif kept.pop(ino, None) is None:
                raise NotPermitted("this folder has no policy of its own")
        if len(kept) > POLICIES_MAX:
            raise BadRequest(f"a vault has at most {POLICIES_MAX:,} policies")
        self._keep(encode_policies(kept))
        self._know(kept)

    def _keep(self, stated: bytes) -> None:
        check_room(self._inodes.xattrs(ROOT_INODE), ATTRIBUTE, stated)
        with self._connection.transaction():
            if stated:
                self._inodes.set_xattr(ROOT_INODE, ATTRIBUTE, stated)
            else:
                self._inodes.remove_xattr(ROOT_INODE, ATTRIBUTE)


def _shown(path: bytes) -> str:
    return repr(path.decode("utf-8", "backslashreplace"))


Told = Callable[[InodeNo, bytes, Inode], None]
"""Told of a file that is gone: its folder, its name, and its inode, with the names left."""
