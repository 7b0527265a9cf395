"""``state/``: the tree of the vault again, each grid in all formats that grids come in."""

import logging
import stat
from collections.abc import AsyncIterator
from contextlib import closing

import anyio.lowlevel

from stowkenfs.control.format import printable
from stowkenfs.control.grid_views import SUFFIXES, GridViews
from stowkenfs.control.nodes import ControlDirectory, ControlFile, Node, Rendered, StoredFile
from stowkenfs.errors import BadRequest
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.inodes import Inode
from stowkenfs.vault.names import HIDDEN_NAME, NAME_BYTES_MAX
from stowkenfs.vault.vault import Vault

log = logging.getLogger(__name__)

PAGE_ROWS = 100
AT = b"@"


class StateFile(ControlFile):
    """A grid in one format."""

    is_kept = False

    def __init__(self, views: GridViews, ino: InodeNo, suffix: str) -> None:
        self._views = views
        self._ino = ino
        self._suffix = suffix

    async def render(self) -> Rendered:
        return await self._views.render(self._ino, self._suffix)


class StateDirectory(ControlDirectory):
    """A folder of the vault with ``NAME.bin``, ``NAME.json``, … for each grid NAME in it.

    ``NAME@N`` is what any file held before, as it was or, if that was a grid, with a suffix.
    """

    def __init__(self, vault: Vault, views: GridViews, ino: InodeNo = ROOT_INODE) -> None:
        self._vault = vault
        self._views = views
        self._ino = ino

    async def find(self, name: bytes) -> Node | None:
        """Raises BadRequest for a file that is no grid."""
        inode = self._stored(name)
        if inode is not None and stat.S_ISDIR(inode.mode):
            return StateDirectory(self._vault, self._views, inode.ino)
        for suffix in SUFFIXES:
            stem = name.removesuffix(suffix.encode())
            inode = None if stem in (name, b"") else self._stored(stem) or self._version(stem)
            if inode is not None and stat.S_ISREG(inode.mode):
                return await self._view(inode, stem, suffix)
        if name.endswith(AT) and self._vault.versions.of(self._ino, name[:-1]):
            return VersionsDirectory(self._vault, self._ino, name[:-1])
        version = self._version(name)
        return None if version is None else StoredFile(version.ino)

    def _stored(self, name: bytes) -> Inode | None:
        if self._ino == ROOT_INODE and name == HIDDEN_NAME:
            return None
        return self._vault.tree.lookup(self._ino, name) if len(name) <= NAME_BYTES_MAX else None

    def _version(self, name: bytes) -> Inode | None:
        """What ``NAME@N`` stands for."""
        stem, _, number = name.rpartition(AT)
        if not stem or not number.isdigit() or number.startswith(b"0") or len(number) > 9:
            return None
        versions = self._vault.versions.of(self._ino, stem)
        return versions[int(number) - 1] if int(number) <= len(versions) else None

    async def _view(self, inode: Inode, name: bytes, suffix: str) -> Node:
        refusal = await self._views.refusal(inode)
        if refusal is None:
            return StateFile(self._views, inode.ino, suffix)
        shown = printable(name.decode("utf-8", "backslashreplace"))
        self._views.last_refusal = f"{shown} is no grid that can be shown: {refusal}"
        log.info("state: %s", self._views.last_refusal)
        raise BadRequest(self._views.last_refusal)

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        """Folders, views of grids, of which to know each file is read, and earlier versions."""
        cookie = 0
        while page := self._vault.tree.page(self._ino, cookie, PAGE_ROWS):
            for dentry, inode in page:
                cookie = dentry.cookie
                if stat.S_ISDIR(inode.mode):
                    yield dentry.name, StateDirectory(self._vault, self._views, inode.ino)
                elif stat.S_ISREG(inode.mode) and await self._views.refusal(inode) is None:
                    for suffix in SUFFIXES:
                        name = dentry.name + suffix.encode()
                        if len(name) <= NAME_BYTES_MAX:
                            yield name, StateFile(self._views, inode.ino, suffix)
            await anyio.lowlevel.checkpoint()
        with closing(self._vault.versions.names(self._ino)) as pages:
            for names in pages:
                for name in names:
                    if len(name) < NAME_BYTES_MAX:
                        yield name + AT, VersionsDirectory(self._vault, self._ino, name)
                await anyio.lowlevel.checkpoint()


class VersionsDirectory(ControlDirectory):
    """``NAME@``: what a file held before, ``1`` the last time, ``2`` before that."""

    def __init__(self, vault: Vault, folder: InodeNo, name: bytes) -> None:
        self._vault = vault
        self._folder = folder
        self._name = name

    async def find(self, name: bytes) -> Node | None:
        async for number, node in self.names():
            if number == name:
                return node
        return None

    async def names(self) -> AsyncIterator[tuple[bytes, Node]]:
        for number, inode in enumerate(self._vault.versions.of(self._folder, self._name), 1):
            yield b"%d" % number, StoredFile(inode.ino)
