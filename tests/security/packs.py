"""Vaults of one pack that says what the test wants."""

import uuid
from collections.abc import Sequence
from pathlib import Path

from stowkenfs.ids import InodeNo
from stowkenfs.index.changes import Change, DentryChange, InodeChange
from stowkenfs.index.inodes import Inode
from stowkenfs.store.block import Block, BlockKind, encode_block
from stowkenfs.vault.namespace import encode_changes
from stowkenfs.vault.superblock import Superblock, write_superblock

FILE, FOLDER, LINK = 0o100644, 0o040755, 0o120777


def inode(
    ino: int, mode: int = FILE, *, parent: int = 0, target: bytes | None = None, size: int = 0,
    nlink: int = 1, rdev: int = 0,
) -> InodeChange:  # fmt: skip
    """A statement about an inode."""
    found = Inode(
        InodeNo(ino), mode, 0, 0, nlink, size, rdev, 0, 0, 0, InodeNo(parent), target
    )  # fmt: skip
    return InodeChange(InodeNo(ino), found)


def name(parent: int, text: bytes, ino: int) -> DentryChange:
    """A statement about a name."""
    return DentryChange(InodeNo(parent), text, InodeNo(ino))


def told(changes: Sequence[Change], first: int = 0) -> bytes:
    """A namespace block that makes ``changes``."""
    payload, count = encode_changes(changes)
    return encode_block(Block(BlockKind.NAMESPACE, first, count, payload), level=3)


def make_vault(directory: Path, *blocks: bytes) -> Path:
    """A vault without an index, whose pack is ``blocks``."""
    (directory / "packs").mkdir(parents=True)
    write_superblock(directory, Superblock(uuid.UUID(int=7), 0))
    (directory / "packs" / "00000001.pack").write_bytes(b"".join(blocks))
    return directory
