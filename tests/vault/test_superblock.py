"""The superblock, and what a directory has to be to become a vault."""

import hashlib
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import NotAVault, SuperblockCorrupt, UnknownFormat, VaultError
from stowkenfs.vault.superblock import (
    SUPERBLOCK_BYTES,
    Superblock,
    read_superblock,
    write_superblock,
)
from stowkenfs.vault.vault import Vault
from tests.running import run

BLOCK = Superblock(uuid.UUID(int=7), 1_700_000_000_000_000_000)


@given(st.uuids(), st.integers(0, 2**64 - 1))
def test_round_trip(vault_id: uuid.UUID, created_ns: int) -> None:
    block = Superblock(vault_id, created_ns)
    assert len(block.encode()) == SUPERBLOCK_BYTES
    assert Superblock.decode(block.encode()) == block


def test_every_flipped_bit_and_cut_is_seen() -> None:
    encoded = BLOCK.encode()
    for bit in range(8 * len(encoded)):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(SuperblockCorrupt):
            Superblock.decode(bytes(damaged))
    for length in range(len(encoded)):
        with pytest.raises(SuperblockCorrupt):
            Superblock.decode(encoded[:length])


@given(st.binary(max_size=80))
def test_hostile_bytes(content: bytes) -> None:
    for hostile in (content, b"STOWKEN\n" + content):
        with pytest.raises(SuperblockCorrupt):
            Superblock.decode(hostile)


@pytest.mark.parametrize("version", [0, 5, 2**32 - 1])
def test_other_versions_are_refused_by_name(version: int) -> None:
    fields = struct.pack("<8sI16sQ", b"STOWKEN\n", version, bytes(16), 5)
    with pytest.raises(UnknownFormat, match=f"version {version}"):
        Superblock.decode(fields + hashlib.sha256(fields).digest()[:16])


def test_a_directory_becomes_a_vault(tmp_path: Path) -> None:
    assert read_superblock(tmp_path) is None
    assert read_superblock(tmp_path / "absent") is None
    write_superblock(tmp_path, BLOCK)
    assert read_superblock(tmp_path) == BLOCK
    assert [path.name for path in tmp_path.iterdir()] == ["superblock"]
    assert (tmp_path / "superblock").stat().st_mode & 0o777 == 0o600


def test_an_interrupted_creation_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "superblock.new").write_bytes(b"half")
    (tmp_path / "lock").write_bytes(b"{}")
    assert read_superblock(tmp_path) is None
    write_superblock(tmp_path, BLOCK)
    assert read_superblock(tmp_path) == BLOCK


def open_vault(path: Path) -> None:
    async def main() -> None:
        async with Vault.open(path):
            pass

    run("trio", main)


def test_what_is_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    file = tmp_path / "notes.txt"
    for path in (tmp_path, file):
        with pytest.raises(NotAVault, match="not a stowkenfs vault"):
            open_vault(path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    assert file.read_text() == "mine"


def test_each_damaged_byte_of_a_real_vault_is_named(tmp_path: Path) -> None:
    open_vault(tmp_path / "v")
    path = tmp_path / "v" / "superblock"
    encoded = path.read_bytes()
    before = names_but_closed(path.parent)
    assert before[3] == "opened-1"
    for at in range(len(encoded)):
        path.write_bytes(encoded[:at] + bytes((encoded[at] ^ 0xFF,)) + encoded[at + 1 :])
        with pytest.raises((SuperblockCorrupt, VaultError)):
            open_vault(path.parent)
    path.write_bytes(b"")
    with pytest.raises(SuperblockCorrupt):
        open_vault(path.parent)
    path.write_bytes(encoded)
    open_vault(path.parent)
    before[3] = "opened-2"
    assert names_but_closed(path.parent) == before


def names_but_closed(directory: Path) -> list[str]:
    """Names in a vault, but for the one that has the hash of the index in it."""
    names = sorted(entry.name for entry in directory.iterdir())
    assert [name.startswith("closed-") for name in names].count(True) == 1
    return [name for name in names if not name.startswith("closed-")]
