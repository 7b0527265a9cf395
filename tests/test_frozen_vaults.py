"""Vaults of every format version ever released open, and hold what they held."""

import hashlib
import json
import shutil
import stat
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from stowkenfs.errors import IndexDamaged
from stowkenfs.store.block import BlockCodec, BlockKind, Layout
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.conversation import Conversation, Message
from stowkenfs.vault.superblock import FORMAT_VERSION, Superblock
from stowkenfs.vault.vault import Vault
from tests import second_reader

FOLDER = Path(__file__).parent / "vaults"
VERSIONS = [f"v{number}" for number in range(1, FORMAT_VERSION + 1)]
FROZEN_BYTES_MAX = 150_000
QUICK = CompactOptions(level=3)


@pytest.fixture(params=VERSIONS)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """What a frozen vault has to hold, and a copy of it."""
    folder = FOLDER / request.param
    copy = tmp_path / "vault"
    shutil.copytree(folder / "vault", copy)
    return json.loads((folder / "manifest.json").read_text()), copy


def test_each_version_is_frozen_and_each_frozen_version_tested():
    assert sorted(path.name for path in FOLDER.iterdir()) == VERSIONS


def test_the_newest_has_something_of_each_kind_and_some_of_it_twice():
    """Also in blocks that nobody uses any more."""
    blocks = [
        block
        for path in sorted((FOLDER / VERSIONS[-1] / "vault" / "packs").iterdir())
        for block in second_reader.stored_blocks(path.read_bytes())
    ]
    found = Counter((block.kind, block.layout) for block in blocks)
    assert {block.codec for block in blocks} == set(BlockCodec)
    dense = {(kind, Layout.DENSE) for kind in (1, 2, 3)}
    sparse = {(kind, Layout.SPARSE) for kind in (1, 2)}
    plain = {(kind, Layout.PLAIN) for kind in BlockKind}
    assert set(found) == dense | sparse | plain
    assert found[BlockKind.INODES, Layout.PLAIN] > 8
    assert found[BlockKind.NAMESPACE, Layout.PLAIN] > 2


def test_the_newest_has_frames_of_each_kind(tmp_path):
    shutil.copytree(FOLDER / VERSIONS[-1] / "vault", tmp_path / "vault")

    async def main() -> None:
        async with Vault.open(tmp_path / "vault") as vault:
            stats = await vault.stats()
            assert [kind for kind, of_kind in stats.frames.items() if of_kind["frames"]] == [
                "0x01", "0x02", "0x03", "0x04", "0x05", "0x07",
            ]  # fmt: skip
            assert vault.list_substrings()
            assert [info.is_active for info in vault.list_dictionaries()] == [True]

    anyio.run(main)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_frozen_vault_is_small_and_names_no_process(version):
    folder = FOLDER / version
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < FROZEN_BYTES_MAX
    assert {path.name for path in folder.iterdir()} == {"manifest.json", "vault"}
    names = {path.name for path in (folder / "vault").iterdir()}
    marks = {name for name in names if name.startswith(("opened-2", "closed-2-"))}
    assert names - marks == {"superblock", "packs", "drafts", "index.db"}


def test_superblock(frozen):
    manifest, directory = frozen
    superblock = Superblock.decode((directory / "superblock").read_bytes())
    assert superblock.version == manifest["format_version"]
    assert superblock.vault_id == uuid.UUID(manifest["vault_id"])
    assert superblock.created_ns == manifest["created_ns"]


def test_all_that_was_stored_is_there(frozen):
    manifest, directory = frozen
    found = anyio.run(contents_of, directory)
    assert found == manifest["entries"]
    # And again, now that today's code has closed it.
    assert anyio.run(contents_of, directory) == manifest["entries"]


async def contents_of(directory: Path) -> dict[str, dict[str, Any]]:
    """The entries of a vault as a manifest has them."""
    entries: dict[str, dict[str, Any]] = {}
    async with Vault.open(directory) as vault:
        async for path, inode in vault.walk():
            names = vault.tree.xattr_names(inode.ino)
            entries[path.decode()] = entry = {
                "mode": oct(inode.mode),
                "nlink": inode.nlink,
                "uid": inode.uid,
                "gid": inode.gid,
                "mtime_ns": inode.mtime_ns,
                "xattrs": {n.decode(): vault.tree.xattr(inode.ino, n).hex() for n in names},
            }
            if stat.S_ISLNK(inode.mode):
                entry |= {"target": (inode.target or b"").hex(), "size": inode.size}
            elif stat.S_ISREG(inode.mode):
                content = await vault.read_file(inode.ino)
                entry["size"] = inode.size
                entry["sha256"] = hashlib.sha256(content).hexdigest()
                entry["draft"] = not vault.extents_of_file(inode.ino) and any(content)
    return entries


def test_conversations_are_found(frozen):
    manifest, directory = frozen

    async def check() -> None:
        async with Vault.open(directory) as vault:
            expected = Conversation.from_dict(manifest["conversation"])
            assert await vault.retrieve(manifest["conversation"]["id"]) == expected
            for name, path in manifest["found_by_its_own_id"].items():
                inode = vault.find_conversation(name)
                assert vault.tree.path_of(inode.ino) == path.encode()

    anyio.run(check)


def test_it_verifies_and_takes_more(frozen):
    """Numbers and offsets go on where the old release stopped; drafts are sealed."""
    manifest, directory = frozen

    async def use() -> None:
        async with Vault.open(directory) as vault:
            assert (await vault.verify()).clean
            again = Conversation.from_dict(manifest["conversation"] | {"id": "added/later"})
            again.messages.append(Message("user", "And is it dry tomorrow? " * 4))
            await vault.store(again)
            await vault.sealer.seal_due(everything=True)
            assert (await vault.verify()).clean
            assert (await vault.stats()).drafts == 0

    anyio.run(use)
    found = anyio.run(contents_of, directory)
    expected = {path: dict(entry) for path, entry in manifest["entries"].items()}
    for entry in expected.values():
        if "draft" in entry:
            entry["draft"] = False
    assert {path: found.get(path) for path in expected} == expected
    assert set(found) - set(expected) == {"/added", "/added/later.json"}


def test_the_packs_alone_hold_names_attributes_and_sealed_content(frozen):
    """The second reader has only FORMAT.md; the index is not needed."""
    check_packs_alone(*frozen)


def check_packs_alone(manifest: dict[str, Any], directory: Path) -> None:
    packs = [path.read_bytes() for path in sorted((directory / "packs").iterdir())]
    read = second_reader.Packs(packs)
    found = read.tree()
    assert set(found) == set(manifest["entries"])
    for path, entry in manifest["entries"].items():
        node = read.nodes[found[path]]
        assert (node.mode, node.nlink) == (int(entry["mode"], 8), entry["nlink"])
        assert (node.uid, node.gid) == (entry["uid"], entry["gid"])
        assert node.mtime_ns == entry["mtime_ns"]
        assert {n.decode(): v.hex() for n, v in node.xattrs.items()} == entry["xattrs"]
        if "target" in entry:
            assert (node.target or b"").hex() == entry["target"]
        elif "sha256" in entry:
            assert node.size == entry["size"]
            if not entry["draft"]:
                content = read.content(found[path])
                assert hashlib.sha256(content).hexdigest() == entry["sha256"]


def test_it_compacts_and_reads_the_same(frozen):
    """What an old release stored, and what it compacted, goes on together."""
    manifest, directory = frozen

    async def compact() -> None:
        async with Vault.open(directory) as vault:
            report = await vault.compact(QUICK)
            assert report.documents
            assert report.inodes_frozen
            assert (await vault.verify()).clean

    anyio.run(compact)
    # Its draft was sealed before.
    sealed = {
        path: entry | {"draft": False} if entry.get("draft") else entry
        for path, entry in manifest["entries"].items()
    }
    assert anyio.run(contents_of, directory) == sealed
    check_packs_alone(manifest | {"entries": sealed}, directory)


def test_with_a_damaged_index_it_is_refused_and_its_packs_stay(frozen):
    """Packs that no index knows of must not be taken for what a crash left."""
    _, directory = frozen
    (directory / "index.db").write_bytes(b"")
    before = {path: path.read_bytes() for path in (directory / "packs").iterdir()}
    for _ in range(2):
        with pytest.raises(IndexDamaged):
            anyio.run(contents_of, directory)
    assert {path: path.read_bytes() for path in (directory / "packs").iterdir()} == before


def test_without_its_index_all_that_was_sealed_is_there(frozen):
    """And what was a draft is in a folder of its own."""
    manifest, directory = frozen
    (directory / "index.db").unlink()
    found = anyio.run(contents_of, directory)
    assert any(path.startswith("/lost+found/") for path in found)
    for path, entry in manifest["entries"].items():
        if not entry.get("draft"):
            assert found[path] == entry
