"""An index in use is compared with the packs, and what differs is told there again."""

import random
import shutil
import stat
import time
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest

from stowkenfs.ids import ROOT_INODE
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.reindex.report import ReindexReport
from stowkenfs.vault.vault import Vault
from tests.running import run
from tests.vault.rebuilding import History, chat, compact, opened, run_step, told_by_vault
from tests.vault.test_rebuild import change, fill, refill, remove_most
from tests.vault.test_reindex import forget_index, told


async def same(vault: Vault) -> None:
    report = await vault.reindex()
    assert report.clean
    assert report.differences == []
    assert not list(vault.directory.glob("index.db.*")) if vault.directory else True


def test_they_say_the_same(tmp_path):
    for step in (fill, same, compact, same, change, same, compact, same, remove_most, same, refill,
                 same, compact, same):  # fmt: skip
        anyio.run(run_step, tmp_path / "v", step)


def test_changes_of_one_opening_are_told_first(tmp_path):
    async def main(vault: Vault) -> None:
        for step in (fill, compact, change):
            await step(vault)
            await same(vault)
        inode = vault.tree.create_nameless(stat.S_IFREG | 0o600, 1, 2)
        await same(vault)
        vault.files.acquire(inode.ino, writing=False)
        await same(vault)

    anyio.run(run_step, tmp_path / "v", main)


@pytest.mark.parametrize("seed", range(3))
def test_random_histories(tmp_path, seed):
    history = History(seed + 50)

    async def some(vault: Vault) -> None:
        await history.steps(vault, 60)
        if history.random.random() < 0.4:
            await compact(vault)
        await same(vault)

    for _ in range(6):
        anyio.run(run_step, tmp_path / "v", some)


FORGED = {
    "a mode": "UPDATE inode SET mode = mode | 7 WHERE ino = 2",
    "a time": "UPDATE inode SET mtime_ns = mtime_ns + 1 WHERE ino = 3",
    "a name": "UPDATE dentry SET name = x'6162' WHERE name = x'70697065'",
    "an attribute": "UPDATE xattr SET value = x'00' WHERE ino = (SELECT min(ino) FROM xattr)",
    "an extent": "UPDATE extent SET length = length - 1 WHERE ino = 4",
    "an inode that is gone": "DELETE FROM inode WHERE ino = (SELECT ino FROM dentry"
    " WHERE name = x'70697065')",
}


@pytest.mark.parametrize("what", FORGED)
def test_what_packs_tell_otherwise_is_told_again(tmp_path, what):
    """The index is right, whatever packs say: as if a statement had never been written."""

    async def forge(vault: Vault) -> None:
        with vault._connection.transaction():
            assert vault._connection.execute(FORGED[what]).rowcount
            if what == "an inode that is gone":
                vault._connection.execute("DELETE FROM dentry WHERE name = x'70697065'")
            vault._connection.execute("DELETE FROM dirty_inode")
            vault._connection.execute("DELETE FROM dirty_dentry")

    async def mend(vault: Vault) -> None:
        report = await vault.reindex()
        assert report.clean
        assert report.differences
        await same(vault)

    for step in (fill, forge, mend):
        anyio.run(run_step, tmp_path / "v", step)
    before = told(tmp_path / "v")
    forget_index(tmp_path / "v")
    assert told(tmp_path / "v") == before


def test_rows_of_blocks_and_totals_are_mended(tmp_path):
    async def forge(vault: Vault) -> None:
        connection = vault._connection
        expected.append(connection.all("SELECT * FROM frame_kind ORDER BY kind"))
        expected.append(connection.all("SELECT kind, first, pack, offset FROM block"))
        connection.execute("UPDATE frame_kind SET frames = 77")
        connection.execute("DELETE FROM block WHERE kind = 1 AND first = 0")

    async def mend(vault: Vault) -> None:
        report = await vault.reindex()
        assert len(report.differences) >= 2
        connection = vault._connection
        assert connection.all("SELECT * FROM frame_kind ORDER BY kind") == expected[0]
        rows = connection.all("SELECT kind, first, pack, offset FROM block WHERE kind != 4")
        assert rows == [row for row in expected[1] if row[0] != BlockKind.NAMESPACE]
        assert (await vault.verify()).clean

    expected: list[list[tuple[int, ...]]] = []
    for step in (fill, forge, mend):
        anyio.run(run_step, tmp_path / "v", step)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_others_go_on(tmp_path, backend):
    """Readers and writers meanwhile; the loop never waits, and what they wrote is there."""
    longest = 0.0
    chance = random.Random(4)

    async def watch() -> None:
        nonlocal longest
        while True:
            started = time.perf_counter()
            await anyio.lowlevel.checkpoint()
            longest = max(longest, time.perf_counter() - started)
            await anyio.sleep(0.001)

    async def write(vault: Vault) -> None:
        number = 0
        while True:
            number += 1
            await vault.write_document(b"/during/%d.json" % (number % 50), chat(number))
            if chance.random() < 0.3:
                vault.tree.unlink(vault.tree.resolve(b"/during").ino, b"%d.json" % (number % 50))
            await anyio.sleep(0.001)

    async def main() -> None:
        async with opened(tmp_path / "v") as vault:
            await fill(vault)
            await compact(vault)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write, vault)
                tasks.start_soon(watch)
                for _ in range(5):
                    report = await vault.reindex()
                    assert report.clean
                    assert report.differences == []
                tasks.cancel_scope.cancel()
            expected.update(await told_by_vault(vault))

    expected: dict[str, object] = {}
    run(backend, main)
    forget_index(tmp_path / "v")
    assert told(tmp_path / "v") == expected
    assert longest < 0.25  # of a machine that does other things, too


def test_cancelled_it_leaves_nothing(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault)
        for delay in (0, 0.01, 0.05):
            with anyio.move_on_after(delay):
                await vault.reindex()
            assert vault.directory is not None
            assert not list(vault.directory.glob("index.db.*"))
        await same(vault)

    anyio.run(run_step, tmp_path / "v", main)


def test_damage_is_told_and_nothing_of_the_index_goes(tmp_path):
    async def damage(vault: Vault) -> None:
        assert vault.directory is not None
        pack = min((vault.directory / "packs").iterdir())
        content = bytearray(pack.read_bytes())
        content[len(content) // 2] ^= 1
        pack.write_bytes(content)

    async def look(vault: Vault) -> None:
        reports.append(await vault.reindex())

    reports: list[ReindexReport] = []
    for step in (refill, damage, look, look):
        anyio.run(run_step, tmp_path / "v", step)
    assert len(reports[0].damages) == 1
    assert reports[0].problems  # the row whose block it is
    assert not reports[0].differences
    assert reports[1].damages == reports[0].damages


def test_what_was_lost_of_the_tree_is_told_again(tmp_path):
    """Also what is frozen: of a group that is damaged in packs the index cannot tell either."""
    for step in (fill, compact, change):
        anyio.run(run_step, tmp_path / "v", step)
    copy = Path(shutil.copytree(tmp_path / "v", tmp_path / "copy"))

    async def drop_statements(vault: Vault) -> None:
        """Statements since the checkpoint are damaged; what they told is hot in the index."""
        rows = vault._connection.all(
            "SELECT pack, offset, stored FROM block WHERE kind = 4 AND first ="
            " (SELECT max(first) FROM block WHERE kind = 4)"
        )
        assert vault.directory is not None
        for pack, offset, stored in rows:
            path = vault.directory / "packs" / f"{pack:08}.pack"
            content = bytearray(path.read_bytes())
            content[offset + stored - 1] ^= 1
            path.write_bytes(content)

    async def mend(vault: Vault) -> None:
        report = await vault.reindex()
        assert report.damages
        assert report.differences

    before = told(copy)
    copy_2 = Path(shutil.copytree(copy, tmp_path / "copy 2"))
    for step in (drop_statements, mend):
        anyio.run(run_step, copy_2, step)
    forget_index(copy_2)
    assert told(copy_2) == before


def test_in_memory():
    async def main() -> None:
        async with Vault.memory() as vault:
            await refill(vault)
            await same(vault)
            await vault.compact()
            await same(vault)
            vault.tree.unlink(vault.tree.resolve(b"/chats/0").ino, b"a0.json")
            await same(vault)
            assert vault.tree.resolve(b"/chats").parent == ROOT_INODE

    run("trio", main)
