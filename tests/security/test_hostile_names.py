"""Packs that say of the tree what no filesystem has: nothing hangs, nothing leads outside."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from stowkenfs.errors import Corrupt
from stowkenfs.index.changes import Change
from stowkenfs.index.frozen import NameGroup, encode_names
from stowkenfs.vault.exporter import export_tree
from stowkenfs.vault.importer import import_trees
from stowkenfs.vault.namespace import decode_changes, encode_changes
from stowkenfs.vault.vault import Vault
from tests.running import names_in, run
from tests.security.packs import FOLDER, LINK, inode, make_vault, name, told

HOSTILE = [b"..", b".", b"", b"a/b", b"../../victim", b"/etc/passwd", b"a\0b", b"x" * 256]
ROOT: Change = inode(1, FOLDER, parent=1, nlink=2)


async def _paths(directory: Path) -> list[bytes]:
    """All paths, up to a hundred."""
    found: list[bytes] = []
    async with Vault.open(directory) as vault:
        async for path, _ in vault.walk():
            found.append(path)
            assert len(found) < 100, "it has no end"
            here = vault.tree.resolve(path)
            vault.tree.path_of(here.ino)
    return found


def paths_of(directory: Path, changes: Sequence[Change]) -> list[bytes]:
    return run("trio", _paths, make_vault(directory / "vault", told(changes)))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_that_no_file_can_have_is_damage(tmp_path: Path, text: bytes) -> None:
    payload, _ = encode_changes([name(1, text, 2)])
    with pytest.raises(Corrupt):
        list(decode_changes(payload))
    if b"\0" not in text:
        with pytest.raises(Corrupt):
            NameGroup(encode_names(1, [(1, text, 2)]))  # type: ignore[list-item]
    good: list[Change] = [ROOT, inode(2), inode(3), name(1, b"good", 3)]
    directory = make_vault(tmp_path / "vault", told(good), told([name(1, text, 2)], 4))
    assert b"/good" in run("trio", _paths, directory)


CIRCLES: dict[str, list[Change]] = {
    "in itself": [inode(2, FOLDER, parent=2), name(2, b"me", 2)],
    "in each other": [
        inode(2, FOLDER, parent=3), inode(3, FOLDER, parent=2), name(2, b"b", 3), name(3, b"a", 2),
    ],
    "the root below": [inode(2, FOLDER, parent=1), name(1, b"a", 2), name(2, b"up", 1)],
    "twice": [
        inode(2, FOLDER, parent=1), name(1, b"a", 2), name(1, b"b", 2), name(2, b"c", 2),
        inode(4), name(2, b"file", 4),
    ],
}  # fmt: skip


@pytest.mark.parametrize("circle", CIRCLES)
def test_a_directory_is_in_one_place(tmp_path: Path, circle: str) -> None:
    found = paths_of(tmp_path, [ROOT, *CIRCLES[circle]])
    assert len(found) <= 5
    if circle == "twice":
        assert found == [b"/a", b"/a/file"]
    if circle == "the root below":
        assert found == [b"/a"]


@pytest.mark.parametrize("first", [2, 9])
def test_a_directory_that_moved_keeps_a_place(tmp_path: Path, first: int) -> None:
    """Its inode may be told before its name is."""
    changes: list[Change] = [
        ROOT,
        inode(2, FOLDER, parent=1),
        inode(3, FOLDER, parent=2),
        name(1, b"a", 2),
    ]
    assert paths_of(tmp_path, [*changes, name(1, b"b", 3)]) == [b"/a", b"/b"]


def test_what_is_exported_stays_in_its_directory(tmp_path: Path) -> None:
    """Also below what is a link by its inode and a directory by its names."""
    outside = tmp_path / "outside"
    outside.mkdir()
    changes: list[Change] = [
        ROOT,
        inode(2, LINK, target=os.fsencode(outside)),
        inode(3),
        inode(4, LINK, target=b"/" + b"../" * 20 + os.fsencode(outside)),
        inode(5, 0o106755),
        name(1, b"link", 2),
        name(2, b"below", 3),
        name(1, b"up", 4),
        name(1, b"program", 5),
    ]
    directory = make_vault(tmp_path / "vault", told(changes))

    async def main() -> None:
        async with Vault.open(directory) as vault:
            await export_tree(vault, tmp_path / "out")

    run("trio", main)
    assert list(outside.iterdir()) == []
    assert set(names_in(tmp_path / "out")) >= {"link", "program", "up"}
    assert (tmp_path / "out" / "link").is_symlink()
    assert names_in(tmp_path) == ["out", "outside", "vault"]
    mode = (tmp_path / "out" / "program").stat().st_mode
    assert bool(mode & stat.S_ISUID) == (os.geteuid() == 0)


def test_links_are_imported_as_links(tmp_path: Path) -> None:
    """Nothing that they lead to is read."""
    (tmp_path / "secret").write_bytes(b"outside")
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "to-file").symlink_to(tmp_path / "secret")
    (tree / "to-folder").symlink_to(tmp_path)
    os.mkfifo(tree / "pipe")

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            report = await import_trees(vault, [tree])
            assert report.files == 0
            paths = [path async for path, _ in vault.walk()]
            assert paths == [b"/tree", b"/tree/pipe", b"/tree/to-file", b"/tree/to-folder"]

    run("trio", main)
