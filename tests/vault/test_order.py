"""Write order (docs/DESIGN.md): what a later write relies on is durable before it.

Packs are synced before rows refer to them, rows before drafts are removed. Recording parts
stand between the vault and the medium; nothing is faked.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from stowkenfs import Conversation, Message, Vault, VaultConfig
from stowkenfs.ids import ROOT_INODE, InodeNo, PackNo
from stowkenfs.index.connection import Connection
from stowkenfs.store.local import LocalStore
from stowkenfs.vault import opening
from stowkenfs.vault import vault as vault_module
from tests.running import BACKENDS, names_in, run

CONFIG = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
CALLS: list[str] = []

_TABLE = re.compile(r"(?:INTO|UPDATE|FROM) (\w+)")


class RecordingStore(LocalStore):
    def write(self, pack: PackNo, offset_bytes: int, content: bytes) -> None:
        CALLS.append("pack write")
        super().write(pack, offset_bytes, content)

    def sync(self, pack: PackNo) -> None:
        super().sync(pack)
        CALLS.append("pack sync")


class RecordingConnection(Connection):
    """Notes the tables of each commit that are about stored content."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._tables: set[str] = set()
        self._writer.set_trace_callback(self._note)

    def _note(self, sql: str) -> None:
        if sql.startswith("BEGIN"):
            self._tables = set()
        elif sql == "COMMIT":
            CALLS.extend(f"commit {table}" for table in sorted(self._tables))
        elif not sql.startswith(("SELECT", "PRAGMA")):
            found = _TABLE.search(sql)
            if found and found[1] in ("block", "extent", "draft", "draft_region"):
                if self._depth:
                    self._tables.add(found[1])
                else:
                    CALLS.append(f"commit {found[1]}")

    def sync(self) -> None:
        super().sync()
        CALLS.append("index sync")


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vault_module, "LocalStore", RecordingStore)
    monkeypatch.setattr(opening, "Connection", RecordingConnection)
    unlink, fdatasync = Path.unlink, os.fdatasync

    def noted_unlink(self: Path, missing_ok: bool = False) -> None:
        if self.parent.name == "drafts" and self.exists():
            CALLS.append("draft unlink")
        unlink(self, missing_ok)

    def noted_fdatasync(fd: int) -> None:
        fdatasync(fd)
        if "/drafts/" in str(Path(f"/proc/self/fd/{fd}").readlink()):
            CALLS.append("draft sync")

    monkeypatch.setattr(Path, "unlink", noted_unlink)
    monkeypatch.setattr(os, "fdatasync", noted_fdatasync)
    CALLS.clear()


def assert_in_order(*wanted: str) -> None:
    """The last of each kind of call comes before the first of the next kind."""
    for earlier, later in pairwise(wanted):
        assert earlier in CALLS, CALLS
        assert later in CALLS, CALLS
        last = max(at for at, call in enumerate(CALLS) if call == earlier)
        first = min(at for at, call in enumerate(CALLS) if call == later)
        assert last < first, CALLS


def write(vault: Vault, name: bytes, *pieces: bytes) -> InodeNo:
    made = vault.tree.create(ROOT_INODE, name, stat.S_IFREG | 0o600, 0, 0)
    vault.files.acquire(made.ino, writing=True)
    at = 0
    for piece in pieces:
        at += vault.files.write(made.ino, at, piece)
    vault.files.release(made.ino, writing=True)
    return made.ino


@contextmanager
def only_what_follows() -> Iterator[None]:
    CALLS.clear()
    yield


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pieces", [1, 3])
def test_sealing(tmp_path: Path, backend: str, pieces: int) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            for n in range(5):
                write(vault, b"%d.txt" % n, *[os.urandom(3000)] * pieces)
            with only_what_follows():
                vault.files.finish()  # the spool takes no more, so it can go
                await vault.sealer.seal_due(everything=True)
            if pieces == 1:
                vault.files.finish()
                await vault.sealer.remove_stale()
            assert_in_order("pack write", "pack sync", "commit block", "commit extent")
            assert_in_order("commit extent", "index sync", "draft unlink")
            assert_in_order("commit draft_region", "index sync")
            assert names_in(tmp_path / "v" / "drafts") == []

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_storing(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            with only_what_follows():
                await vault.store(Conversation(id="a", messages=[Message("user", "word " * 50)]))
            assert_in_order(
                "pack write", "pack sync", "commit block", "commit extent", "index sync"
            )
            assert CALLS[-1] == "index sync"
            with only_what_follows():
                await vault.store(Conversation(id="a", messages=[Message("user", "word " * 50)]))
            assert "pack write" not in CALLS
            assert CALLS[-1] == "index sync"
            with only_what_follows():
                await vault.delete("a")
            assert CALLS[-1] == "index sync"

    run(backend, main)


@pytest.mark.parametrize("pieces", [1, 3])
def test_fsync_of_a_draft(tmp_path: Path, pieces: int) -> None:
    """Its bytes and the rows that name them, before it returns; what is synced is not again."""

    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            ino = write(vault, b"a.txt", *[os.urandom(3000)] * pieces)
            vault.files.acquire(ino, writing=True)
            with only_what_follows():
                await vault.sync_file(ino)
            assert CALLS.count("index sync") == 1
            assert CALLS.count("draft sync") == min(pieces, 2)
            with only_what_follows():
                await vault.sync_file(ino)
            assert CALLS == ["index sync"]
            vault.files.release(ino, writing=True)

    run("trio", main)


def test_closing_leaves_everything_synced(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            write(vault, b"a.txt", b"drafted")
            with only_what_follows():
                pass
        assert_in_order("pack write", "pack sync", "commit block", "index sync")

    run("trio", main)
    assert names_in(tmp_path / "v").count("index.db-wal") == 0


def test_concurrent_stores_share_syncs(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v", CONFIG) as vault:
            with only_what_follows():
                async with anyio.create_task_group() as tasks:
                    for n in range(24):
                        one = Conversation(id=f"{n}", messages=[Message("user", f"{n} " * 60)])
                        tasks.start_soon(vault.store, one)
            assert CALLS.count("pack sync") < 24
            assert CALLS.count("index sync") < 24

    run("trio", main)
