"""The superblock: what makes a directory a vault (FORMAT.md, "Superblock")."""

import hashlib
import os
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from stowkenfs.errors import NotAVault, SuperblockCorrupt, UnknownFormat
from stowkenfs.store.local import private, sync_directory

MAGIC = b"STOWKEN\n"
FORMAT_VERSION = 4
_FIELDS = struct.Struct("<8sI16sQ")  # magic, version, vault id, created_ns
_CHECKSUM_BYTES = 16
SUPERBLOCK_BYTES = _FIELDS.size + _CHECKSUM_BYTES
_ADVICE = "; 'stowkenfs reindex VAULT' makes another one for the packs that are there"


@dataclass(frozen=True, slots=True)
class Superblock:
    """Written when the vault is made, and when a later release first opens it."""

    vault_id: uuid.UUID
    created_ns: int
    version: int = FORMAT_VERSION

    def encode(self) -> bytes:
        fields = _FIELDS.pack(MAGIC, self.version, self.vault_id.bytes, self.created_ns)
        return fields + hashlib.sha256(fields).digest()[:_CHECKSUM_BYTES]

    @classmethod
    def decode(cls, content: bytes) -> "Superblock":
        """Raises SuperblockCorrupt, or UnknownFormat for one of a later release."""
        if len(content) < SUPERBLOCK_BYTES or not content.startswith(MAGIC):
            raise SuperblockCorrupt(f"the superblock is not one of a stowkenfs vault{_ADVICE}")
        fields, checksum = content[: _FIELDS.size], content[_FIELDS.size : SUPERBLOCK_BYTES]
        if hashlib.sha256(fields).digest()[:_CHECKSUM_BYTES] != checksum:
            reason = "the superblock is damaged: its checksum does not match"
            raise SuperblockCorrupt(reason + _ADVICE)
        _, version, vault_id, created_ns = _FIELDS.unpack(fields)
        if not 1 <= version <= FORMAT_VERSION:
            raise UnknownFormat(version, FORMAT_VERSION)
        return cls(uuid.UUID(bytes=vault_id), created_ns, version)


def read_superblock(directory: Path) -> Superblock | None:
    """The superblock of ``directory``; None where there is no vault yet and may be one.

    Raises NotAVault for a directory that holds something else.
    """
    try:
        content = (directory / "superblock").read_bytes()
    except FileNotFoundError:
        if directory.exists() and any(
            # An interrupted creation leaves no more than these.
            entry.name not in ("superblock.new", "lock")
            for entry in directory.iterdir()
        ):
            raise NotAVault(directory) from None
        return None
    except NotADirectoryError:
        raise NotAVault(directory) from None
    return Superblock.decode(content)


def require_superblock(directory: Path) -> Superblock:
    """The superblock of a directory that has to be a vault. Raises NotAVault."""
    superblock = read_superblock(directory)
    if superblock is None:
        raise NotAVault(directory)
    return superblock


def write_superblock(directory: Path, superblock: Superblock) -> None:
    """Make ``directory`` a vault: the superblock appears whole or not at all."""
    temporary = directory / "superblock.new"
    content = superblock.encode()
    assert Superblock.decode(content) == superblock
    fd = private(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    temporary.rename(directory / "superblock")
    sync_directory(directory)
