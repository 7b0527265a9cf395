"""Collecting: what was deleted gives its room back, all else stays as it is."""

import json
import random
import stat
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from stowkenfs.documents.split import Splitter
from stowkenfs.frames.codec import FrameKind
from stowkenfs.ids import ROOT_INODE, InodeNo, RecordNo, SegmentNo
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.about import about
from stowkenfs.vault.assembly import Tally
from stowkenfs.vault.collection import rewriting, shelf
from stowkenfs.vault.collection.report import nothing_of_each
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.dedup import TABLES
from stowkenfs.vault.ingest import Piece
from stowkenfs.vault.packs import PackWriter, Tier
from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.sealer import extents_of
from stowkenfs.vault.vault import Vault
from tests.vault import near
from tests.vault.rebuilding import CONFIG, chat, check, rewrite, told_by_packs, told_by_vault

FILES = 60

BLOCKS = CompactOptions(
    level=1,
    segment_block_bytes=2500,
    record_block_bytes=1500,
    template_block_bytes=200,
    chunk_bytes=4000,
    batch_bytes=30_000,
    batch_bytes_max=60_000,
    threads=1,
)
"""So that each block has things of several files, and there are several."""


@pytest.fixture(autouse=True)
def rows_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks here are so small that their rows would keep most of them from going."""
    monkeypatch.setattr(shelf, "ROW_BYTES", 0)
    monkeypatch.setattr(rewriting, "ROW_BYTES", 0)


def path_of(number: int) -> bytes:
    return b"/d%d/%03d.json" % (number % 2, number)


def lines(number: int) -> bytes:
    return b"".join(chat(number * 7 + at).replace(b"\n", b" ") + b"\n" for at in range(6))


async def fill(vault: Vault, files: int = FILES) -> None:
    """Files that share their blocks, as those that are sealed together."""
    for number in range(files):
        parent, _, name = path_of(number).rpartition(b"/")
        directory = vault.make_directories(parent)
        inode = vault.tree.lookup(directory, name) or vault.tree.create(
            directory, name, stat.S_IFREG | 0o644, 0, 0
        )
        vault.files.acquire(inode.ino, writing=True)
        vault.files.write(inode.ino, 0, lines(number))
        vault.files.release(inode.ino, writing=True)
    await vault.sealer.seal_due(everything=True)


async def store(vault: Vault, content: bytes) -> None:
    """Store what no file ever refers to."""
    judged = about(content)
    units = Splitter(judged.shape).feed(content, True)
    pieces = [Piece(unit, judged.vocabulary, judged.ids_vocabulary) for unit in units]
    with vault.ingest.passages.enter():
        await vault.ingest.store(pieces)


async def delete(vault: Vault, numbers: range) -> None:
    for number in numbers:
        parent, _, name = path_of(number).rpartition(b"/")
        vault.tree.unlink(vault.tree.resolve(parent).ino, name)


async def compact(vault: Vault) -> None:
    await vault.compact(BLOCKS)


async def assert_holds(vault: Vault, numbers: range) -> None:
    for number in numbers:
        assert await vault.read_file(vault.tree.resolve(path_of(number)).ino) == lines(number)


async def assert_sound(vault: Vault) -> None:
    """Everything can be read, and what is counted is what there is."""
    report = await vault.verify()
    assert report.clean, report
    counted = {
        kind: (told["frames"], told["bytes"])
        for kind, told in (await vault.stats()).frames.items()
        if told["frames"]
    }
    found: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for first, end in vault._catalogue.hot_ranges(BlockKind.SEGMENTS):
        for number in range(first, end):
            kind, size = vault.reader.segment_storage(SegmentNo(number))
            found[kind] += 1
            sizes[kind] += size
    assert counted == {kind: (count, sizes[kind]) for kind, count in found.items()}
    content = vault._connection.all(
        "SELECT first, count, content FROM block WHERE kind = ?", (BlockKind.RECORDS,)
    )
    for first, count, size in content:
        assert size == sum(vault.reader.record_length(RecordNo(first + at)) for at in range(count))


async def assert_nothing_to_do(vault: Vault) -> None:
    again = await vault.gc()
    assert (again.freed, again.blocks_rewritten, again.blocks_dropped) == (nothing_of_each(), 0, 0)
    assert again.candidates == nothing_of_each()
    assert again.stored_bytes_before == again.stored_bytes_after


def disk_bytes(directory: Path) -> int:
    return sum(path.stat().st_size for path in (directory / "packs").iterdir())


def in_vault(directory: Path, main: Callable[[Vault], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            await main(vault)

    anyio.run(run)


@pytest.mark.parametrize("is_compacted", [False, True])
@pytest.mark.parametrize("step", [1, 2, 3])
def test_what_was_deleted_goes_and_the_rest_stays(tmp_path, is_compacted, step):
    """``step`` 1: the second half; else every second or third file, out of all blocks."""
    gone = range(FILES // 2, FILES) if step == 1 else range(0, FILES, step)
    left = [number for number in range(FILES) if number not in gone]

    async def collect(vault: Vault) -> None:
        await delete(vault, gone)
        before = disk_bytes(tmp_path / "v")
        looked = await vault.gc(dry_run=True)
        report = await vault.gc()
        assert report.problems == ()
        assert report.candidates == looked.candidates
        assert report.freed["records"].count == report.candidates["records"].count > 0
        assert report.freed["segments"].count == report.candidates["segments"].count > 0
        freed = sum(one.bytes for one in report.freed.values())
        assert report.stored_bytes_before - report.stored_bytes_after == freed > 0
        assert disk_bytes(tmp_path / "v") < before - freed / 2
        assert report.packs_removed
        for number in left:
            await assert_holds(vault, range(number, number + 1))
        await assert_sound(vault)
        await assert_nothing_to_do(vault)

    async def go_on(vault: Vault) -> None:
        await assert_sound(vault)
        await fill(vault)
        await assert_holds(vault, range(FILES))

    steps = [fill, compact, collect] if is_compacted else [fill, collect]
    check(tmp_path / "v", *steps, go_on, compact, collect, compact)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_remains_is_still_found_and_what_went_is_not(tmp_path, is_compacted):
    async def main(vault: Vault) -> None:
        await fill(vault)
        if is_compacted:
            await vault.compact(BLOCKS)
        await delete(vault, range(0, FILES, 2))
        assert (await vault.gc()).blocks_rewritten
        numbers = vault._catalogue.next_number(BlockKind.RECORDS)
        for number in range(1, FILES, 2):
            again = Tally()
            await vault.write_document(b"/again", lines(number), tally=again)
            assert again.stored_bytes == 0, number
        assert vault._catalogue.next_number(BlockKind.RECORDS) == numbers
        new = Tally()
        await vault.write_document(b"/again", lines(0), tally=new)
        assert new.segments
        assert await vault.read_file(vault.tree.resolve(b"/again").ino) == lines(0)
        await assert_sound(vault)

    in_vault(tmp_path / "v", main)


def test_runs_of_hot_keys_forget_what_goes(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault)
        keys = vault._key_collector(vault.reader)
        writer = PackWriter(vault._catalogue, vault._store, Tier.KEYS)
        below = {kind: vault._catalogue.next_number(kind) for kind in TABLES}
        await keys.flush_hot(writer, 1, below)
        assert not vault._connection.one("SELECT 1 FROM record_key")
        await delete(vault, range(0, FILES, 2))
        await vault.gc()
        for number in range(1, FILES, 2):
            again = Tally()
            await vault.write_document(b"/again", lines(number), tally=again)
            assert again.stored_bytes == 0
        new = Tally()
        await vault.write_document(path_of(0), lines(0), tally=new)
        assert new.segments
        await assert_holds(vault, range(1))
        await assert_sound(vault)

    in_vault(tmp_path / "v", main)


def test_looking_changes_nothing(tmp_path):
    def content() -> dict[str, bytes]:
        return {
            str(path.relative_to(tmp_path)): path.read_bytes()
            for path in sorted((tmp_path / "v").rglob("*"))
            if path.is_file() and path.name not in ("lock", "index.db-wal", "index.db-shm")
        }

    async def main(vault: Vault) -> None:
        await fill(vault)
        await vault.compact(BLOCKS)
        await fill(vault, FILES + 9)
        await delete(vault, range(0, FILES, 2))
        await vault.write_namespace()
        before = content()
        rows = vault._connection.all("SELECT * FROM block")
        report = await vault.gc(dry_run=True)
        assert report.candidates["records"].count
        assert report.estimated_bytes
        assert report.dry_run
        assert report.freed == nothing_of_each()
        assert content() == before
        assert vault._connection.all("SELECT * FROM block") == rows

    in_vault(tmp_path / "v", main)


def test_a_removed_file_that_is_open_stays(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault)
        await vault.compact(BLOCKS)
        opened = {number: vault.tree.resolve(path_of(number)).ino for number in (3, 4, 50)}
        for ino in opened.values():
            vault.files.acquire(ino, writing=False)
        await delete(vault, range(FILES))
        await vault.gc()
        for number, ino in opened.items():
            assert await vault.read_file(ino) == lines(number)
        await assert_sound(vault)
        for ino in opened.values():
            vault.files.release(ino, writing=False)
        await vault.gc()
        assert vault._catalogue.stored_bytes() < 400  # the checkpoint

    in_vault(tmp_path / "v", main)


def test_what_is_overwritten_goes_too(tmp_path):
    async def overwrite(vault: Vault) -> None:
        for number in range(0, FILES, 2):
            rewrite(vault, path_of(number), 500, lines(number + 900)[500:2000])
        await vault.sealer.seal_due(everything=True)
        report = await vault.gc()
        assert report.freed["records"].count > 0
        await assert_sound(vault)
        await assert_nothing_to_do(vault)

    check(tmp_path / "v", fill, compact, overwrite)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_what_was_found_before_the_mark_stays(tmp_path, is_compacted):
    """A writer has looked up what nothing refers to, and makes it a file in the end."""

    async def main(vault: Vault) -> None:
        await fill(vault)
        if is_compacted:
            await vault.compact(BLOCKS)
        await delete(vault, range(FILES))
        content = lines(5)
        judged = about(content)
        units = Splitter(judged.shape).feed(content, True)
        pieces = [Piece(unit, judged.vocabulary, judged.ids_vocabulary) for unit in units]
        tally = Tally()
        async with anyio.create_task_group() as tasks:
            with vault.ingest.passages.enter():
                extents = extents_of(0, await vault.ingest.store(pieces, tally))
                tasks.start_soon(vault.gc)
                await anyio.wait_all_tasks_blocked()
                inode = vault.tree.create(ROOT_INODE, b"late", stat.S_IFREG | 0o644, 0, 0)
                vault.place(inode.ino, len(content), extents)
        assert not tally.segments
        assert await vault.read_file(inode.ino) == content
        await assert_sound(vault)
        await vault.gc()
        assert await vault.read_file(inode.ino) == content

    in_vault(tmp_path / "v", main)


def test_who_planned_a_read_before_can_carry_it_out(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault)
        await vault.compact(BLOCKS)
        ino = vault.tree.resolve(path_of(7)).ino
        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                with vault.readers.enter():
                    extents = vault.extents_of_file(ino)
                    await delete(vault, range(FILES))
                    tasks.start_soon(vault.gc)
                    await anyio.sleep(0.5)
                    vault.reader.forget()
                    content = b"".join(vault.reader.read_extent(e, e.start, e.end) for e in extents)
                    assert content == lines(7)

    in_vault(tmp_path / "v", main)


def dense_bases(vault: Vault, kind: BlockKind) -> set[int]:
    return vault._catalogue.bases(kind)


def test_a_base_stays_until_its_dependants_are_gone(tmp_path):
    """And is told in the report."""

    async def collect(vault: Vault) -> None:
        bases = dense_bases(vault, BlockKind.RECORDS)
        assert bases
        # The first files are in the bases.
        await delete(vault, range(FILES - 6))
        report = await vault.gc()
        assert report.pinned_bytes
        assert dense_bases(vault, BlockKind.RECORDS) & bases
        await assert_sound(vault)
        await assert_holds(vault, range(FILES - 6, FILES))

    async def the_rest(vault: Vault) -> None:
        await delete(vault, range(FILES - 6, FILES))
        await vault.gc()
        for kind in (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.CODEBOOKS):
            assert not vault._connection.one("SELECT 1 FROM block WHERE kind = ?", (kind,))

    check(tmp_path / "v", fill, compact, collect, the_rest)


def test_a_base_that_only_dead_blocks_name_is_not_written_anew(tmp_path):
    """Not until those are in no pack any more: packs alone would not unpack them."""

    async def collect(vault: Vault) -> None:
        base = min(dense_bases(vault, BlockKind.RECORDS))
        block = vault._catalogue.locate(BlockKind.RECORDS, base)
        assert block is not None
        records = {
            number: vault.extents_of_file(vault.tree.resolve(path_of(number)).ino)[0].record
            for number in range(FILES)
        }
        in_base = [n for n, first in records.items() if 0 <= first - block.first < block.count]
        kept = in_base[0]
        assert len(in_base) > 1
        await delete(vault, range(kept))
        await delete(vault, range(kept + 1, FILES))
        report = await vault.gc()
        assert report.pinned_bytes
        assert base not in dense_bases(vault, BlockKind.RECORDS)
        left = vault._catalogue.locate(BlockKind.RECORDS, records[kept])
        assert left is not None
        assert left.stored_bytes == block.stored_bytes  # it lies there as it was ...
        assert left.count < block.count  # ... and the index lists of it what is in use
        await assert_sound(vault)
        await store(vault, lines(999))
        report = await vault.gc()  # the packs of the dead ones went with the run before
        left = vault._catalogue.locate(BlockKind.RECORDS, records[kept])
        assert left is not None
        assert left.stored_bytes < block.stored_bytes
        await assert_sound(vault)

    check(tmp_path / "v", fill, compact, collect)


def test_dense_blocks_are_written_anew_by_workers(tmp_path):
    async def main() -> None:
        config = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0, workers=1)
        async with Vault.open(tmp_path / "v", config) as vault:
            await fill(vault)
            await vault.compact(BLOCKS)
            await delete(vault, range(0, FILES, 2))
            report = await vault.gc()
            assert report.blocks_rewritten
            assert report.problems == ()
            for number in range(1, FILES, 2):
                await assert_holds(vault, range(number, number + 1))
            await assert_sound(vault)

    anyio.run(main)


def damage(vault: Vault, kind: BlockKind, number: int) -> None:
    place = vault._catalogue.locate(kind, number)
    assert vault.directory is not None
    assert place is not None
    pack = vault.directory / "packs" / f"{place.pack:08d}.pack"
    content = bytearray(pack.read_bytes())
    content[place.offset_bytes + place.stored_bytes // 2] ^= 1
    pack.write_bytes(content)
    vault.reader.forget()


def rows_of(vault: Vault, kind: BlockKind) -> list[tuple[int, int]]:
    return vault._connection.all(
        "SELECT first, first + count FROM block WHERE kind = ? ORDER BY first", (kind,)
    )


def test_what_damaged_records_may_refer_to_stays_and_later_things_go(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault, FILES)
        ends = {
            kind: vault._catalogue.next_number(kind)
            for kind in (BlockKind.SEGMENTS, BlockKind.TEMPLATES)
        }
        before = {kind: rows_of(vault, kind) for kind in ends}
        for number in range(FILES, 2 * FILES):
            await vault.write_document(path_of(number), lines(number))
        ino = vault.tree.resolve(path_of(FILES - 1)).ino
        first = vault.extents_of_file(ino)[0].record
        damage(vault, BlockKind.RECORDS, first)
        await delete(vault, range(FILES - 1))
        await delete(vault, range(FILES + 1, 2 * FILES))
        report = await vault.gc()
        assert len(report.problems) == 1
        assert "stays" in report.problems[0]
        for kind in ends:
            left = rows_of(vault, kind)
            assert left[: len(before[kind])] == before[kind]
        assert sum(end - first for first, end in rows_of(vault, BlockKind.SEGMENTS)) < (
            vault._catalogue.next_number(BlockKind.SEGMENTS)
        )
        await assert_holds(vault, range(FILES, FILES + 1))
        report = await vault.gc()
        assert report.freed == nothing_of_each()

    in_vault(tmp_path / "v", main)


def test_with_a_damaged_group_of_inodes_what_was_compacted_stays(tmp_path):
    async def main(vault: Vault) -> None:
        await fill(vault)
        await vault.compact(BLOCKS)
        ((pack, offset, stored),) = vault._connection.all(
            "SELECT pack, offset, stored FROM frozen_inode"
        )
        for number in range(900, 940):
            await store(vault, lines(number))
        rows = rows_of(vault, BlockKind.RECORDS)
        assert vault.directory is not None
        path = vault.directory / "packs" / f"{pack:08d}.pack"
        content = bytearray(path.read_bytes())
        content[offset + stored - 3] ^= 1
        path.write_bytes(content)
        vault._frozen.refresh()
        vault._frozen._inode_groups.clear()
        report = await vault.gc()
        assert report.freed["records"].count > 0
        assert report.problems
        assert rows_of(vault, BlockKind.RECORDS) == rows[:-40]

    in_vault(tmp_path / "v", main)


def test_sparse_blocks_are_compacted_and_rewritten_again(tmp_path):
    async def thin(vault: Vault) -> None:
        for some in (range(0, FILES, 2), range(1, FILES, 4)):
            await delete(vault, some)
            await vault.gc()
        sparse = vault._connection.all("SELECT kind FROM block WHERE layout = ?", (Layout.SPARSE,))
        assert {BlockKind.RECORDS, BlockKind.SEGMENTS} <= {kind for (kind,) in sparse}
        await assert_sound(vault)

    async def dense(vault: Vault) -> None:
        report = await vault.compact(CompactOptions(level=1))
        assert report.problems == []
        assert not vault._connection.one("SELECT 1 FROM block WHERE kind < 4 AND layout != 1")
        await assert_sound(vault)
        await assert_nothing_to_do(vault)

    check(tmp_path / "v", fill, thin, dense)


def test_segments_and_files_that_share_them(tmp_path):
    """A random history, told by the second reader after each collection."""
    chance = random.Random(4)

    async def some(vault: Vault) -> None:
        for _ in range(30):
            number = chance.randrange(FILES)
            parent = vault.make_directories(path_of(number).rpartition(b"/")[0])
            name = path_of(number).rpartition(b"/")[2]
            if vault.tree.lookup(parent, name) is None:
                await vault.write_document(path_of(number), lines(number % 20))
            else:
                vault.tree.unlink(parent, name)
        await vault.gc()

    expected = check(tmp_path / "v", fill, some, compact, some, some, compact, some)
    assert told_by_packs(tmp_path / "v") == expected


def test_a_collection_that_is_cancelled_goes_on(tmp_path):
    async def cancel(vault: Vault) -> None:
        await delete(vault, range(0, FILES, 2))
        for wait in range(12):
            with anyio.move_on_after(0.01 * wait):
                await vault.gc()
        await assert_sound(vault)
        await assert_holds(vault, range(1, FILES, 2)[:1])
        await vault.gc()
        await assert_sound(vault)
        await assert_nothing_to_do(vault)

    check(tmp_path / "v", fill, cancel, fill, compact, cancel)


def prose(seed: int) -> list[str]:
    chance = random.Random(seed)
    return ["".join(chance.choices("abcdefghijklmnop", k=7)) for _ in range(120)]


def test_what_others_are_told_as_differences_from_stays(tmp_path):
    async def delete_canonical(vault: Vault) -> None:
        await near.store(vault, "canon", near.CANON)
        await near.store(vault, "variant", near.VARIANT)
        assert max(near.kinds(vault)) is FrameKind.DELTA
        vault.tree.unlink(ROOT_INODE, b"canon.json")
        report = await vault.gc()
        assert report.freed["records"].count >= 1
        assert max(near.kinds(vault)) is FrameKind.DELTA
        assert await near.tokens_of(vault, "variant") == near.VARIANT
        await assert_sound(vault)

    async def delete_variant(vault: Vault) -> None:
        assert await near.tokens_of(vault, "variant") == near.VARIANT
        vault.tree.unlink(ROOT_INODE, b"variant.json")
        await vault.gc()
        assert near.kinds(vault) == []
        await near.store(vault, "again", near.VARIANT)
        assert FrameKind.DELTA not in near.kinds(vault)
        assert await near.tokens_of(vault, "again") == near.VARIANT

    near.in_vault(tmp_path / "v", delete_canonical, delete_variant)


def test_what_is_not_used_of_the_registry_goes(tmp_path):
    async def main(vault: Vault) -> None:
        common = " ".join(prose(2))
        for number in range(30):
            text = f"{' '.join(prose(100 + number)[:20])} {common} {number}"
            await vault.write_document(b"/%d" % number, json.dumps({"text": text}).encode())
        promoted = await vault.train_substrings()
        assert promoted
        looked = await vault.gc(dry_run=True)
        assert looked.candidates["substrings"].count == len(promoted)
        report = await vault.gc()
        assert report.freed["substrings"].count == len(promoted)
        assert vault.list_substrings() == []
        await assert_sound(vault)

    in_vault(tmp_path / "v", main)


def test_progress_grows_to_its_total(tmp_path):
    told: list[tuple[int, int]] = []

    async def main(vault: Vault) -> None:
        await fill(vault)
        await delete(vault, range(0, FILES, 2))
        await vault.gc(progress=lambda done, total: told.append((done, total)))
        assert told == sorted(told)
        assert told[-1][0] == told[-1][1] > 0
        assert await told_by_vault(vault)
        assert vault.tree.resolve(path_of(1)).ino > InodeNo(1)

    in_vault(tmp_path / "v", main)


def test_what_dead_records_of_a_base_refer_to_goes(tmp_path):
    """They lie in it still, and nothing finds them: no key, no verify, no new index."""
    left = range(FILES - 6, FILES)

    async def collect(vault: Vault) -> None:
        before = vault._catalogue.places(BlockKind.RECORDS)
        bases = dense_bases(vault, BlockKind.RECORDS)
        in_base = {
            (place.pack, place.offset_bytes)
            for place in before
            if any(0 <= n - place.first < place.count for n in bases)
        }
        assert in_base
        await delete(vault, range(FILES - 6))
        report = await vault.gc()
        assert report.pinned_bytes
        # But for the first and last of a base, which show what is in it.
        kept = sum(place.count for place in vault._catalogue.places(BlockKind.RECORDS))
        assert kept <= 6 * len(left) + 2 * len(in_base)
        assert report.freed["segments"].count == report.candidates["segments"].count > 0
        await assert_sound(vault)
        await assert_nothing_to_do(vault)

    async def again(vault: Vault) -> None:
        await assert_holds(vault, left)
        await fill(vault)
        await assert_holds(vault, range(FILES))
        await assert_sound(vault)
        assert (await vault.reindex()).clean

    check(tmp_path / "v", fill, compact, collect)
    for path in (tmp_path / "v").glob("index.db*"):
        path.unlink()
    assert anyio.run(rebuild_index, tmp_path / "v").clean
    check(tmp_path / "v", again, compact, collect, again)


@pytest.mark.parametrize("is_compacted", [False, True])
def test_blocks_are_not_written_anew_in_packs_that_stay(tmp_path, is_compacted):
    """They would lie there twice: deleting never makes a vault larger."""
    directory = tmp_path / "v"

    async def main(vault: Vault) -> None:
        await vault.write_document(b"/ballast", random.Random(3).randbytes(1 << 20))
        await fill(vault)
        if is_compacted:
            await vault.compact(BLOCKS)
        await delete(vault, range(0, FILES, 2))
        before = disk_bytes(directory)
        report = await vault.gc()
        assert report.blocks_rewritten == 0
        assert report.waiting_bytes
        # What was thawed of a compacted vault is frozen again, and gives back rows.
        assert disk_bytes(directory) <= before + is_compacted * 100 * FILES
        for number in range(1, FILES, 2):
            await assert_holds(vault, range(number, number + 1))
        await assert_sound(vault)
        await assert_nothing_to_do(vault)
        vault.tree.unlink(ROOT_INODE, b"ballast")
        report = await vault.gc()
        assert report.blocks_rewritten
        assert disk_bytes(directory) < before / 10
        await assert_sound(vault)

    in_vault(directory, main)
