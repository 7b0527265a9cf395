"""Paths of many files at once, against those of each."""

import anyio
import pytest

from stowkenfs import Vault
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index import paths
from stowkenfs.index.paths import paths_of

NAMES = [b"/a", b"/d/a", b"/d/e/f/g/b", b"/d/e/c", b"/x/y/\xff", b"/x/y/z"]


async def paths_in(vault: Vault, inodes: set[InodeNo]) -> dict[InodeNo, bytes]:
    async with vault._connection.scanner() as scan:
        return await paths_of(scan, vault._frozen, inodes)


@pytest.mark.parametrize("at_once", [2, 10_000])
def test_each_gets_its_path(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is frozen of it, and none where the name was removed."""
    monkeypatch.setattr(paths, "INODES_AT_ONCE", at_once)

    async def main() -> None:
        async with Vault.memory() as vault:
            for name in NAMES:
                await vault.write_document(name, name)
            inodes = {name: vault.tree.resolve(name).ino for name in NAMES}
            expected = {ino: name for name, ino in inodes.items()}
            assert await paths_in(vault, set(expected)) == expected
            await vault.compact()
            assert vault._frozen.has_names
            await vault.write_document(b"/d/e/new", b"new")
            new = vault.tree.resolve(b"/d/e/new").ino
            vault.tree.unlink(vault.tree.resolve(b"/x/y").ino, b"z")
            del expected[inodes[b"/x/y/z"]]
            expected[new] = b"/d/e/new"
            assert await paths_in(vault, {*inodes.values(), new}) == expected
            assert await paths_in(vault, {ROOT_INODE}) == {ROOT_INODE: b"/"}
            assert await paths_in(vault, set()) == {}

    anyio.run(main)


def test_directories_that_were_moved_meanwhile_are_no_circle() -> None:
    names = {InodeNo(2): (InodeNo(3), b"a"), InodeNo(3): (InodeNo(2), b"b")}
    assert paths._path(InodeNo(2), names) is None
