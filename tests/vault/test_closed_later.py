"""A large index is opened at once, and compared with what it was meanwhile."""

import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from stowkenfs.errors import IndexDamaged
from stowkenfs.vault import closed
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault
from tests.vault.test_closed import CONFIG, TEXT, marks, read, write

UNUSED_BYTE = 80
"""Of the header of a database, for later versions: SQLite does not look at it."""


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Lets the comparison go on; every index counts as large."""
    event, compare = threading.Event(), closed._hash

    def wait_and_compare(path: Path) -> str:
        if threading.current_thread().name == "compare index":
            event.wait()
        return compare(path)

    monkeypatch.setattr(closed, "COMPARED_FIRST_BYTES", 0)
    monkeypatch.setattr(closed, "_hash", wait_and_compare)
    yield event
    event.set()


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    anyio.run(write, tmp_path / "vault", 1)
    return tmp_path / "vault"


def flip(path: Path) -> None:
    content = path.read_bytes()
    at = UNUSED_BYTE
    path.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])


def test_it_is_used_meanwhile_and_promises_nothing(vault: Path, gate: threading.Event) -> None:
    async def main() -> None:
        async with Vault.open(vault, CONFIG) as opened:
            assert await opened.read_file(opened.tree.resolve(b"/1").ino) == TEXT % 1
            await opened.write_document(b"/2", TEXT % 2)
            before = (vault / "index.db").read_bytes()
            synced = anyio.Event()

            async def sync() -> None:
                await opened.sync()
                synced.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(sync)
                tasks.start_soon(opened.shorten_index_log)
                for _ in range(20):
                    await opened.write_document(b"/3", TEXT % 3)
                assert not synced.is_set()
                assert (vault / "index.db").read_bytes() == before
                gate.set()
            assert synced.is_set()

    anyio.run(main)
    assert len(marks(vault)) == 1
    assert anyio.run(read, vault, 2) == TEXT % 2


def test_damage_is_told_before_anything_is_built_upon_it(
    vault: Path, gate: threading.Event
) -> None:
    flip(vault / "index.db")
    packs = {path: path.read_bytes() for path in (vault / "packs").iterdir()}

    async def main() -> None:
        async with Vault.open(vault, CONFIG) as opened:
            assert await opened.read_file(opened.tree.resolve(b"/1").ino) == TEXT % 1
            gate.set()
            with pytest.raises(IndexDamaged):
                await opened.sync()
            with pytest.raises(IndexDamaged, match="when the vault was closed"):
                opened.tree.resolve(b"/1")
            with pytest.raises(IndexDamaged):
                await opened.write_document(b"/2", TEXT % 2)

    with pytest.raises(IndexDamaged, match="stowkenfs reindex"):
        anyio.run(main)
    for path, content in packs.items():
        assert path.read_bytes()[: len(content)] == content
    for _ in range(2):  # no opening believes it again
        with pytest.raises(IndexDamaged, match="when the vault was closed"):
            anyio.run(read, vault, 1)
    assert (vault / closed.DOUBT).exists()


def test_a_doubt_is_gone_with_its_reason(vault: Path, gate: threading.Event) -> None:
    (vault / closed.DOUBT).touch()  # and nobody opens the gate: it is compared first
    assert anyio.run(read, vault, 1) == TEXT % 1
    assert not (vault / closed.DOUBT).exists()


def test_a_new_index_is_not_doubted(vault: Path, gate: threading.Event) -> None:
    flip(vault / "index.db")
    gate.set()

    async def main() -> None:
        async with Vault.open(vault, CONFIG) as opened:
            await opened.sync()

    with pytest.raises(IndexDamaged):
        anyio.run(main)
    rebuild_closed(vault)
    assert not (vault / closed.DOUBT).exists()
    assert anyio.run(read, vault, 1) == TEXT % 1


@pytest.mark.parametrize("left", ["drafts/9-9", "packs/00000009.pack"])
def test_what_is_left_is_taken_away_when_the_index_is_sure(
    vault: Path, gate: threading.Event, left: str
) -> None:
    flip(vault / "index.db")
    (vault / left).write_bytes(b"something")
    gate.set()
    with pytest.raises(IndexDamaged):
        anyio.run(read, vault, 1)
    assert (vault / left).exists()
