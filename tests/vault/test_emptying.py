"""Packs that go: at each moment those that stay tell all of the tree."""

import anyio
import pytest

from stowkenfs.ids import ROOT_INODE, PackNo
from stowkenfs.index import frozen_collect
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.vault import Vault
from tests.vault.rebuilding import (
    QUICK,
    Entry,
    chat,
    check,
    compact,
    run_step,
    told_by_packs,
    told_by_vault,
)

FILES = 24


@pytest.fixture(autouse=True)
def groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones, so that some are thawed and others stay."""
    monkeypatch.setattr(frozen_collect, "GROUP_ROWS", 4)


async def fill(vault: Vault) -> None:
    for number in range(FILES):
        await vault.write_document(b"/%d/%d.json" % (number % 3, number), chat(number))


def thaw(vault: Vault) -> None:
    """Touch, rename and remove some files of many groups."""
    tree = vault.tree
    for number in range(0, FILES, 2):
        inode = tree.resolve(b"/%d/%d.json" % (number % 3, number))
        tree.set_attributes(inode.ino, mtime_ns=number)
    folder = tree.resolve(b"/0").ino
    tree.rename(folder, b"0.json", ROOT_INODE, b"moved.json")
    tree.unlink(folder, b"3.json")


async def refill(vault: Vault) -> None:
    await fill(vault)
    thaw(vault)


async def gc(vault: Vault) -> None:
    await vault.gc()


@pytest.mark.parametrize(
    ("job", "is_told"), [("gc", False), ("gc", True), ("gc gc", True), ("compact", True)]
)
def test_groups_that_were_thawed_are_told_before_they_go(tmp_path, monkeypatch, job, is_told):
    """Whatever moment a kill leaves: what packs say is how it was, or how it is."""
    directory = tmp_path / "v"
    possible: list[dict[str, Entry]] = []
    looked = 0
    remove, sync = LocalStore.remove, LocalStore.sync

    def look() -> None:
        nonlocal looked
        if possible:
            assert told_by_packs(directory) in possible
            looked += 1

    def look_and_remove(store: LocalStore, pack: PackNo) -> None:
        look()
        remove(store, pack)
        look()

    def look_and_sync(store: LocalStore, pack: PackNo) -> None:
        look()
        sync(store, pack)

    async def collect(vault: Vault) -> None:
        possible.append(await told_by_vault(vault))
        thaw(vault)
        possible.append(await told_by_vault(vault))
        if is_told:
            await vault.write_namespace()
            del possible[0]
        monkeypatch.setattr(LocalStore, "remove", look_and_remove)
        monkeypatch.setattr(LocalStore, "sync", look_and_sync)
        for name in job.split():
            await (vault.gc() if name == "gc" else vault.compact(QUICK))
        assert told_by_packs(directory) == possible[-1]

    check(directory, fill, compact)
    packs = {pack for pack, _ in LocalStore(directory / "packs").packs()}
    anyio.run(run_step, directory, collect)
    assert packs - {pack for pack, _ in LocalStore(directory / "packs").packs()}
    assert looked > 2
    possible.clear()
    (directory / "index.db").unlink()
    assert anyio.run(rebuild_index, directory).clean
    check(directory, gc, refill, gc, gc)
