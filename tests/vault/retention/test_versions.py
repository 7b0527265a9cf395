"""Earlier contents of files, without a mount."""

import os
import stat
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.retention import versions
from stowkenfs.vault.retention.policy import Policy
from stowkenfs.vault.vault import Vault
from tests.running import run
from tests.vault.retention.test_applying import DAY, NOW, Clock, files, opened


async def put(vault: Vault, path: bytes, content: bytes) -> None:
    await vault.write_document(path, content)


async def held(vault: Vault, folder: bytes, name: bytes) -> list[bytes]:
    found = vault.versions.of(vault.tree.resolve(folder).ino, name)
    return [await vault.read_file(inode.ino) for inode in found]


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_what_the_library_replaces(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        directory = tmp_path / "v"
        async with opened(directory) as vault:
            await put(vault, b"/s/f", b"0")
            await vault.retention.set({b"s": Policy(versions=3)})
            for step in range(1, 6):
                await put(vault, b"/s/f", b"%d" % step)
            assert await held(vault, b"/s", b"f") == [b"4", b"3", b"2"]
            await vault.compact()
            assert await held(vault, b"/s", b"f") == [b"4", b"3", b"2"]
            assert await files(vault) == ["/s/f"]
            assert vault.list() == ["s/f"]
        (directory / "index.db").unlink()
        await rebuild_index(directory)
        async with opened(directory) as vault:
            assert await held(vault, b"/s", b"f") == [b"4", b"3", b"2"]
            assert await vault.read_file(vault.tree.resolve(b"/s/f").ino) == b"5"
            assert (await vault.verify()).clean
            await vault.gc()
            assert await held(vault, b"/s", b"f") == [b"4", b"3", b"2"]

    run(backend, main)


def test_what_is_compacted_is_all_of_it(tmp_path: Path) -> None:
    """Versions do not stay behind as they were written first."""

    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            vault.make_directories(b"/s")
            await vault.retention.set({b"/": Policy(versions=9)})
            for _ in range(6):
                await put(vault, b"/s/f", os.urandom(300))
                await put(vault, b"/top", os.urandom(300))
            await vault.compact()
            stats = await vault.stats()
            assert stats.documents == 12
            for name, folder in ((b"f", b"/s"), (b"top", b"/")):
                for inode in vault.versions.of(vault.tree.resolve(folder).ino, name):
                    assert vault._is_busy(inode.ino) is False, "its records are dense"

    anyio.run(main, backend="trio")


def test_names_of_all_kinds(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            vault.make_directories(b"/s")
            await vault.retention.set({b"s": Policy(versions=2)})
            names = [b"\xff\n", b"x" * 255, b"1", b"@", b"a@1", b".stowken"]
            for name in names:
                for step in range(3):
                    await put(vault, b"/s/" + name, b"%d" % step)
                assert await held(vault, b"/s", name) == [b"1", b"0"]
            s = vault.tree.resolve(b"/s").ino
            assert sorted(name for page in vault.versions.names(s) for name in page) == sorted(
                names
            )
            await vault.retention.apply()
            assert await held(vault, b"/s", b"@") == [b"1", b"0"]

    run("trio", main)


def test_in_too_many_pieces_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is given its new content all the same."""

    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            vault.make_directories(b"/s")
            await vault.retention.set({b"s": Policy(versions=2)})
            await put(vault, b"/s/f", b"0")
            with monkeypatch.context() as patch:
                patch.setattr(versions, "EXTENTS_MAX", 0)
                await put(vault, b"/s/f", b"1")
            assert await held(vault, b"/s", b"f") == []
            for error in (Corrupt("damaged"), OSError(28, "No space left on device")):

                def fail(*_: object, error: Exception = error) -> None:
                    raise error

                with monkeypatch.context() as patch:
                    patch.setattr(vault.versions, "_copy", fail)
                    await put(vault, b"/s/f", b"2")
            assert await held(vault, b"/s", b"f") == []
            assert await vault.read_file(vault.tree.resolve(b"/s/f").ino) == b"2"

    run("trio", main)


def test_of_a_changed_file_only_what_was_sealed(tmp_path: Path) -> None:
    """A draft is not what a file was: the version is of the time before it."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path / "v", clock) as vault:
            await put(vault, b"/s/f", b"sealed")
            await vault.retention.set({b"s": Policy(versions=5)})
            ino = vault.tree.resolve(b"/s/f").ino
            await vault.versions.prepare(ino)
            vault.files.acquire(ino, writing=True)
            for letter in (b"a", b"b", b"c"):
                vault.files.write(ino, 1, letter)
            vault.files.truncate(ino, 2)
            vault.files.release(ino, writing=True)
            assert await held(vault, b"/s", b"f") == [b"sealed"]
            await vault.sealer.seal_due(everything=True)
            await vault.versions.prepare(ino)
            vault.files.truncate(ino, 0)
            assert await held(vault, b"/s", b"f") == [b"sc", b"sealed"]

    run("trio", main)


def test_what_is_in_the_hidden_directory_besides(tmp_path: Path) -> None:
    """Somebody may have put things there with another release, or the library."""

    async def main() -> None:
        clock = Clock()
        async with opened(tmp_path / "v", clock) as vault:
            await put(vault, b"/s/f", b"0")
            await vault.retention.set({b"s": Policy(versions=2, max_age_seconds=DAY)})
            s = vault.tree.resolve(b"/s").ino
            for path in (b"x", b"abc/y/1", b"99999/z", b"%d/file" % s, b"%d/f/deep/x" % s):
                await vault.write_document(b"/.stowken/versions/" + path, b"x")
            link = vault.make_directories(b"/.stowken/versions/%d/f" % s)
            vault.tree.create(link, b"l", stat.S_IFLNK | 0o777, 0, 0, target=b"x")
            clock.seconds = NOW + 60
            await put(vault, b"/s/f", b"1")
            await vault.retention.apply()
            assert await held(vault, b"/s", b"f") == [b"0"]
            clock.seconds += 2 * DAY
            await vault.retention.apply()
            assert await held(vault, b"/s", b"f") == []

    run("trio", main)


def test_the_root_is_listed_whole(tmp_path: Path) -> None:
    """Though one entry is left out, wherever it is in a page."""

    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            for before in range(3):
                await put(vault, b"/b%d" % before, b"")
            vault.make_directories(b"/.stowken")
            for after in range(3):
                await put(vault, b"/a%d" % after, b"")
            for rows in (1, 2, 3, 4, 100):
                names, cookie = [], 0
                while page := vault.tree.page(ROOT_INODE, cookie, rows):
                    names += [dentry.name for dentry, _ in page]
                    cookie = page[-1][0].cookie
                assert sorted(names) == [b"a0", b"a1", b"a2", b"b0", b"b1", b"b2"]

    run("trio", main)
