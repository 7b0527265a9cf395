"""Compaction when something else happens just then: cancelled, out of space, changed, damaged."""

import errno
import json
import random
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest

from stowkenfs.ids import ROOT_INODE, PackNo
from stowkenfs.index.catalogue import BlockPlace
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.compaction.compactor import Compactor, CompactReport
from stowkenfs.vault.compaction.emptying import Emptier
from stowkenfs.vault.compaction.gather import Gathered, Moves
from stowkenfs.vault.vault import Vault
from tests.vault.test_compaction import QUICK, in_vault


def line(n: int) -> bytes:
    text = f"line {n} of the log says something that is long enough to matter {n * 7919}"
    return (json.dumps({"n": n, "text": text}) + "\n").encode()


def lines(*numbers: int) -> bytes:
    return b"".join(map(line, numbers or ()))


async def assert_is(vault: Vault, path: bytes, content: bytes) -> None:
    vault.reader.forget()
    assert await vault.read_file(vault.tree.resolve(path).ino) == content


def test_an_extent_of_both_kinds_of_records(tmp_path: Path) -> None:
    """A log of compacted lines and a new one is not frozen before all of it is compacted."""
    old = lines(*range(300))

    async def main(vault: Vault) -> None:
        await vault.write_document(b"/z.jsonl", old)
        await vault.compact(QUICK)
        for at in range(3):
            await vault.write_document(b"/grown %d" % at, old + lines(1000 + at) + old)
            await vault.compact(QUICK)
            await vault.write_document(b"/other %d" % at, lines(5000 + at))
        await vault.compact(QUICK)
        for at in range(3):
            await assert_is(vault, b"/grown %d" % at, old + lines(1000 + at) + old)
        assert (await vault.verify()).clean

    in_vault(tmp_path / "v", main)


def test_cancelled_while_blocks_are_dropped(tmp_path: Path, monkeypatch) -> None:
    """Nothing is found by its key whose block is gone, even if caches still have it."""
    content = lines(*range(50))

    async def main(vault: Vault) -> None:
        await vault.write_document(b"/a.jsonl", content)
        await vault.write_document(b"/b.jsonl", lines(*range(500, 550)))
        drop_blocks = vault._catalogue.drop_blocks

        def drop(kind: int, firsts: Sequence[int]) -> None:
            drop_blocks(kind, firsts)
            if kind == BlockKind.RECORDS:
                scope.cancel()

        with anyio.CancelScope() as scope, monkeypatch.context() as patch:
            patch.setattr(vault._catalogue, "drop_blocks", drop)
            await vault.compact(QUICK)
        assert scope.cancelled_caught
        await vault.write_document(b"/again.jsonl", content)

    async def reopened(vault: Vault) -> None:
        await assert_is(vault, b"/again.jsonl", content)
        await vault.compact(QUICK)
        await assert_is(vault, b"/again.jsonl", content)
        await assert_is(vault, b"/a.jsonl", content)

    in_vault(tmp_path / "v", main)
    in_vault(tmp_path / "v", reopened)


def test_a_write_that_failed_is_not_repeated_in_a_pack_on_its_way_out(
    tmp_path: Path, monkeypatch
) -> None:
    new = lines(*range(1000, 1100))

    async def main(vault: Vault) -> None:
        await vault.write_document(b"/a.jsonl", lines(*range(300)))
        await vault.compact(QUICK)
        for at in range(60):  # statements about names, soon obsolete
            names = [b"%d-%d" % (at, n) for n in range(20)]
            for name in names:
                vault.tree.create(ROOT_INODE, name, 0o100644, 0, 0)
            await vault.write_namespace()
            for name in names:
                vault.tree.unlink(ROOT_INODE, name)
            await vault.write_namespace()
        write, copy = vault._store.write, Emptier._copy
        fails = written = False

        def write_once_in_vain(pack: PackNo, offset: int, content: bytes) -> None:
            nonlocal fails
            if fails:
                fails = False
                raise OSError(errno.ENOSPC, "No space left on device")
            write(pack, offset, content)

        async def copy_beside_a_writer(self: Emptier, pack: PackNo, live: Any) -> None:
            nonlocal fails, written
            await copy(self, pack, live)
            if not written:
                fails = written = True
                with pytest.raises(OSError, match="No space"):
                    await vault.write_document(b"/new.jsonl", new)
                await vault.write_document(b"/new.jsonl", new)

        monkeypatch.setattr(vault._store, "write", write_once_in_vain)
        monkeypatch.setattr(Emptier, "_copy", copy_beside_a_writer)
        await vault.compact(QUICK)
        assert written
        await assert_is(vault, b"/new.jsonl", new)
        assert dict(vault._store.packs()).keys() == vault._catalogue.packs().keys()

    in_vault(tmp_path / "v", main)


def test_a_cut_file_whose_records_went_apart(tmp_path: Path) -> None:
    content = lines(*range(10))

    async def main(vault: Vault) -> None:
        ino = await vault.write_document(b"/z.jsonl", content)
        await vault.write_document(b"/a.jsonl", lines(1, 3, 5, 7, 9))  # goes first
        vault.files.truncate(ino, 30)
        for _ in range(2):
            await vault.compact(QUICK)
            await assert_is(vault, b"/z.jsonl", content[:30])

    in_vault(tmp_path / "v", main)


def test_a_log_that_is_always_being_written_is_compacted_once(tmp_path: Path) -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklm", k=rng.randint(2, 9))) for _ in range(500)]

    def said() -> bytes:
        return (json.dumps({"t": " ".join(rng.choices(words, k=60))}) + "\n").encode()

    async def main(vault: Vault) -> None:
        content = b"".join(said() for _ in range(400))
        ino = await vault.write_document(b"/run.jsonl", content)
        vault.files.acquire(ino, writing=True)
        stored = []
        for _ in range(4):
            more = said()
            vault.files.write(ino, len(content), more)
            content += more
            stored.append((await vault.compact(QUICK)).stored_bytes_after)
            assert await vault.read_file(ino) == content
        vault.files.release(ino, writing=True)
        assert max(stored) - min(stored) < 4 * 700  # what the new lines take

    in_vault(tmp_path / "v", main)


def test_a_place_that_is_looked_up_while_it_changes(tmp_path: Path, monkeypatch) -> None:
    """What a reader's thread sees before the commit is not what it believes afterwards."""
    content = lines(*range(300))

    async def main(vault: Vault) -> None:
        ino = await vault.write_document(b"/a.jsonl", content)
        await vault.compact(QUICK)
        record = vault.extents_of_file(ino)[0].record
        await vault.write_document(b"/b.jsonl", lines(7000))
        place = vault._catalogue.locate(BlockKind.RECORDS, record)
        assert place is not None
        move_blocks, execute = vault._catalogue.move_blocks, vault._connection.execute
        moved = False

        def move(pack: PackNo, to: dict[int, BlockPlace]) -> None:
            nonlocal moved
            move_blocks(pack, to)
            moved = True

        def execute_beside_a_reader(sql: str, parameters: Sequence[object] = ()) -> Any:
            if sql == "COMMIT" and moved:
                reader = Thread(target=vault._catalogue.locate, args=(BlockKind.RECORDS, record))
                reader.start()
                reader.join()
            return execute(sql, parameters)

        monkeypatch.setattr(vault._catalogue, "move_blocks", move)
        monkeypatch.setattr(vault._connection, "execute", execute_beside_a_reader)

        async def only_that(_self: Emptier) -> list[PackNo]:
            return [place.pack]

        monkeypatch.setattr(Emptier, "_mostly_unused", only_that)
        await vault.compact(QUICK)
        assert moved
        assert place.pack not in vault._catalogue.packs()
        await assert_is(vault, b"/a.jsonl", content)

    in_vault(tmp_path / "v", main)


def test_failed_writes_leave_no_packs_behind(tmp_path: Path, monkeypatch) -> None:
    async def main(vault: Vault) -> None:
        write = vault._store.write

        def write_half(pack: PackNo, offset: int, content: bytes) -> None:
            write(pack, offset, content[: len(content) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

        await vault.write_document(b"/a.jsonl", lines(*range(300)))
        with monkeypatch.context() as patch:
            patch.setattr(vault._store, "write", write_half)
            for _ in range(3):
                with pytest.raises(OSError, match="No space"):
                    await vault.compact(QUICK)
                with pytest.raises(OSError, match="No space"):
                    await vault.write_document(b"/b.jsonl", lines(*range(900, 950)))
        assert dict(vault._store.packs()) == vault._catalogue.packs()
        await vault.compact(QUICK)
        await assert_is(vault, b"/a.jsonl", lines(*range(300)))

    in_vault(tmp_path / "v", main)


@pytest.mark.parametrize("table", ["frozen_name", "frozen_inode"])
def test_a_damaged_group_does_not_keep_the_rest_from_being_compacted(
    tmp_path: Path, table: str
) -> None:
    async def fill(vault: Vault) -> list[tuple[int, int]]:
        for at in range(30):
            await vault.write_document(b"/d/%d" % at, line(at))
        await vault.compact(QUICK)
        for at in range(3):
            await vault.write_document(b"/e %d" % at, line(100 + at))
        rows = vault._connection.all(f"SELECT pack, offset FROM {table}")
        return [(int(pack), int(offset)) for pack, offset in rows]

    async def main(vault: Vault) -> CompactReport:
        report = await vault.compact(QUICK)
        for at in range(3):
            await assert_is(vault, b"/e %d" % at, line(100 + at))
        return report

    for pack, offset in in_vault(tmp_path / "v", fill):
        path = tmp_path / "v" / "packs" / f"{pack:08d}.pack"
        content = bytearray(path.read_bytes())
        content[offset + 50] ^= 1
        path.write_bytes(content)
    report = in_vault(tmp_path / "v", main)
    assert report.problems or table == "frozen_inode"


@pytest.mark.parametrize("kind", ["numbers", "folders"])
def test_batches_are_bounded_whatever_they_are_of(tmp_path: Path, monkeypatch, kind: str) -> None:
    """Records without any text, and a folder for each file behind another folder."""
    rng = random.Random(1)
    sizes: list[int] = []
    compact = Compactor._compact

    async def measure(self: Compactor, gathered: Gathered, moves: Moves) -> None:
        sizes.append(gathered.record_bytes)
        await compact(self, gathered, moves)

    async def main(vault: Vault) -> None:
        await vault.write_document(b"/a/first.json", line(1))
        for at in range(60):
            numbers = [rng.random() for _ in range(1000)]
            content = json.dumps(numbers) if kind == "numbers" else rng.randbytes(9000).hex()
            await vault.write_document(b"/z/%03d/one.json" % at, content.encode())
        await vault.compact(CompactOptions(level=1, batch_bytes=1 << 30, batch_bytes_max=200_000))
        assert not vault._catalogue.hot_ranges(BlockKind.RECORDS)

    monkeypatch.setattr(Compactor, "_compact", measure)
    in_vault(tmp_path / "v", main)
    assert len(sizes) > 3
    assert max(sizes) < 400_000
