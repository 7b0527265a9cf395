"""An index that is lost comes back from the packs, whatever happened to the vault before."""

import itertools
import json
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from stowkenfs.errors import Corrupt, IndexDamaged, NotAVault, VaultLocked
from stowkenfs.ids import ROOT_INODE, PackNo
from stowkenfs.store.block import HEADER_BYTES, BlockKind, stored_length
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.lock import VaultLock
from stowkenfs.vault.reindex import background
from stowkenfs.vault.reindex import keys as reindex_keys
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault
from tests.vault.rebuilding import (
    Entry,
    History,
    Step,
    chat,
    compact,
    opened,
    rewrite,
    run_step,
    told_by_vault,
)
from tests.vault.test_dictionaries import fill as fill_for_dictionary
from tests.vault.test_rebuild import change, fill, refill, remove_most

VAULTS = Path(__file__).parent.parent / "vaults"

TABLES = {
    "block": "kind, first, count, pack, offset, stored, raw, content, skip, layout, base",
    "inode": "*",
    "dentry": "parent, name, ino",
    "xattr": "*",
    "extent": "*",
    "conversation": "*",
    "frozen_inode": "*",
    "frozen_name": "parent, name, last_parent, last_name, count, pack, offset, stored, raw",
    "frame_kind": "*",
    "record_key": "*",
    "segment_key": "*",
    "template_key": "*",
}
"""What a rebuilt index has to have like the one before, when nothing is unused."""


def tables(vault: Vault) -> dict[str, set[tuple[object, ...]]]:
    return {
        table: {
            row for row in vault._connection.all(f"SELECT {columns} FROM {table}") if any(row[1:])
        }
        for table, columns in TABLES.items()
    }


def forget_index(directory: Path) -> None:
    for path in directory.glob("index.db*"):
        path.unlink()


async def all_of(directory: Path) -> dict[str, Entry]:
    async with opened(directory) as vault:
        return await told_by_vault(vault)


def told(directory: Path) -> dict[str, Entry]:
    return anyio.run(all_of, directory)


def check(directory: Path, *steps: Step) -> None:
    """After each step, in an opening of its own, the index is lost; all is as it was."""
    for step in steps:
        anyio.run(run_step, directory, step)
        before = told(directory)
        forget_index(directory)
        assert told(directory) == before, step
        assert told(directory) == before, step  # and again, by the index that came of it


UNKNOWN = itertools.count(1000)


async def takes_more(vault: Vault) -> None:
    """Duplicates are found, new things get new numbers, and it verifies."""
    catalogue = vault._catalogue
    segments = catalogue.next_number(BlockKind.SEGMENTS)
    await vault.write_document(b"/chats/again.json", chat(5))
    assert catalogue.next_number(BlockKind.SEGMENTS) == segments
    await vault.write_document(b"/chats/new.json", chat(next(UNKNOWN)))
    assert catalogue.next_number(BlockKind.SEGMENTS) > segments
    report = await vault.verify()
    assert report.clean, (report.problems, report.files)


async def sealed(vault: Vault) -> None:
    await vault.sealer.seal_due(everything=True)


async def stays_clean(vault: Vault) -> None:
    report = await vault.verify()
    assert report.clean, (report.problems, report.files)


def test_a_vault_with_everything(tmp_path):
    check(tmp_path / "v", fill, takes_more, compact, takes_more, change, compact, stays_clean,
          remove_most, refill, takes_more, compact, compact, takes_more)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_random_histories(tmp_path, seed):
    history = History(seed)

    async def some(vault: Vault) -> None:
        await history.steps(vault, 40)
        if history.random.random() < 0.4:
            await compact(vault)
        await history.steps(vault, 10)

    check(tmp_path / "v", *[some] * 6, stays_clean, compact, some, stays_clean)


@pytest.mark.parametrize("steps", [[fill], [fill, compact], [fill, compact, change, sealed]])
def test_the_index_that_comes_is_the_one_that_was_lost(tmp_path, steps):
    """Row for row; so frozen groups stay frozen, and nothing that is unused has rows."""
    for step in steps:
        anyio.run(run_step, tmp_path / "v", step)
    found: list[dict[str, set[tuple[object, ...]]]] = []

    async def note(vault: Vault) -> None:
        # What change() replaced stays in use until it is collected.
        found.append(tables(vault) | ({"block": set()} if change in steps else {}))
        if change not in steps:  # there, groups that were thawed are told again as rows
            assert not vault._connection.one("SELECT 1 FROM dirty_inode")

    anyio.run(run_step, tmp_path / "v", note)
    for _ in range(2):
        forget_index(tmp_path / "v")
        report = rebuild_closed(tmp_path / "v")
        assert report.clean
        anyio.run(run_step, tmp_path / "v", note)
    if change in steps:  # keys of what went unused go
        for of_tables in found:
            for name in ("record_key", "segment_key", "template_key", "frame_kind"):
                of_tables.pop(name)
    for table in found[0]:
        assert found[1][table] == found[0][table], table
        assert found[2][table] == found[1][table], table


@pytest.mark.parametrize("keys", ["in tables", "in one run", "in runs that are merged"])
def test_keys_come_back(tmp_path, monkeypatch, keys):
    if keys != "in tables":
        monkeypatch.setattr(reindex_keys, "TABLE_KEYS_MAX", 0)
    if keys == "in runs that are merged":
        monkeypatch.setattr(reindex_keys, "KEYS_IN_MEMORY_MAX", 10)

    async def nothing_new(vault: Vault) -> None:
        before = vault._catalogue.stored_bytes()
        for number in range(40):
            await vault.write_document(b"/copies/%d.json" % number, chat(number))
        assert vault._catalogue.stored_bytes() == before

    anyio.run(run_step, tmp_path / "v", refill)
    forget_index(tmp_path / "v")
    anyio.run(run_step, tmp_path / "v", nothing_new)
    anyio.run(run_step, tmp_path / "v", compact)
    forget_index(tmp_path / "v")
    anyio.run(run_step, tmp_path / "v", nothing_new)


def test_no_number_is_given_out_again(tmp_path):
    """Also not of what is gone, and of inodes."""
    numbers: list[dict[object, int]] = []

    async def note(vault: Vault) -> None:
        kinds = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES, BlockKind.NAMESPACE)
        found: dict[object, int] = {kind: vault._catalogue.next_number(kind) for kind in kinds}
        found["inode"] = vault._inodes.new_number()
        numbers.append(found)

    async def empty(vault: Vault) -> None:
        await remove_most(vault)
        for name in (b"ballast", b"text", b"empty", b"second name"):
            vault.tree.unlink(ROOT_INODE, name)

    for step in (fill, compact, empty, compact):
        anyio.run(run_step, tmp_path / "v", step)
        anyio.run(run_step, tmp_path / "v", note)
        forget_index(tmp_path / "v")
        anyio.run(run_step, tmp_path / "v", note)
        before, after = numbers[-2:]
        assert all(after[kind] >= before[kind] for kind in before)


# What is collected, and the registry


async def collect(vault: Vault) -> None:
    await sealed(vault)
    await vault.gc()
    await stays_clean(vault)


def test_what_was_collected(tmp_path):
    """Blocks of which something went have gaps; what went stays gone where anything tells so."""
    check(tmp_path / "v", fill, remove_some, collect, takes_more, compact, remove_some, collect,
          takes_more, remove_most, collect, refill, takes_more, compact, collect)  # fmt: skip


async def remove_some(vault: Vault) -> None:
    """Every third file of the chats, so that blocks are left with some of what they hold."""
    for folder in (b"/chats/0", b"/chats/1", b"/chats/2"):
        parent = vault.tree.resolve(folder).ino
        for dentry, _ in list(vault.tree.page(parent, 0, 100))[::3]:
            vault.tree.unlink(parent, dentry.name)


def test_collected_things_do_not_come_back(tmp_path):
    """After a rebuild there is nothing more to collect than before."""
    for step in (fill, remove_some, collect):
        anyio.run(run_step, tmp_path / "v", step)
    forget_index(tmp_path / "v")

    async def look(vault: Vault) -> None:
        report = await vault.gc(dry_run=True)
        found.append({kind: one.count for kind, one in report.candidates.items()})

    found: list[dict[str, int]] = []
    anyio.run(run_step, tmp_path / "v", look)
    assert not any(found[0].values())


def note(number: int) -> bytes:
    """Different texts with long runs in common, in no two the same segment."""
    rules = " ".join(f"rule {at}: never leave the harbour after hour {at * 7}," for at in range(12))
    turns = [{"role": "user", "content": f"Note {number * 7919}. {rules} and {number} more."}]
    return json.dumps({"messages": turns}).encode()


async def notes(vault: Vault) -> None:
    for number in range(60):
        await vault.write_document(b"/notes/%d.json" % number, note(number))


async def train(vault: Vault) -> None:
    await vault.train_substrings(samples=100, min_occurrences=3)
    await vault.train_dictionary(samples=100, activate=True)
    for number in range(60, 120):
        await vault.write_document(b"/notes/%d.json" % number, note(number))
    await vault.compact_substrings()


def test_the_registry_and_what_refers_to_it(tmp_path):
    registry: list[object] = []

    async def listed(vault: Vault) -> None:
        registry.append((vault.list_substrings(), [one.id for one in vault.list_dictionaries()]))
        await stays_clean(vault)

    for step in (notes, train, listed):
        anyio.run(run_step, tmp_path / "v", step)
    assert registry[0] != ([], [])
    check(tmp_path / "v", sealed)
    anyio.run(run_step, tmp_path / "v", listed)
    assert registry[1] == registry[0]
    check(tmp_path / "v", train, collect, compact, collect, stays_clean)


@pytest.mark.parametrize("is_readable", [False, True])
def test_the_active_dictionary_is_told_by_the_old_index_alone(tmp_path, is_readable):
    active: list[bool] = []

    async def look(vault: Vault) -> None:
        active.append(any(one.is_active for one in vault.list_dictionaries()))

    async def activate(vault: Vault) -> None:
        await fill_for_dictionary(vault, 300)
        report = await vault.train_dictionary(300)
        assert report.info is not None
        await vault.activate_dictionary(report.info.id, force=True)

    for step in (activate, look):
        anyio.run(run_step, tmp_path / "v", step)
    if not is_readable:
        forget_index(tmp_path / "v")
    assert rebuild_closed(tmp_path / "v").clean
    anyio.run(run_step, tmp_path / "v", look)
    assert active == [True, is_readable]


def test_differences_from_what_is_alike(tmp_path):
    config = VaultConfig(near_dedup_threshold=0.7, seal_after_seconds=0)

    async def main() -> None:
        async with Vault.open(tmp_path / "v", config) as vault:
            await notes(vault)
            kinds: dict[int, int] = dict(
                vault._connection.all("SELECT kind, frames FROM frame_kind")
            )
            assert kinds.get(4, 0) > 10

    anyio.run(main)
    check(tmp_path / "v", sealed, stays_clean, remove_notes, collect, stays_clean)


async def remove_notes(vault: Vault) -> None:
    """Among them the ones that others are told as differences from."""
    parent = vault.tree.resolve(b"/notes").ino
    for number in range(0, 60, 2):
        vault.tree.unlink(parent, b"%d.json" % number)


# Opening


@pytest.mark.parametrize("version", sorted(path.name for path in VAULTS.iterdir()))
def test_vaults_of_each_release(tmp_path, version):
    directory = Path(shutil.copytree(VAULTS / version / "vault", tmp_path / "v"))
    reference = Path(shutil.copytree(VAULTS / version / "vault", tmp_path / "reference"))
    drafts = {p.read_bytes() for p in (directory / "drafts").iterdir() if p.stat().st_size}
    is_draft: set[str] = set()

    async def note_drafts() -> None:
        async with Vault.open(reference) as vault:
            async for path, inode in vault.walk():
                if vault._connection.one("SELECT 1 FROM draft WHERE ino = ?", (inode.ino,)):
                    is_draft.add(os.fsdecode(path))

    anyio.run(note_drafts)
    before = told(reference)
    forget_index(directory)
    after = told(directory)
    lost = {path: entry for path, entry in after.items() if path.startswith("/lost+found")}
    assert {entry["content"] for entry in lost.values()} - {None} == drafts
    for path, entry in before.items():
        found = after[path]
        if path in is_draft:  # what was not sealed is in lost+found, what was is here
            assert found["ino"] == entry["ino"]
        else:
            assert found == entry, path
    anyio.run(run_step, directory, compact)
    anyio.run(run_step, directory, stays_clean)


def test_an_empty_vault(tmp_path):
    async def nothing(vault: Vault) -> None:
        return

    anyio.run(run_step, tmp_path / "v", nothing)
    forget_index(tmp_path / "v")
    assert rebuild_closed(tmp_path / "v").clean
    assert not told(tmp_path / "v")
    with pytest.raises(NotAVault):
        rebuild_closed(tmp_path)


def test_it_tells_how_far_it_is(tmp_path, caplog):
    anyio.run(run_step, tmp_path / "v", refill)
    forget_index(tmp_path / "v")
    seen: list[tuple[int, int]] = []

    async def main() -> None:
        async with Vault.open(tmp_path / "v", rebuilding=lambda *p: seen.append(p)):
            pass

    anyio.run(main)
    assert seen[-1][0] == seen[-1][1] > 0
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert "is being rebuilt" in caplog.text


def test_one_that_is_cancelled_leaves_all_as_it_was(tmp_path, monkeypatch):
    anyio.run(run_step, tmp_path / "v", fill)
    before = told(tmp_path / "v")
    forget_index(tmp_path / "v")
    monkeypatch.setattr(background, "TOLD_SECONDS", 0.001)

    async def main() -> None:
        with anyio.CancelScope() as scope:

            def stop(_done: int, _total: int) -> None:
                scope.cancel()

            async with Vault.open(tmp_path / "v", rebuilding=stop):
                raise AssertionError("it was opened")

    anyio.run(main, backend="trio")
    assert not list((tmp_path / "v").glob("index.db*"))
    assert told(tmp_path / "v") == before


def test_a_vault_in_use_is_left_alone(tmp_path):
    anyio.run(run_step, tmp_path / "v", refill)
    lock = VaultLock(tmp_path / "v")
    with pytest.raises(VaultLocked):
        rebuild_closed(tmp_path / "v")
    lock.release()


@pytest.mark.parametrize("damage", ["no database", "bits", "empty"])
def test_a_damaged_index_is_refused_and_says_what_to_do(tmp_path, damage):
    directory = tmp_path / "v"
    anyio.run(run_step, directory, fill)
    before = told(directory)
    index = directory / "index.db"
    content = bytearray(index.read_bytes())
    if damage == "bits":
        content[len(content) // 3 : len(content) // 2] = random.Random(1).randbytes(
            len(content) // 2 - len(content) // 3
        )
        content[100:160] = bytes(60)
    index.write_bytes({"no database": b"SQL? no" * 999, "bits": content, "empty": b""}[damage])
    for _ in range(2):
        with pytest.raises(IndexDamaged, match=f"stowkenfs reindex {directory}"):
            told(directory)
    broken = index.read_bytes()
    assert rebuild_closed(directory).clean
    assert (directory / "index.db.damaged").read_bytes() == broken
    assert told(directory) == before


def test_the_log_of_the_lost_index_is_not_taken_for_the_new_ones(tmp_path):
    directory = tmp_path / "v"
    anyio.run(run_step, directory, fill)
    before = told(directory)

    async def leave() -> None:
        async with opened(directory) as vault:
            await vault.write_document(b"/late.json", chat(99))
            shutil.copytree(directory, tmp_path / "killed")

    anyio.run(leave)
    killed = tmp_path / "killed"
    assert (killed / "index.db-wal").stat().st_size
    (killed / "index.db").unlink()
    after = told(killed)
    after.pop("/late.json", None)
    assert after == before
    anyio.run(run_step, killed, stays_clean)


# Drafts


def written(directory: Path) -> dict[str, bytes]:
    """Leave drafts in a copy of a vault, as a kill would; what each file has."""
    expected = {}

    async def main() -> None:
        async with Vault.open(directory, VaultConfig(seal_after_seconds=1000)) as vault:
            for path in (b"/sealed.json", b"/chats/small", b"/grown"):
                await vault.write_document(path, b"what was sealed before ")
            await vault.write_namespace()
            rewrite(vault, b"/chats/small", 0, b"small and spooled")
            rewrite(vault, b"/grown", 5, b"first ")
            rewrite(vault, b"/grown", 100_000, b"x" * 300_000)
            await vault.files.settle_all()
            for path in (b"/sealed.json", b"/chats/small", b"/grown"):
                ino = vault.tree.resolve(path).ino
                expected[path.decode()] = await vault.read_file(ino)
            shutil.copytree(directory, directory.with_name("killed"))

    anyio.run(main)
    return expected


def test_drafts_of_a_lost_index_are_found(tmp_path):
    written(tmp_path / "v")
    killed = tmp_path / "killed"
    raw = {path.name: path.read_bytes() for path in (killed / "drafts").iterdir()}
    assert len(raw) == 2
    forget_index(killed)
    report = rebuild_closed(killed)
    assert len(report.recovered) == 2
    entries = told(killed)
    found = {
        path: entry["content"] for path, entry in entries.items() if path.startswith("/lost+found/")
    }
    assert sorted(found) == sorted(report.recovered)
    assert set(found.values()) == set(raw.values())
    assert "/lost+found/written lately to grown" in found
    assert entries["/chats/small"]["content"] == b"what was sealed before "
    anyio.run(run_step, killed, stays_clean)
    assert not list((killed / "drafts").iterdir())
    forget_index(killed)
    assert told(killed) == entries


def test_drafts_that_the_old_index_tells_of_stay(tmp_path):
    expected = written(tmp_path / "v")
    killed = tmp_path / "killed"
    report = rebuild_closed(killed)
    assert report.kept_drafts == 2
    assert not report.recovered
    entries = told(killed)
    assert {path: entries[path]["content"] for path in expected} == expected


def test_changes_that_the_old_index_tells_of_stay(tmp_path):
    """Those that no pack tells of yet, as after a kill."""
    directory = tmp_path / "v"
    for step in (fill, compact):
        anyio.run(run_step, directory, step)

    async def leave() -> None:
        async with opened(directory) as vault:
            await change(vault)
            await vault.sealer.seal_due(everything=True)
            await vault.files.settle_all()
            shutil.copytree(directory, tmp_path / "killed")

    anyio.run(leave)
    before = told(directory)
    assert rebuild_closed(tmp_path / "killed").clean
    assert told(tmp_path / "killed") == before
    forget_index(tmp_path / "killed")
    assert told(tmp_path / "killed") == before


def test_a_vault_of_drafts_alone(tmp_path):
    async def write() -> None:
        async with Vault.open(tmp_path / "v", VaultConfig(seal_after_seconds=1000)) as vault:
            inode = vault.tree.create(ROOT_INODE, b"a", stat.S_IFREG | 0o600, 0, 0)
            vault.files.acquire(inode.ino, writing=True)
            vault.files.write(inode.ino, 0, b"never sealed")
            shutil.copytree(tmp_path / "v", tmp_path / "killed")
            vault.files.release(inode.ino, writing=True)

    anyio.run(write)
    forget_index(tmp_path / "killed")
    assert b"never sealed" in [e["content"] for e in told(tmp_path / "killed").values()]


# Damage


def blocks(directory: Path) -> Iterator[tuple[Path, int, int, BlockKind]]:
    """Pack, offset, length and kind of each block."""
    for pack in sorted((directory / "packs").iterdir()):
        content, at = pack.read_bytes(), 0
        while at < len(content):
            length = stored_length(content[at : at + HEADER_BYTES], PackNo(1), at)
            yield pack, at, length, BlockKind(content[at + 4])
            at += length


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with blocks of each kind, hot and dense."""
    directory = tmp_path_factory.mktemp("varied") / "v"
    for step in (fill, compact, change, sealed):
        anyio.run(run_step, directory, step)
    return directory


@pytest.mark.parametrize("kind", [kind for kind in BlockKind if kind <= BlockKind.NAMES])
@pytest.mark.parametrize("where", ["first", "last"])
def test_damage_in_a_block_is_named_and_the_rest_is_there(tmp_path, varied, kind, where):
    directory = Path(shutil.copytree(varied, tmp_path / "v"))
    before = told(Path(shutil.copytree(varied, tmp_path / "before")))
    found = [block for block in blocks(directory) if block[3] is kind]
    pack, at, length, _ = found[0 if where == "first" else -1]
    content = bytearray(pack.read_bytes())
    content[at + HEADER_BYTES + (length - HEADER_BYTES) // 2] ^= 8
    pack.write_bytes(content)
    forget_index(directory)
    report = rebuild_closed(directory)
    (damage,) = report.damages
    assert (damage.pack, damage.start, damage.end) == (int(pack.stem), at, at + length)
    after, unreadable = anyio.run(readable, directory)
    if kind is BlockKind.KEYS:
        assert after == before
    named = {os.fsencode(path).decode("utf-8", "backslashreplace") for path in unreadable}
    if "/second name" in named:  # one file, which is named once
        assert {"/second name", "/logs/run.jsonl"} & set(report.files)
        named -= {"/second name", "/logs/run.jsonl"}
    assert named <= set(report.files)
    lost = {path for path in before if path not in after and path not in unreadable}
    if kind in (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES, BlockKind.CODEBOOKS):
        assert not lost
        for path, entry in before.items():
            assert path in unreadable or after[path] == entry
    # What a file gives, it had at some time; nothing is made up.
    assert len(after) + len(unreadable) > 5 or kind in (BlockKind.INODES, BlockKind.NAMES)


async def readable(directory: Path) -> tuple[dict[str, Entry], set[str]]:
    """What can be told, and the paths of files that cannot be read."""
    bad: set[str] = set()
    async with opened(directory) as vault:
        async for path, inode in vault.walk():
            if stat.S_ISREG(inode.mode):
                try:
                    await vault.read_file(inode.ino)
                except Corrupt:
                    bad.add(os.fsdecode(path))
        entries: dict[str, Entry] = {}
        async for path, inode in vault.walk():
            name = os.fsdecode(path)
            if name in bad:
                continue
            content = await vault.read_file(inode.ino) if stat.S_ISREG(inode.mode) else None
            names = vault.tree.xattr_names(inode.ino)
            entries[name] = {
                "ino": inode.ino, "mode": inode.mode, "uid": inode.uid, "gid": inode.gid,
                "nlink": inode.nlink, "size": inode.size, "rdev": inode.rdev,
                "times": (inode.atime_ns, inode.mtime_ns, inode.ctime_ns),
                "parent": inode.parent, "target": inode.target, "content": content,
                "xattrs": {one: vault.tree.xattr(inode.ino, one) for one in names},
            }  # fmt: skip
    return entries, bad


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_packs_that_lost_their_ends(tmp_path, varied, share):
    """What is left is there; what comes gets none of the numbers that were lost."""
    directory = Path(shutil.copytree(varied, tmp_path / "v"))
    before = told(Path(shutil.copytree(varied, tmp_path / "before")))
    for pack in (directory / "packs").iterdir():
        os.truncate(pack, int(pack.stat().st_size * share))
    forget_index(directory)
    rebuild_closed(directory)

    async def more(vault: Vault) -> None:
        for number in range(200, 230):
            await vault.write_document(b"/more/%d.json" % number, chat(number))

    anyio.run(run_step, directory, more)
    after, _ = anyio.run(readable, directory)
    for number in range(200, 230):
        assert after[f"/more/{number}.json"]["content"] == chat(number)
    # Of those that changed last, packs may tell times and not yet the content.
    changed = {"/empty", "/text", "/second name", "/logs/run.jsonl"}
    for path, entry in after.items():
        if path in before.keys() - changed and entry["times"] == before[path]["times"]:
            assert entry["content"] == before[path]["content"], path


def test_what_an_interrupted_commit_left_is_cut_off(tmp_path, varied):
    directory = Path(shutil.copytree(varied, tmp_path / "v"))
    before = told(directory)
    pack = max((directory / "packs").iterdir())
    content = pack.read_bytes()
    _, at, length, _ = list(blocks(directory))[-1]
    with pack.open("ab") as file:
        file.write(content[at : at + length - 3])
    forget_index(directory)
    report = rebuild_closed(directory)
    assert report.clean
    assert report.cut_bytes == length - 3
    assert told(directory) == before
    assert pack.read_bytes().startswith(content)


def test_a_vault_within_a_damaged_block_of_a_vault_stays_content(tmp_path):
    """Blocks that are somebody's content are not blocks of the vault."""
    inner, outer = tmp_path / "inner", tmp_path / "outer"
    anyio.run(run_step, inner, refill)
    content = (inner / "packs" / "00000001.pack").read_bytes()[:60_000]
    rest = random.Random(2).randbytes(1000)

    async def store(vault: Vault) -> None:
        await vault.write_document(b"/pack", rest + content)
        await vault.write_document(b"/other.json", chat(1))

    anyio.run(run_step, outer, store)
    pack = outer / "packs" / "00000001.pack"
    changed = bytearray(pack.read_bytes())
    at = max((b for b in blocks(outer) if b[3] is BlockKind.SEGMENTS), key=lambda b: b[2])[1]
    changed[at + HEADER_BYTES + 300] ^= 1
    pack.write_bytes(changed)
    forget_index(outer)
    rebuild_closed(outer)
    after, unreadable = anyio.run(readable, outer)
    assert unreadable == {"/pack"}
    assert set(after) == {"/other.json"}


# Killed

KILLED = """
import sys
from pathlib import Path
from stowkenfs.vault.reindex.rebuild import rebuild_closed
print("go", flush=True)
rebuild_closed(Path(sys.argv[1]))
print("done", flush=True)
"""


@pytest.mark.parametrize("index", ["absent", "damaged"])
def test_killed_at_any_moment(tmp_path, varied, index):
    directory = tmp_path / "v"
    before = told(Path(shutil.copytree(varied, tmp_path / "before")))
    chance = random.Random(index)
    took = 0.5
    for round_no in range(8):
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(varied, directory)
        if index == "absent":
            forget_index(directory)
        else:
            (directory / "index.db").write_bytes(b"damaged" * 1000)
        with subprocess.Popen(
            [sys.executable, "-c", KILLED, str(directory)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            started = time.monotonic()
            if round_no:
                time.sleep(chance.random() * took)
                process.send_signal(signal.SIGKILL)
            process.wait()
            took = took if round_no else time.monotonic() - started
        if index == "damaged" and (directory / "index.db").exists():
            try:
                after = told(directory)
            except IndexDamaged:
                rebuild_closed(directory)
                after = told(directory)
        else:
            after = told(directory)
        assert after == before
        anyio.run(run_step, directory, stays_clean)
