"""Another superblock for a vault whose own is damaged or gone."""

import time
import uuid
from contextlib import suppress
from pathlib import Path

from stowkenfs.errors import Corrupt, IndexDamaged, NotAVault, SuperblockCorrupt, UnknownFormat
from stowkenfs.index.connection import read_index
from stowkenfs.index.schema import VERSION
from stowkenfs.store.block import HEADER_BYTES, stored_length
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.opened import VAULT
from stowkenfs.vault.superblock import Superblock, require_superblock, write_superblock


def is_superblock_damaged(directory: Path) -> bool:
    """Whether what makes this a vault is damaged, or gone from beside packs. Blocks.

    Raises NotAVault, and UnknownFormat for a vault of a later release.
    """
    try:
        require_superblock(directory)
    except SuperblockCorrupt:
        return True
    except NotAVault:
        if not _has_blocks(directory):
            raise
        return True
    return False


def make_superblock_again(directory: Path) -> None:
    """Write another one, for a vault that the caller has locked. Blocks.

    It has as much of the vault's id as the index knows, so that the two go together. Raises
    UnknownFormat for an index of a later release.
    """
    vault_id = uuid.uuid4().bytes
    index = directory / "index.db"
    with suppress(IndexDamaged, OSError):
        with read_index(index, "ro&immutable=1") as rows:
            ((version,),) = rows("PRAGMA user_version")
            found = dict(rows("SELECT name, value FROM setting")).get(VAULT)
        if version > VERSION:
            raise UnknownFormat(version, VERSION)
        if isinstance(found, int):
            vault_id = (found << 1 & (1 << 64) - 1).to_bytes(8) + vault_id[8:]
    write_superblock(directory, Superblock(uuid.UUID(bytes=vault_id), time.time_ns()))


def _has_blocks(directory: Path) -> bool:
    """Whether some pack begins as one does."""
    if not (directory / "packs").is_dir():
        return False
    store = LocalStore(directory / "packs", read_only=True)
    try:
        for pack, _ in store.packs():
            with suppress(Corrupt):
                stored_length(store.read(pack, 0, HEADER_BYTES), pack, 0)
                return True
    finally:
        store.close()
    return False
