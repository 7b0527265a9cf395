"""State in a vault: files in its tree, that a mount shows and others may touch."""

import os
import random
from datetime import timedelta
from pathlib import Path

import pytest

from stowkenfs import Vault
from stowkenfs.errors import InvalidStateKey, NotFound
from stowkenfs.state import Grid, IncrementalState, VaultStateStore
from stowkenfs.state.vault_store import EXPIRES
from tests.mount.mounted import Mount, detach, skip_without_fuse
from tests.running import run
from tests.state.places import CONFIG, FakeClock


def test_a_key_is_a_file(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory(CONFIG) as vault, VaultStateStore.open(vault, "a/b") as store:
            await store.put("c/d.bin", b"content")
            inode = vault.tree.resolve(b"/a/b/c/d.bin")
            assert await vault.read_file(inode.ino) == b"content"
            await store.put("c/d.bin", b"other")
            assert vault.tree.resolve(b"/a/b/c/d.bin").ino == inode.ino
            await store.delete("c/d.bin")
            with pytest.raises(NotFound):
                vault.tree.resolve(b"/a/b/c/d.bin")

    run(backend, main)


def test_no_key_is_a_folder_of_another(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory(CONFIG) as vault, VaultStateStore.open(vault) as store:
            await store.put("a", b"1")
            await store.put("b/c", b"2")
            for key in ("a/b", "b"):
                with pytest.raises(InvalidStateKey, match="folder"):
                    await store.put(key, b"3")
                assert await store.get(key) is None
                assert not await store.delete(key)
            assert [entry.key for entry in await store.list()] == ["a", "b/c"]

    run(backend, main)


def test_what_others_do_to_its_files(backend: str) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with (
            Vault.memory(CONFIG) as vault,
            VaultStateStore.open(vault, clock=clock) as store,
        ):
            await vault.write_document(b"/state/theirs", b"content")
            assert await store.get("theirs") == b"content"
            for name in (b"\xff", b"control\n", b"n" * 255):
                await vault.write_document(b"/state/" + name, b"no key names it")
            assert [entry.key for entry in await store.list()] == ["theirs"]
            ino = vault.tree.resolve(b"/state/theirs").ino
            for value in (b"", b"soon", b"-1", b"9" * 50, "²".encode()):
                vault.tree.set_xattr(ino, EXPIRES, value, create=False, replace=False)
                assert await store.get("theirs") == b"content"
            vault.tree.set_xattr(ino, EXPIRES, b"1", create=False, replace=False)
            assert await store.get("theirs") is None
            assert await store.sweep() == 1
            assert len([path async for path, _ in vault.walk()]) == 4  # the folder, and three

    run(backend, main)


def test_content_and_expiry_change_together(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        clock = FakeClock()
        async with (
            Vault.open(tmp_path / "v", CONFIG) as vault,
            VaultStateStore.open(vault, clock=clock) as store,
        ):
            await store.put("key", b"x", expires_after=timedelta(seconds=5))
            inode = vault.tree.resolve(b"/state/key")
            expires = int(vault.tree.xattr(inode.ino, EXPIRES))
            assert 0 <= clock.now_ns + 5 * 10**9 - expires < 10**6
            await store.put("key", b"y")
            assert list(vault.tree.xattr_names(inode.ino)) == []

    run(backend, main)


@pytest.mark.parametrize("sealed", [False, True], ids=["draft", "sealed"])
def test_appending_to_a_file(backend: str, tmp_path: Path, sealed: bool) -> None:
    choose = random.Random(3)

    async def main() -> None:
        expected = b"begin"
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            ino = await vault.write_document(b"/log", expected)
            for length in (1, 0, 300_000, 131_072, 17):
                at = choose.randrange(len(expected) + 1)
                content = choose.randbytes(length)
                await vault.append_document(ino, at, content)
                expected = expected[:at] + content
                assert await vault.read_file(ino) == expected
                if sealed:
                    await vault.sealer.seal_due(everything=True)
                    assert vault.files.unsealed_bytes(ino) == 0
                assert vault.tree.inode(ino).size == len(expected)
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            assert await vault.read_file(ino) == expected
            assert (await vault.verify()).clean

    run(backend, main)


def test_what_was_appended_is_sealed_when_the_store_is_closed(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            async with VaultStateStore.open(vault) as store:
                state = IncrementalState(store, "memory")
                grid = Grid(30, 30)
                for turn in range(30):
                    grid[turn, turn] = turn + 1.0
                    await state.save(grid)
                ino = vault.tree.resolve(b"/state/memory/000000000000.log").ino
                assert vault.files.unsealed_bytes(ino) > 0
            assert vault.files.unsealed_bytes(ino) == 0
            async with VaultStateStore.open(vault) as store:
                assert await IncrementalState(store, "memory").restore() == grid

    run(backend, main)


@pytest.mark.mount
def test_a_mount_shows_it(tmp_path: Path) -> None:
    skip_without_fuse()
    mount = Mount(tmp_path)

    async def save() -> None:
        vault = Vault.open(mount.vault, CONFIG)
        async with vault as opened, VaultStateStore.open(opened) as store:
            await store.put("sessions/ann.session", b"content", expires_after=timedelta(days=1))

    async def load() -> None:
        vault = Vault.open(mount.vault, CONFIG)
        async with vault as opened, VaultStateStore.open(opened) as store:
            assert await store.get("sessions/bob.session") == b"from a shell"
            (entry,) = await store.list()
            assert entry.expires_ns is not None

    run("asyncio", save)
    mount.start()
    try:
        folder = mount.path / "state" / "sessions"
        assert (folder / "ann.session").read_bytes() == b"content"
        assert os.getxattr(folder / "ann.session", EXPIRES.decode()).isdigit()
        (folder / "ann.session").rename(folder / "bob.session")
        (folder / "bob.session").write_bytes(b"from a shell")
        mount.unmount()
    finally:
        detach(mount.path)
    run("asyncio", load)
