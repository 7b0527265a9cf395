"""Extended attributes: the user's own, and what ``user.stowken.*`` tells of a file."""

import errno
import stat
from collections.abc import Callable, Sequence

from cachetools import LRUCache
from pyfuse3 import FUSEError

from stowkenfs.errors import NoSuchAttribute, NotPermitted
from stowkenfs.ids import InodeNo
from stowkenfs.vault.inspect import DocumentSummary
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.xattr_room import OWN_PREFIX

PREFIX = b"user.stowken."
TRUSTED_PREFIX = b"trusted."
NAMESPACES = (b"user.", TRUSTED_PREFIX, b"security.")
"""Not ``system.``, where access control lists are: kept as mere bytes they would replace a chmod
that then never comes. The kernel checks who may; it knows no others, and would let anybody."""

LIST_BYTES_MAX = 1 << 16
"""Of all names, each with the NUL behind it; with more the kernel lists none (listxattr(2))."""

SUMMARIES_MAX = 1024

_SHOWN: dict[bytes, Callable[[DocumentSummary], str]] = {
    PREFIX + b"tokens": lambda summary: str(summary.tokens),
    PREFIX + b"conversations": lambda summary: str(summary.conversations),
    PREFIX + b"segments": lambda summary: str(summary.segments),
    PREFIX + b"stored_bytes": lambda summary: str(summary.stored),
    PREFIX + b"ratio": lambda summary: f"{summary.ratio:.2f}",
}


class Xattrs:
    """``_summaries`` is a bounded cache by inode, size and change time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._tree = vault.tree
        self._summaries: LRUCache[tuple[int, int, int], DocumentSummary] = LRUCache(SUMMARIES_MAX)

    async def get(self, ino: InodeNo, name: bytes) -> bytes:
        """Raises NoSuchAttribute."""
        if name.startswith(OWN_PREFIX):
            raise NoSuchAttribute(f"no attribute {name!r}")
        if not name.startswith(PREFIX):
            return self._tree.xattr(ino, name)
        show = _SHOWN.get(name)
        inode = self._tree.inode(ino)
        if show is None or not stat.S_ISREG(inode.mode):
            raise NoSuchAttribute(f"no attribute {name!r}")
        version = (ino, inode.size, inode.ctime_ns)
        summary = self._summaries.get(version)
        if summary is None:
            summary = await self._vault.summarize(ino)
            if not summary.unsealed:  # sealing changes neither size nor times
                self._summaries[version] = summary
        return show(summary).encode()

    def names(self, ino: InodeNo, uid: int = 0) -> Sequence[bytes]:
        """Those that ``uid`` may know of; none but root sees trusted ones."""
        inode = self._tree.inode(ino)
        shown = _SHOWN if stat.S_ISREG(inode.mode) else ()
        own = [name for name in self._tree.xattr_names(ino) if not name.startswith(OWN_PREFIX)]
        if uid != 0:
            own = [name for name in own if not name.startswith(TRUSTED_PREFIX)]
        return [*own, *shown]

    def set(self, ino: InodeNo, name: bytes, value: bytes) -> None:
        _check_settable(name)
        names = {*self.names(ino), name}
        if sum(len(each) + 1 for each in names) > LIST_BYTES_MAX:
            raise FUSEError(errno.ENOSPC)
        self._tree.set_xattr(ino, name, value, create=False, replace=False)

    def remove(self, ino: InodeNo, name: bytes) -> None:
        _check_settable(name)
        self._tree.remove_xattr(ino, name)


def _check_settable(name: bytes) -> None:
    if not name.startswith(NAMESPACES):
        raise FUSEError(errno.EOPNOTSUPP)
    if name in NAMESPACES:
        raise FUSEError(errno.EINVAL)
    if name.startswith((PREFIX, OWN_PREFIX)):
        raise NotPermitted("attributes of stowken are not to be set")
