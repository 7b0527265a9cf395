"""State as files of a vault: deduplicated, checksummed, and there for all in a mount."""

import stat
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import anyio

from stowkenfs.errors import (
    InvalidStateKey,
    IsADirectory,
    NoSuchAttribute,
    NotADirectory,
    NotFound,
    StateNotFound,
)
from stowkenfs.index.inodes import Inode
from stowkenfs.state.store import (
    StateEntry,
    check_key,
    check_value,
    has_expired,
    nanoseconds,
)
from stowkenfs.vault.files import Clock
from stowkenfs.vault.vault import Vault

EXPIRES = b"user.stowkenfs.expires"
"""The extended attribute that says when a file expires: ns since 1970, in decimal."""


class VaultStateStore:
    """Files below a folder of an open vault. Open it with ``VaultStateStore.open``."""

    def __init__(self, vault: Vault, folder: bytes, clock: Clock) -> None:
        self._vault = vault
        self._folder = folder
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(
        cls, vault: Vault, folder: str = "state", *, clock: Clock = time.time_ns
    ) -> AsyncIterator["VaultStateStore"]:
        """The store in a folder, made with the first value.

        At the end what was appended is sealed; the vault stays open.
        """
        try:
            yield cls(vault, b"/" + check_key(folder).encode(), clock)
        finally:
            if not vault.read_only:
                with anyio.CancelScope(shield=True):
                    await vault.sealer.seal_due(everything=True)

    async def get(self, key: str) -> bytes | None:
        """As in StateStore; also raises Corrupt for what is damaged on disk."""
        inode = self._find(self._path(key))
        return None if inode is None else await self._vault.read_file(inode.ino)

    async def put(
        self, key: str, content: bytes, *, expires_after: timedelta | None = None
    ) -> None:
        """As in StateStore; on return it survives a power cut."""
        path, check = self._path(key), check_value(content)
        expires = None
        if expires_after is not None:
            expires = b"%d" % (self._clock() + nanoseconds(expires_after))
        try:
            await self._vault.write_document(path, check, attributes={EXPIRES: expires})
        except (IsADirectory, NotADirectory):
            raise _not_a_file(key) from None
        await self._vault.sync()

    async def append(self, key: str, at: int, content: bytes) -> None:
        """As in StateStore; on return it survives a power cut."""
        inode = self._find(self._path(key))
        if inode is None or inode.size < at:
            raise StateNotFound(f"state {key!r} of {at} bytes or more")
        await self._vault.append_document(inode.ino, at, content)

    async def delete(self, key: str) -> bool:
        """As in StateStore; on return that survives a power cut."""
        path = self._path(key)
        was_there = self._find(path) is not None
        if self._find(path, even_expired=True) is not None:
            self._unlink(path)
            await self._vault.sync()
        return was_there

    async def list(self, prefix: str = "") -> Sequence[StateEntry]:
        """As in StateStore; goes through the files of the folder."""
        now = self._clock()
        return sorted(
            entry
            for entry in await self._entries()
            if entry.key.startswith(prefix) and not has_expired(entry.expires_ns, now)
        )

    async def sweep(self) -> int:
        """As in StateStore."""
        now, removed = self._clock(), 0
        for entry in await self._entries():
            if has_expired(entry.expires_ns, now):
                self._unlink(self._path(entry.key))
                removed += 1
        if removed:
            await self._vault.sync()
        return removed

    def _path(self, key: str) -> bytes:
        return self._folder + b"/" + check_key(key).encode()

    def _find(self, path: bytes, *, even_expired: bool = False) -> Inode | None:
        try:
            inode = self._vault.tree.resolve(path)
        except NotFound:
            return None
        if not stat.S_ISREG(inode.mode):
            return None
        if not even_expired and has_expired(self._expires_ns(inode), self._clock()):
            return None
        return inode

    def _expires_ns(self, inode: Inode) -> int | None:
        try:
            value = self._vault.tree.xattr(inode.ino, EXPIRES)
        except NoSuchAttribute:
            return None
        # Anybody can set it through a mount: what is no time is none.
        return int(value) if value.isdigit() and len(value) < 20 else None

    def _unlink(self, path: bytes) -> None:
        parent, _, name = path.rpartition(b"/")
        self._vault.tree.unlink(self._vault.tree.resolve(parent).ino, name)

    async def _entries(self) -> Sequence[StateEntry]:
        try:
            folder = self._vault.tree.resolve(self._folder)
        except NotFound:
            return []
        entries = []
        async for path, inode in self._vault.walk(folder.ino):
            key = path[1:].decode(errors="surrogateescape")
            if stat.S_ISREG(inode.mode) and _is_key(key):
                expires = self._expires_ns(inode)
                entries.append(StateEntry(key, inode.size, inode.mtime_ns, expires))
        return entries


def _is_key(key: str) -> bool:
    """Others may have put files there that no key names."""
    try:
        check_key(key)
    except InvalidStateKey:
        return False
    return True


def _not_a_file(key: str) -> InvalidStateKey:
    return InvalidStateKey(key, "is a folder of another key, or has a file as a folder")
