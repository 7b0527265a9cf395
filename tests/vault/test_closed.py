"""The hash of the index that a closed vault has in the name of a file."""

import shutil
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import IndexDamaged
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault

CONFIG = VaultConfig(lock_wait_seconds=0, seal_after_seconds=0)
TEXT = b'{"role":"user","content":"A record of more than forty-eight bytes, number %d."}\n'


async def write(directory: Path, number: int) -> None:
    async with Vault.open(directory, CONFIG) as vault:
        await vault.write_document(b"/%d" % number, TEXT % number)


async def read(directory: Path, number: int) -> bytes:
    async with Vault.open(directory, CONFIG) as vault:
        return await vault.read_file(vault.tree.resolve(b"/%d" % number).ino)


def marks(directory: Path) -> list[Path]:
    return sorted(directory.glob("closed-*"))


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    anyio.run(write, tmp_path / "vault", 1)
    return tmp_path / "vault"


def test_it_is_there_while_it_holds_and_takes_no_room(vault: Path, tmp_path: Path) -> None:
    async def use() -> None:
        async with Vault.open(vault, CONFIG) as opened:
            assert [path.name[:9] for path in marks(vault)] == ["closed-2-"]
            await opened.write_document(b"/2", TEXT % 2)
            shutil.copytree(vault, tmp_path / "killed")
            await opened.shorten_index_log()
            assert not marks(vault)

    (before,) = marks(vault)
    assert before.stat().st_blocks == 0
    anyio.run(use)
    (after,) = marks(vault)
    assert after.name[-32:] != before.name[-32:]
    assert anyio.run(read, tmp_path / "killed", 2) == TEXT % 2


@pytest.mark.parametrize("state", ["closed", "killed"])
def test_any_other_byte_of_the_index_is_seen(vault: Path, tmp_path: Path, state: str) -> None:
    async def kill() -> None:
        async with Vault.open(vault, CONFIG) as opened:
            await opened.write_document(b"/2", TEXT % 2)
            shutil.copytree(vault, tmp_path / "killed")

    if state == "killed":
        anyio.run(kill)
        vault = tmp_path / "killed"
    index = vault / "index.db"
    content = index.read_bytes()
    for at in range(0, len(content), 997):
        index.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
        for _ in range(2):
            with pytest.raises(IndexDamaged, match="stowkenfs reindex"):
                anyio.run(read, vault, 1)
    rebuild_closed(vault)
    assert anyio.run(read, vault, 1) == TEXT % 1


def test_a_release_that_does_not_know_it_counts_on(vault: Path) -> None:
    """And leaves it behind, with an index that is another one by then."""
    (mark,) = marks(vault)
    anyio.run(write, vault, 2)
    marks(vault)[0].rename(mark)
    assert anyio.run(read, vault, 2) == TEXT % 2
    assert len(marks(vault)) == 1


def test_a_whole_index_stays_where_packs_lost_what_it_knows(vault: Path) -> None:
    pack = next((vault / "packs").iterdir())
    content = pack.read_bytes()
    pack.write_bytes(content[: content.rindex(b"SKb1")])  # the tree
    report = rebuild_closed(vault)
    assert not (vault / "index.db.damaged").exists()
    assert report.names == 0
    assert anyio.run(read, vault, 1) == TEXT % 1
