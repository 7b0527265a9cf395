"""What packs alone tell, after any history, is what the vault holds.

The second reader, which has no index, is compared with the vault. Packs keep what was
dropped for as long as most of them is in use: each vault begins with a file that no
compressor makes smaller, so that all dead blocks stay beside it and might come back.
"""

import itertools
import random
import stat
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from stowkenfs.ids import ROOT_INODE, PackNo
from stowkenfs.index import frozen_collect, frozen_merge
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import Block, BlockKind, encode_dense_block
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.compaction import merge
from stowkenfs.vault.vault import Vault
from tests import second_reader
from tests.vault.rebuilding import (
    QUICK,
    Entry,
    History,
    Kill,
    chat,
    check,
    compact,
    opened,
    rewrite,
    run_step,
    told_by_packs,
    told_by_vault,
)

BALLAST = random.Random(1).randbytes(1 << 20)


@pytest.fixture(params=["large groups", "small groups"], autouse=True)
def groups(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups as large as they are, and so small that few files fill, merge and replace many."""
    monkeypatch.setattr(merge, "SMALL_BLOCKS_MAX", 2)
    if request.param == "small groups":
        monkeypatch.setattr(frozen_collect, "GROUP_ROWS", 4)
        monkeypatch.setattr(frozen_merge, "SMALL_ROWS", 3)
        monkeypatch.setattr(frozen_merge, "SMALL_GROUPS_MAX", 1)


async def refill(vault: Vault) -> None:
    for number in range(40):
        await vault.write_document(b"/chats/%d/a%d.json" % (number % 3, number), chat(number))


async def fill(vault: Vault) -> None:
    await refill(vault)
    log = b"".join(chat(number).replace(b"\n", b" ") + b"\n" for number in range(30))
    await vault.write_document(b"/logs/run.jsonl", log + b'{"cut off": "in')
    await vault.write_document(b"/ballast", BALLAST)
    await vault.write_document(b"/text", b"plain text, line by line\r\n\x00" * 300)
    await vault.write_document(b"/empty", b"")
    await vault.write_document(b"/not \xff UTF-8/\xfe\x80", b"a name that is no text" * 5)
    tree = vault.tree
    logs = tree.resolve(b"/logs").ino
    tree.link(tree.resolve(b"/logs/run.jsonl").ino, ROOT_INODE, b"second name")
    tree.create(logs, b"latest", stat.S_IFLNK | 0o777, 7, 8, target=b"../chats/\xff")
    tree.create(ROOT_INODE, b"pipe", stat.S_IFIFO | 0o600, 7, 8)
    vault.make_directories(b"/empty folder/within", 0o1700)
    for name, value in ((b"user.b", b""), (b"user.a", b"\0value" * 30)):
        for path in (b"/logs", b"/empty", b"/ballast"):
            tree.set_xattr(tree.resolve(path).ino, name, value, create=True, replace=False)
    tree.set_attributes(tree.resolve(b"/text").ino, mode=0o4711, mtime_ns=-5, atime_ns=2**61)


async def change(vault: Vault) -> None:
    tree = vault.tree
    chats = tree.resolve(b"/chats/0").ino
    tree.rename(chats, b"a0.json", ROOT_INODE, b"moved.json")
    tree.rename(chats, b"a3.json", chats, b"a6.json")
    tree.unlink(chats, b"a9.json")
    tree.unlink(tree.resolve(b"/chats/2").ino, b"a38.json")  # the last of its group
    await vault.write_document(b"/chats/0/a9.json", b"another file of that name")
    rewrite(vault, b"/logs/run.jsonl", 1000, b"overwritten")
    rewrite(vault, b"/second name", tree.resolve(b"/second name").size, b'"}\nappended\n')
    vault.files.truncate(tree.resolve(b"/text").ino, 99)
    rewrite(vault, b"/empty", 100_000, b"behind a hole")
    tree.set_attributes(tree.resolve(b"/ballast").ino, mode=0o400, uid=3)
    tree.remove_xattr(tree.resolve(b"/ballast").ino, b"user.b")
    tree.rmdir(tree.resolve(b"/empty folder").ino, b"within")
    tree.unlink(ROOT_INODE, b"pipe")


async def remove_most(vault: Vault) -> None:
    tree = vault.tree
    for folder in (b"/chats/0", b"/chats/1", b"/chats/2"):
        parent = tree.resolve(folder).ino
        for dentry, _ in tree.page(parent, 0, 100):
            tree.unlink(parent, dentry.name)
        tree.rmdir(tree.resolve(b"/chats").ino, folder[-1:])
    tree.rename(tree.resolve(b"/logs").ino, b"latest", ROOT_INODE, b"latest")


def dead_blocks(directory: Path) -> set[int]:
    """Kinds of the blocks in packs that the index does not know."""

    async def find() -> set[int]:
        async with opened(directory) as vault:
            found = set()
            for pack in vault._catalogue.packs():
                live = dict(vault._catalogue.live_blocks(pack))
                at = 0
                content = (directory / "packs" / f"{pack:08}.pack").read_bytes()
                for block in second_reader.stored_blocks(content):
                    if at not in live:
                        found.add(block.kind)
                    at += 44 + len(block.stored)
            return found

    return anyio.run(find)


def test_a_tree_with_everything(tmp_path):
    steps = (fill, compact, change, compact, remove_most, compact, refill, compact, compact)
    entries = check(tmp_path / "v", *steps)
    assert entries["/second name"]["ino"] == entries["/logs/run.jsonl"]["ino"]
    assert "/not \udcff UTF-8/\udcfe\udc80" in entries
    # What might have come back was there.
    assert {BlockKind.INODES, BlockKind.NAMES} <= dead_blocks(tmp_path / "v")


def test_all_of_it_is_frozen_and_no_number_comes_twice(tmp_path):
    """With every statement gone, and everything removed, numbers still go on."""
    firsts: dict[int, int] = {}
    unknown = itertools.count(1000)

    async def numbers(vault: Vault) -> None:
        for kind in (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES,
                     BlockKind.NAMESPACE):  # fmt: skip
            now = vault._catalogue.next_number(kind)
            assert now >= firsts.get(kind, 1)
            firsts[kind] = now

    async def one_more(vault: Vault) -> None:
        await vault.write_document(b"/one.json", chat(next(unknown)))

    async def gone(vault: Vault) -> None:
        vault.tree.unlink(ROOT_INODE, b"one.json")

    async def nothing_hot(vault: Vault) -> None:
        await numbers(vault)
        assert vault._connection.one("SELECT count(*) FROM inode") == (0,)
        told = vault._catalogue.hot_ranges(BlockKind.NAMESPACE)
        assert len(told) == 1  # the checkpoint

    check(tmp_path / "v", fill, compact, nothing_hot, one_more, numbers, gone, compact, numbers,
          one_more, compact, nothing_hot, gone, one_more, numbers)  # fmt: skip


def test_a_second_compaction_says_nothing(tmp_path):
    sizes: list[int] = []

    async def measure(vault: Vault) -> None:
        await compact(vault)
        sizes.append(sum(vault._catalogue.packs().values()))

    check(tmp_path / "v", fill, measure, measure, measure)
    assert sizes[0] == sizes[1] == sizes[2]


def test_packs_tell_all_at_each_moment_of_a_compaction(tmp_path, monkeypatch):
    """What is dropped is told anew before it is dropped, in use or not."""
    directory = tmp_path / "v"
    expected: dict[str, Entry] = {}
    compared = 0
    sync = LocalStore.sync

    def compare_and_sync(store: LocalStore, pack: PackNo) -> None:
        nonlocal compared
        if expected:
            assert told_by_packs(directory) == expected
            compared += 1
        sync(store, pack)

    async def compare(vault: Vault) -> None:
        await change(vault)
        expected.update(await told_by_vault(vault))
        await vault.write_namespace()
        monkeypatch.setattr(LocalStore, "sync", compare_and_sync)
        in_use = vault.tree.resolve(b"/chats/1/a4.json").ino
        vault.files.acquire(in_use, writing=False)
        with vault.tree.listings.of(vault.tree.resolve(b"/chats/1").ino):
            await vault.compact(QUICK)
            assert vault._connection.one("SELECT 1 FROM inode")
            assert vault._connection.one("SELECT 1 FROM dentry")
        assert told_by_packs(directory) == expected
        vault.files.release(in_use, writing=False)

    check(directory, fill, compact)
    anyio.run(run_step, directory, compare)
    assert compared >= 4


def test_what_has_a_base_is_merged_with_it_or_not_at_all(tmp_path, monkeypatch):
    """Else the base could be merged itself, and nobody could tell it from its new block."""
    rounds = itertools.count()
    bases: list[set[int]] = []

    async def another(vault: Vault) -> None:
        at = next(rounds)
        for number in range(20):
            await vault.write_document(b"/%d/%d" % (at, number), chat(100 * at + number, 9))
        await compact(vault)
        bases.append({base for kind in (1, 2) for base in vault._catalogue.bases(kind)})

    monkeypatch.setattr(merge, "SMALL_BLOCKS_MAX", 100)
    check(tmp_path / "v", *[another] * 6)
    assert bases[-1]
    monkeypatch.setattr(merge, "SMALL_BLOCKS_MAX", 2)
    monkeypatch.setattr(merge, "encode_dense_block", without_base)
    check(tmp_path / "v", another)
    assert bases[-2] <= bases[-1]


def without_base(block: Block, *, level: int, base: tuple[int, Base] | None) -> bytes:
    del base
    return encode_dense_block(block, level=level, base=None)


# Random histories


@pytest.mark.parametrize("seed", range(2))
def test_random_histories(tmp_path, seed):
    history = History(seed)

    async def begin(vault: Vault) -> None:
        await vault.write_document(b"/ballast", BALLAST[: 200 << 10])

    async def some(vault: Vault) -> None:
        for _ in range(history.random.randrange(1, 4)):
            await history.steps(vault, 12)
            if history.random.randrange(3):
                await compact(vault)
            elif history.random.randrange(2):
                await vault.sealer.seal_due(everything=True)
                await vault.write_namespace()
        await history.steps(vault, 6)

    check(tmp_path / "v", begin, *[some] * 9)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("groups", ["small groups"], indirect=True)
def test_changes_beside_compactions(tmp_path, seed):
    history = History(200 + seed)
    steps = 0

    async def change_on(vault: Vault, over: anyio.Event) -> None:
        nonlocal steps
        while not over.is_set():
            await history.steps(vault, 3)
            if history.random.randrange(2):
                await vault.sealer.seal_due(everything=True)
            if history.random.randrange(2):
                await vault.write_namespace()
            await anyio.lowlevel.checkpoint()
            steps += 1

    async def both(vault: Vault) -> None:
        await history.steps(vault, 12)
        over = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(change_on, vault, over)
            for _ in range(3):
                await compact(vault)
            over.set()

    async def begin(vault: Vault) -> None:
        await vault.write_document(b"/ballast", BALLAST[: 200 << 10])

    check(tmp_path / "v", begin, *[both] * 4)
    assert steps > 10


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("groups", ["small groups"], indirect=True)
def test_random_histories_with_kills(tmp_path, seed, monkeypatch):
    """The vault as it was at some moment of a compaction goes on, as after a kill."""
    history = History(100 + seed)
    directory = tmp_path / "v"
    kill = Kill(directory, tmp_path / "killed", history.random)
    sync = LocalStore.sync

    def sync_or_kill(store: LocalStore, pack: PackNo) -> None:
        kill.before_sync()
        sync(store, pack)

    monkeypatch.setattr(LocalStore, "sync", sync_or_kill)

    async def begin(vault: Vault) -> None:
        await vault.write_document(b"/ballast", BALLAST[: 200 << 10])

    async def some(vault: Vault) -> None:
        await history.steps(vault, 12)

    async def killed(vault: Vault) -> None:
        await history.steps(vault, 12)
        kill.expected = await told_by_vault(vault)
        await vault.write_namespace()
        kill.arm()
        await vault.compact(QUICK)

    check(directory, begin)
    for _ in range(6):
        check(directory, some)
        anyio.run(run_step, directory, killed)
        kill.go_on_from_there()
        check(directory, some, some)
    assert kill.count > 2
