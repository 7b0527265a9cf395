"""An index that does not go with the packs is refused, and takes nothing away."""

import shutil
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import IndexDamaged
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.opened import times_opened
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.vault import Vault
from tests.running import names_in

CONFIG = VaultConfig(lock_wait_seconds=0, compression_level=1)
TEXT = b'{"role":"user","content":"A record of more than forty-eight bytes, number %d."}\n'


async def _write(directory: Path, *numbers: int) -> None:
    async with Vault.open(directory, CONFIG) as vault:
        for number in numbers:
            await vault.write_document(b"/%d" % number, TEXT % number * 50)


async def _check(directory: Path, *numbers: int) -> None:
    async with Vault.open(directory, CONFIG) as vault:
        for number in numbers:
            inode = vault.tree.resolve(b"/%d" % number)
            assert await vault.read_file(inode.ino) == TEXT % number * 50
        assert (await vault.verify()).clean


def _packs(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((directory / "packs").iterdir())}


def _marks(directory: Path) -> list[str]:
    return [name for name in names_in(directory) if name.startswith("opened-")]


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    anyio.run(_write, tmp_path / "vault", 1)
    return tmp_path / "vault"


def test_each_opening_is_counted_in_a_file_without_content(vault: Path) -> None:
    for number in (1, 2, 3):
        assert _marks(vault) == [f"opened-{number}"]
        assert (vault / f"opened-{number}").stat().st_blocks == 0
        anyio.run(_check, vault, 1)
    assert times_opened(vault) == 4


def test_an_index_from_before_is_refused_and_another_made_of_the_packs(vault: Path) -> None:
    """What was stored since would be taken for what a crash left behind its rows."""
    shutil.copyfile(vault / "index.db", vault.parent / "before")
    anyio.run(_write, vault, 2, 3)
    shutil.copyfile(vault.parent / "before", vault / "index.db")
    packs = _packs(vault)
    for _ in range(2):
        with pytest.raises(IndexDamaged, match=r"older than the packs.*stowkenfs reindex"):
            anyio.run(_check, vault, 1)
    assert _packs(vault) == packs
    report = anyio.run(rebuild_index, vault)
    assert report.clean
    anyio.run(_check, vault, 1, 2, 3)


def test_what_an_index_from_before_did_not_tell_is_not_told_again(tmp_path: Path) -> None:
    """Its last changes were told by it, or undone since."""
    directory, copy = tmp_path / "vault", tmp_path / "copy"

    async def change() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            await vault.write_document(b"/1", TEXT % 1 * 50)
            shutil.copytree(directory, copy)  # as a crash would leave it: untold
        async with Vault.open(directory, CONFIG) as vault:
            vault.tree.rename(1, b"1", 1, b"2")  # type: ignore[arg-type]

    anyio.run(change)
    for path in directory.glob("index.db*"):
        path.unlink()
    for path in copy.glob("index.db*"):
        shutil.copyfile(path, directory / path.name)
    with pytest.raises(IndexDamaged, match=r"older|not what it was"):
        anyio.run(_check, directory)
    anyio.run(rebuild_index, directory)

    async def names() -> list[bytes]:
        async with Vault.open(directory, CONFIG) as vault:
            return [path async for path, _ in vault.walk()]

    assert anyio.run(names) == [b"/2"]


def test_the_index_of_another_vault_is_refused(vault: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for _ in range(5):  # so that it has counted more
        anyio.run(_write, other, 9)
    shutil.copyfile(other / "index.db", vault / "index.db")
    packs = _packs(vault)
    with pytest.raises(IndexDamaged, match="another vault"):
        anyio.run(_check, vault, 1)
    assert _packs(vault) == packs
    anyio.run(rebuild_index, vault)
    anyio.run(_check, vault, 1)


def test_a_copy_of_all_of_it_goes_on(vault: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(vault, copy)
    anyio.run(_write, vault, 2)
    anyio.run(_write, copy, 3)
    anyio.run(_check, copy, 1, 3)


def test_killed_between_the_two(vault: Path) -> None:
    """The index has counted one more than the file says."""
    (vault / "opened-1").rename(vault / "opened-0-lost")
    (vault / "opened-1").touch()
    anyio.run(_check, vault, 1)
    (vault / _marks(vault)[-1]).rename(vault / "opened-1")
    anyio.run(_check, vault, 1)
    assert "opened-3" in _marks(vault)


def test_without_the_file_any_index_will_do(vault: Path) -> None:
    """A vault of an earlier release has none."""
    (vault / "opened-1").unlink()
    anyio.run(_check, vault, 1)
    assert _marks(vault) == ["opened-2"]
