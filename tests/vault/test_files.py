"""Files in use: full disks, seals that overlap with changes, and what is left after a crash."""

import errno
import logging
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from stowkenfs import Conversation, Message, Vault, VaultConfig
from stowkenfs.errors import FileTooLarge, NotFound
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.changes import DentryChange
from stowkenfs.index.connection import Connection
from stowkenfs.index.journal import Journal
from stowkenfs.store.block import BlockKind
from stowkenfs.vault import opening
from stowkenfs.vault.files import FILE_BYTES_MAX
from stowkenfs.vault.ingest import Ingest, Piece
from stowkenfs.vault.namespace import decode_changes
from tests.running import BACKENDS, names_in, run
from tests.vault.machine import copy_as_a_crash

CONFIG = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
LINE = b'{"role": "user", "content": "a line that is long enough to become a segment of its own"}\n'


class FullDisk(Connection):
    """An index that keeps no change while it is ``full``."""

    full = False

    def _commit(self) -> None:
        self._require()
        super()._commit()

    def _tell(self, journal: Journal, told: bytearray) -> None:
        self._require()
        super()._tell(journal, told)

    def _require(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "index: no space")


@pytest.fixture
def full_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "Connection", FullDisk)


@asynccontextmanager
async def no_space(vault: Vault) -> AsyncIterator[None]:
    assert isinstance(vault._connection, FullDisk)
    vault._connection.full = True
    try:
        yield
    finally:
        vault._connection.full = False


def create(vault: Vault, name: bytes, content: bytes = b"") -> InodeNo:
    ino = vault.tree.create(ROOT_INODE, name, stat.S_IFREG | 0o600, 0, 0).ino
    put(vault, ino, 0, content)
    return ino


def put(vault: Vault, ino: InodeNo, start: int, content: bytes) -> None:
    vault.files.acquire(ino, writing=True)
    try:
        vault.files.write(ino, start, content)
    finally:
        vault.files.release(ino, writing=True)


async def seal(vault: Vault) -> None:
    await vault.sealer.seal_due(everything=True)


async def content_after_a_crash(vault: Vault, ino: InodeNo, tmp_path: Path) -> bytes:
    assert vault.directory is not None
    target = tmp_path / "crashed"
    copy_as_a_crash(vault.directory, target)
    async with Vault.open(target, CONFIG) as crashed:
        return await crashed.read_file(ino)


def in_vault(tmp_path: Path, main, backend: str = "trio") -> None:
    async def with_vault() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            await main(vault)

    run(backend, with_vault)


# Full disks


@pytest.mark.parametrize("sealed", [True, False])
def test_a_truncation_that_fails_changes_nothing(
    tmp_path: Path, full_disks: None, sealed: bool
) -> None:
    async def main(vault: Vault) -> None:
        content = LINE * 40
        ino = create(vault, b"a", content)
        put(vault, ino, len(content), LINE)
        content += LINE
        if sealed:
            await seal(vault)
        for is_open in (False, True):
            if is_open:
                vault.files.acquire(ino, writing=True)
            async with no_space(vault):
                for size in (0, 10, len(content) + 5):
                    with pytest.raises(OSError, match="no space"):
                        vault.tree.set_attributes(ino, size=size)
            assert vault.tree.inode(ino).size == len(content)
            assert await vault.read_file(ino) == content
            await vault.sealer.remove_stale()
            assert await content_after_a_crash(vault, ino, tmp_path / str(is_open)) == content
        put(vault, ino, len(content), b"more")
        vault.files.release(ino, writing=True)
        assert await vault.read_file(ino) == content + b"more"
        await seal(vault)
        assert await vault.read_file(ino) == content + b"more"

    in_vault(tmp_path, main)


def test_an_unlink_that_fails_leaves_the_file(tmp_path: Path, full_disks: None) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"a", LINE)
        other = create(vault, b"b", b"other")
        vault.files.acquire(ino, writing=False)
        async with no_space(vault):
            with pytest.raises(OSError, match="no space"):
                vault.tree.unlink(ROOT_INODE, b"a")
            with pytest.raises(OSError, match="no space"):
                vault.tree.rename(ROOT_INODE, b"b", ROOT_INODE, b"a")
            with pytest.raises(OSError, match="no space"):
                vault.tree.link(ino, ROOT_INODE, b"c")
        assert vault.tree.inode(ino).nlink == 1
        vault.files.release(ino, writing=False)
        assert await vault.read_file(ino) == LINE
        assert vault.tree.resolve(b"a").ino == ino
        assert vault.tree.resolve(b"b").ino == other
        assert vault.tree.lookup(ROOT_INODE, b"c") is None

    in_vault(tmp_path, main)


def test_a_first_write_that_fails_leaves_no_draft(tmp_path: Path, full_disks: None) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"a")
        vault.files.acquire(ino, writing=True)
        async with no_space(vault):
            with pytest.raises(OSError, match="no space"):
                vault.files.write(ino, 0, b"lost")
        assert vault.tree.inode(ino).size == 0
        assert await vault.read_file(ino) == b""
        vault.files.write(ino, 0, b"kept")
        vault.files.release(ino, writing=True)
        await seal(vault)
        assert await vault.read_file(ino) == b"kept"

    in_vault(tmp_path, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_seal_that_fails_keeps_the_draft_and_goes_on_later(
    tmp_path: Path, full_disks: None, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "stowkenfs")

    async def main(vault: Vault) -> None:
        content = LINE * 30
        inodes = [create(vault, b"%d" % n, content + b"%d" % n) for n in range(4)]
        async with no_space(vault):
            for _ in range(2):
                await seal(vault)
        await vault.sealer.remove_stale()
        for n, ino in enumerate(inodes):
            assert await vault.read_file(ino) == content + b"%d" % n
            found = await content_after_a_crash(vault, ino, tmp_path / str(n))
            assert found == content + b"%d" % n
        await seal(vault)
        assert (await vault.stats()).drafts == 0
        for n, ino in enumerate(inodes):
            assert await vault.read_file(ino) == content + b"%d" % n
        assert (await vault.verify()).clean

    in_vault(tmp_path, main, backend)


def test_the_background_work_survives_a_full_disk(
    tmp_path: Path, full_disks: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "stowkenfs")

    async def main(vault: Vault) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(vault.tidy)
            async with no_space(vault):
                for n in range(5):
                    with pytest.raises(OSError, match="no space"):
                        create(vault, b"%d" % n)
                    await anyio.sleep(0.02)
            ino = create(vault, b"later", LINE)
            vault.sealer.due.left(ino)
            with anyio.fail_after(5):
                while (await vault.stats()).drafts:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()

    in_vault(tmp_path, main)


def test_a_store_that_fails_leaves_what_was_there(tmp_path: Path, full_disks: None) -> None:
    async def main(vault: Vault) -> None:
        before = Conversation(id="a", messages=[Message("user", "before " * 20)])
        after = Conversation(id="a", messages=[Message("user", "after " * 20)])
        await vault.store(before)
        async with no_space(vault):
            for _ in range(2):
                with pytest.raises(OSError, match="no space"):
                    await vault.store(after)
        assert await vault.retrieve("a") == before
        await vault.store(after)
        assert await vault.retrieve("a") == after
        assert (await vault.verify()).clean

    in_vault(tmp_path, main)


# Seals and changes at once


class SlowIngest(Ingest):
    """Stores when it is told to, so that anything can happen meanwhile; only the first works."""

    gate: anyio.Event
    begun: anyio.Event

    async def store(self, pieces: Sequence[Piece], *args: Any):
        if self.begun.is_set() and not self.gate.is_set():
            raise OSError(errno.EIO, "one seal is enough")
        self.begun.set()
        await self.gate.wait()
        return await super().store(pieces, *args)


def slowed(vault: Vault) -> SlowIngest:
    ingest = vault.ingest
    ingest.__class__ = SlowIngest
    assert isinstance(ingest, SlowIngest)
    ingest.gate, ingest.begun = anyio.Event(), anyio.Event()
    return ingest


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_change_during_a_seal_is_kept_though_another_seal_begins(
    tmp_path: Path, backend: str
) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"a", b"old content, " * 20)
        ingest = slowed(vault)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(seal, vault)
            await ingest.begun.wait()
            put(vault, ino, 0, b"NEW")
            tasks.start_soon(seal, vault)
            await anyio.wait_all_tasks_blocked()
            ingest.gate.set()
        expected = b"NEW content, " + b"old content, " * 19
        assert await vault.read_file(ino) == expected
        await seal(vault)
        assert await vault.read_file(ino) == expected
        assert (await vault.stats()).drafts == 0

    in_vault(tmp_path, main, backend)


@pytest.mark.parametrize(
    "change", ["write", "append", "truncate", "extend", "replace", "unlink", "rename over"]
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_change_during_a_seal(tmp_path: Path, backend: str, change: str) -> None:
    async def main(vault: Vault) -> None:
        content = LINE * 10
        ino = create(vault, b"a.jsonl", content)
        ingest = slowed(vault)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(seal, vault)
            await ingest.begun.wait()
            if change == "write":
                put(vault, ino, 100, b"x" * 200)
                content = content[:100] + b"x" * 200 + content[300:]
            elif change == "append":
                put(vault, ino, len(content), LINE * 2)
                content += LINE * 2
            elif change == "truncate":
                vault.tree.set_attributes(ino, size=150)
                put(vault, ino, 150, b"new")
                content = content[:150] + b"new"
            elif change == "extend":
                vault.tree.set_attributes(ino, size=150)
                vault.tree.set_attributes(ino, size=2000)
                content = content[:150].ljust(2000, b"\0")
            elif change == "replace":
                ingest.gate.set()
                content = LINE[::-1] * 3
                await vault.write_document(b"/a.jsonl", content)
            elif change == "unlink":
                vault.tree.unlink(ROOT_INODE, b"a.jsonl")
                ino = create(vault, b"a.jsonl", content)
            else:
                new = create(vault, b"b", b"other")
                vault.tree.rename(ROOT_INODE, b"b", ROOT_INODE, b"a.jsonl")
                ino, content = new, b"other"
            ingest.gate.set()
        assert await vault.read_file(ino) == content
        assert await content_after_a_crash(vault, ino, tmp_path) == content
        await seal(vault)
        assert vault.tree.resolve(b"a.jsonl").ino == ino
        assert await vault.read_file(ino) == content
        stats = await vault.stats()
        assert (stats.documents, stats.drafts) == (1, 0)

    in_vault(tmp_path, main, backend)


def test_what_is_written_while_the_sealed_draft_is_removed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is removed some time after its rows; the next draft has one of its own by then."""

    async def main(vault: Vault) -> None:
        async def later() -> None:
            await anyio.lowlevel.checkpoint()

        monkeypatch.setattr(vault.sealer, "remove_stale", later)
        ino = create(vault, b"a.jsonl")
        content = b""
        for _ in range(3):
            for _ in range(3):
                put(vault, ino, len(content), LINE)
                content += LINE
            stale = vault.files.take_stale()
            await seal(vault)
            put(vault, ino, len(content), LINE)
            put(vault, ino, len(content) + len(LINE), LINE)
            content += LINE * 2
            for path in stale:
                path.unlink(missing_ok=True)
            assert await vault.read_file(ino) == content
        assert await content_after_a_crash(vault, ino, tmp_path) == content
        monkeypatch.undo()
        await seal(vault)
        assert await vault.read_file(ino) == content

    in_vault(tmp_path, main)


def test_two_writers_of_the_namespace_lose_nothing(tmp_path: Path) -> None:
    """What is in the packs at the end is what the tree is."""

    async def main(vault: Vault) -> None:
        name = b"at first"
        create(vault, name)
        for n in range(6):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(vault.write_namespace)
                for _ in range(n % 5):
                    await anyio.lowlevel.checkpoint()
                tasks.start_soon(vault.write_namespace)
                for step in range(40):
                    vault.tree.rename(ROOT_INODE, name, ROOT_INODE, b"%d" % (step % 3))
                    name = b"%d" % (step % 3)
                    await anyio.sleep(0.0001)
        await vault.write_namespace()
        names: dict[bytes, InodeNo | None] = {}
        catalogue = Catalogue(vault._connection)
        for (first,) in vault._connection.all("SELECT first FROM block WHERE kind = 4 ORDER BY 1"):
            place = catalogue.locate(BlockKind.NAMESPACE, first)
            assert place is not None
            block = vault.reader.read_block(place)
            for change in decode_changes(block.payload):
                if isinstance(change, DentryChange):
                    names[change.name] = change.ino
        assert [found for found, ino in names.items() if ino] == [name]

    in_vault(tmp_path, main)


# Sizes, holes, crashes


def test_writing_nothing_changes_nothing(tmp_path: Path) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"a")
        before = vault.tree.inode(ino).mtime_ns
        put(vault, ino, 100, b"")
        assert (vault.tree.inode(ino).size, vault.tree.inode(ino).mtime_ns) == (0, before)
        assert (await vault.stats()).drafts == 0

    in_vault(tmp_path, main)


def test_a_truncated_draft_leaves_nothing(tmp_path: Path) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"a", LINE)
        vault.tree.set_attributes(ino, size=0)
        assert (await vault.stats()).drafts == 0
        put(vault, ino, 3, b"x")
        assert await vault.read_file(ino) == b"\0\0\0x"

    in_vault(tmp_path, main)


def test_what_is_no_hole_is_told_of_a_file_that_nobody_uses(tmp_path: Path) -> None:
    """Programs take a file of no blocks for one hole, and do not read it (tar -S)."""

    async def main(vault: Vault) -> None:
        content = LINE * ((3 << 20) // len(LINE))
        ino = create(vault, b"a", content)
        for _ in range(2):
            held = vault.files.held_bytes(vault.tree.inode(ino))
            assert held == vault.tree.inode(ino).size == len(content)
            await vault.files.settle_all()  # and lets go of it
        await seal(vault)
        assert vault.files.held_bytes(vault.tree.inode(ino)) == held

    in_vault(tmp_path, main)


@pytest.mark.parametrize("sealed", [True, False])
def test_a_sparse_file_costs_what_its_data_costs(tmp_path: Path, sealed: bool) -> None:
    async def main(vault: Vault) -> None:
        size = 999_999_999_999_999
        ino = create(vault, b"sparse", b"start")
        put(vault, ino, size - 3, b"end")
        vault.tree.set_attributes(ino, size=FILE_BYTES_MAX)
        vault.tree.set_attributes(ino, size=size)
        if sealed:
            await seal(vault)
            assert (await vault.stats()).drafts == 0
        live = vault.files.acquire(ino, writing=False)
        assert await vault.files.read(live, 0, 8) == b"start\0\0\0"
        assert await vault.files.read(live, size // 2, 4) == bytes(4)
        assert await vault.files.read(live, size - 5, 100) == b"\0\0end"
        assert await vault.files.read(live, size, 1) == b""
        vault.files.release(ino, writing=False)
        with pytest.raises(FileTooLarge):
            put(vault, ino, FILE_BYTES_MAX - 1, b"xx")
        with pytest.raises(FileTooLarge):
            vault.tree.set_attributes(ino, size=FILE_BYTES_MAX + 1)
        assert (await vault.stats()).disk_bytes < 2 << 20

    in_vault(tmp_path, main)


def test_a_file_without_a_name_is_gone_after_a_crash(tmp_path: Path) -> None:
    async def main(vault: Vault) -> None:
        kept, gone = create(vault, b"kept", LINE), create(vault, b"gone", LINE)
        vault.files.acquire(gone, writing=True)
        vault.tree.unlink(ROOT_INODE, b"gone")
        vault.files.write(gone, 0, b"unreachable")
        copy_as_a_crash(tmp_path / "v", tmp_path / "crashed")
        vault.files.release(gone, writing=True)
        async with Vault.open(tmp_path / "crashed", CONFIG) as crashed:
            assert await crashed.read_file(kept) == LINE
            with pytest.raises(NotFound):
                crashed.tree.inode(gone)
            assert (await crashed.stats()).documents == 1
            await seal(crashed)
            assert crashed.tree.create(ROOT_INODE, b"new", stat.S_IFREG, 0, 0).ino > gone
        assert names_in(tmp_path / "crashed" / "drafts") == []

    in_vault(tmp_path, main)


def test_sizes_and_times_of_unsettled_files_survive(tmp_path: Path) -> None:
    async def main(vault: Vault) -> None:
        ino = create(vault, b"log", LINE)
        vault.files.acquire(ino, writing=True)
        for n in range(1, 20):
            vault.files.write(ino, n * len(LINE), LINE)
        assert await content_after_a_crash(vault, ino, tmp_path) == LINE * 20
        async with Vault.open(tmp_path / "crashed", CONFIG) as crashed:
            live, inode = vault.tree.inode(ino), crashed.tree.inode(ino)
            assert inode.size == live.size
            assert abs(inode.mtime_ns - live.mtime_ns) < 10**9
        vault.files.release(ino, writing=True)

    in_vault(tmp_path, main)


def test_the_directory_may_be_named_relative_and_changed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()

    async def main() -> None:
        async with Vault.open("v", CONFIG) as vault:
            os.chdir("elsewhere")
            ino = create(vault, b"a", LINE)
            put(vault, ino, len(LINE), LINE)
            await seal(vault)
            assert await vault.read_file(ino) == LINE * 2

    run("trio", main)
    assert names_in(tmp_path / "elsewhere") == []
