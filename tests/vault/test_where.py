"""Whose the bytes are: by folder, from files that share much or nothing."""

import json
import os
import random
from pathlib import Path

import pytest

from stowkenfs.vault import where as where_module
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.where import FolderBytes, Where, where_of
from tests.running import BACKENDS, run

CONFIG = VaultConfig(lock_wait_seconds=0, workers=0)


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


def chat(number: int) -> bytes:
    text = " ".join(random.Random(number).choices(["quay", "pier", "mole"], k=300))
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def folders_of(where: Where) -> dict[str, FolderBytes]:
    return {folder.name: folder for folder in where.folders.folders}


def content_bytes(where: Where) -> int:
    return where.stats.storage_bytes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("compacted", [False, True])
def test_each_folder_has_what_its_files_take(backend, compacted) -> None:
    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            await vault.write_document(b"/big/one.bin", noise(1, 200_000))
            await vault.write_document(b"/big/deep/two.bin", noise(2, 100_000))
            await vault.write_document(b"/small/three.bin", noise(3, 30_000))
            await vault.write_document(b"/alone", noise(4, 10_000))
            await vault.write_document(b"/chats/1.json", chat(1))
            if compacted:
                await vault.compact()
            return await where_of(vault)

    where = run(backend, main)
    found = folders_of(where)
    assert where.folders.top == "/"
    assert [folder.name for folder in where.folders.folders] == ["big", "small", ".", "chats"]
    assert (found["big"].files, found["big"].bytes_in) == (2, 300_000)
    assert (found["."].files, found["."].bytes_in) == (1, 10_000)
    # Noise cannot be made smaller; neighbours share a block, and its cost by their length.
    for name, length in (("big", 300_000), ("small", 30_000), (".", 10_000)):
        assert 0.95 * length <= found[name].stored_bytes <= 1.05 * length + 200
    assert 0 < found["chats"].stored_bytes < len(chat(1))
    told = sum(folder.stored_bytes for folder in where.folders.folders)
    assert abs(told + where.folders.unattributed_bytes - content_bytes(where)) <= 4
    assert where.folders.damaged == 0


def test_what_folders_share_is_divided_or_counts_once() -> None:
    async def main() -> tuple[Where, Where]:
        async with Vault.memory(CONFIG) as vault:
            await vault.write_document(b"/a/one.bin", noise(1, 100_000))
            before = await where_of(vault)
            await vault.write_document(b"/b/same.bin", noise(1, 100_000))
            return before, await where_of(vault)

    before, after = run("trio", main)
    assert before.folders.top == "/a"  # the only folder; its files are the page
    found = folders_of(after)
    assert found["a"].bytes_in == found["b"].bytes_in == 100_000
    assert abs(found["a"].stored_bytes - found["b"].stored_bytes) <= 1
    both = found["a"].stored_bytes + found["b"].stored_bytes
    assert 100_000 <= both <= 101_000


def test_a_file_with_two_names_counts_once() -> None:
    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            await vault.write_document(b"/a/file", noise(1, 50_000))
            await vault.write_document(b"/b/other", b"x")
            folder = vault.tree.resolve(b"/b").ino
            vault.tree.link(vault.tree.resolve(b"/a/file").ino, folder, b"again")
            return await where_of(vault)

    where = run("trio", main)
    assert sum(folder.files for folder in where.folders.folders) == 2
    assert sum(folder.bytes_in for folder in where.folders.folders) == 50_001


def test_the_page_begins_where_the_tree_branches() -> None:
    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            for name in (b"x", b"y"):
                await vault.write_document(b"/only/this/%s/file" % name, noise(1, 1000))
            return await where_of(vault)

    where = run("trio", main)
    assert where.folders.top == "/only/this"
    assert set(folders_of(where)) == {"x", "y"}


def test_an_empty_vault() -> None:
    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            return await where_of(vault)

    where = run("trio", main)
    assert (where.folders.top, where.folders.folders) == ("/", [])
    assert where.folders.unattributed_bytes == 0


def test_what_is_a_draft_is_content_that_is_not_stored_yet(tmp_path: Path) -> None:
    async def main() -> Where:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            await vault.write_document(b"/a/file", noise(1, 1000))
            inode = vault.tree.create(vault.make_directories(b"/b"), b"open", 0o100644, 0, 0)
            vault.files.acquire(inode.ino, writing=True)
            vault.files.write(inode.ino, 0, os.urandom(5000))
            where = await where_of(vault)
            vault.files.release(inode.ino, writing=True)
            return where

    found = folders_of(run("trio", main))
    assert found["b"] == FolderBytes("b", 1, 5000, 0)


def test_folders_beyond_the_limit_have_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where_module, "FOLDERS_MAX", 3)

    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            for number in range(8):
                await vault.write_document(b"/f%d/file" % number, noise(number, 10_000))
            return await where_of(vault)

    where = run("trio", main)
    assert len(where.folders.folders) == 3
    assert where.folders.more == 5
    assert where.folders.others is not None
    assert (where.folders.others.files, where.folders.others.bytes_in) == (5, 50_000)
    assert 50_000 <= where.folders.others.stored_bytes <= 51_000


def test_damage_is_counted_and_the_rest_is_told(tmp_path: Path) -> None:
    path = tmp_path / "vault"

    async def main() -> None:
        async with Vault.open(path, CONFIG) as vault:
            await vault.write_document(b"/a/file", noise(1, 10_000))
            await vault.write_document(b"/b/file", noise(2, 10_000))
            await vault.compact()

    async def look() -> Where:
        async with Vault.open(path, CONFIG) as vault:
            return await where_of(vault)

    run("trio", main)
    for pack in (path / "packs").iterdir():
        pack.write_bytes(bytes(pack.stat().st_size))
    where = run("trio", look)
    assert where.folders.damaged >= 1
    assert where.stats.bytes_in == 20_000


def test_told_as_numbers_and_back() -> None:
    async def main() -> Where:
        async with Vault.memory(CONFIG) as vault:
            await vault.write_document(b"/\xff\n\x1b[31m/file", noise(1, 1000))
            await vault.write_document("/潮/file".encode(), noise(2, 1000))
            return await where_of(vault)

    where = run("trio", main)
    assert set(folders_of(where)) == {"\\xff\n\x1b[31m", "潮"}
    assert Where.from_dict(json.loads(json.dumps(where.to_dict()))) == where


def test_a_long_walk_lets_others_have_their_turn() -> None:
    """The loop waits some milliseconds at most for many files."""
    import anyio
    import anyio.lowlevel

    async def main() -> float:
        longest = 0.0

        async def watch() -> None:
            nonlocal longest
            while True:
                before = anyio.current_time()
                await anyio.lowlevel.checkpoint()
                longest = max(longest, anyio.current_time() - before)

        async with Vault.memory(CONFIG) as vault:
            for number in range(700):
                parent = vault.make_directories(b"/f%d" % (number % 7))
                vault.tree.create(parent, b"%d" % number, 0o100644, 0, 0)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch)
                await where_of(vault)
                tasks.cancel_scope.cancel()
        return longest

    assert run("trio", main) < 0.05  # some 5 ms on an idle machine
