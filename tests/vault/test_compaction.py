"""Compaction: what it does, what it leaves alone, and what is left when it does not end."""

import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from stowkenfs.errors import Corrupt
from stowkenfs.ids import ROOT_INODE, InodeNo
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.compaction import gather
from stowkenfs.vault.compaction.batch import CompactOptions
from stowkenfs.vault.compaction.compactor import CompactReport
from stowkenfs.vault.compaction.gather import Document
from stowkenfs.vault.compaction.gauge import Gauge, GaugeWriter
from stowkenfs.vault.compaction.merge import SMALL_BLOCKS_MAX
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from tests.running import run
from tests.vault.machine import copy_as_a_crash

CONFIG = VaultConfig(lock_wait_seconds=0, compression_level=1)
QUICK = CompactOptions(
    level=3,
    segment_block_bytes=6000,
    record_block_bytes=1500,
    template_block_bytes=800,
    chunk_bytes=6000,
    batch_bytes=16_000,
    batch_bytes_max=32_000,
    threads=1,
)
"""So that a few hundred files make a dozen batches and several groups."""

WORDS = re.findall(
    r"\w+",
    "segment frame vault record template codebook the a of to and is in that it was for on are "
    "with as at be this from or had by not but what all were when we there can an your which",
)
KINDS = (BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES)


def chat(seed: int) -> bytes:
    """A file of a few hundred bytes; each fourth goes on with the one before."""
    rng = random.Random(seed - seed % 4)
    messages = [
        {"role": role, "content": " ".join(rng.choices(WORDS, k=rng.randint(3, 40)))}
        for role in ("system", "user", "assistant", "user", "assistant")[: seed % 4 + 2]
    ]
    return json.dumps(
        {"id": f"chat-{seed}", "model": f"m{seed % 3}", "messages": messages}
    ).encode()


def files(start: int, end: int) -> dict[bytes, bytes]:
    found = {f"/app {n % 5}/{n // 50}/chat-{n}.json".encode(): chat(n) for n in range(start, end)}
    found[f"/logs/{start}.jsonl".encode()] = b"".join(chat(n) + b"\n" for n in range(start, end, 3))
    found[f"/{start}.bin".encode()] = random.Random(start).randbytes(3000)
    return found


FILES = files(0, 300)


async def write(vault: Vault, some: dict[bytes, bytes]) -> None:
    for path, content in some.items():
        await vault.write_document(path, content)


async def assert_holds(vault: Vault, expected: dict[bytes, bytes]) -> None:
    found = {}
    async for path, inode in vault.walk():
        if inode.mode & 0o170000 == 0o100000:
            found[path] = await vault.read_file(inode.ino)
    assert found == expected


def plain_blocks(vault: Vault) -> int:
    return sum(len(vault._catalogue.hot_ranges(kind)) for kind in KINDS)


def rows(vault: Vault, table: str) -> int:
    return int(vault._connection.all(f"SELECT count(*) FROM {table}")[0][0])


def in_vault(directory: Path, main: Callable[[Vault], Any]) -> Any:
    """The result of ``main`` with the vault there."""

    async def with_vault() -> Any:
        async with Vault.open(directory, CONFIG) as vault:
            return await main(vault)

    return run("trio", with_vault)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with FILES, not compacted."""
    directory = tmp_path_factory.mktemp("compaction") / "vault"

    async def main(vault: Vault) -> None:
        await write(vault, FILES)

    in_vault(directory, main)
    return directory


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "vault"))


def on_disk(directory: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in directory.rglob("*"))


def test_everything_moves_and_nothing_is_lost(directory: Path) -> None:
    before = on_disk(directory)

    async def main(vault: Vault) -> CompactReport:
        report = await vault.compact(QUICK)
        assert plain_blocks(vault) == 0
        assert sum(rows(vault, f"{kind}_key") for kind in ("record", "segment", "template")) == 0
        assert vault._catalogue.unfinished() is None
        await assert_holds(vault, FILES)
        assert (await vault.verify()).clean
        return report

    report = in_vault(directory, main)
    assert report.documents == len(FILES)
    assert report.content_bytes == sum(map(len, FILES.values()))
    assert report.stored_bytes_after < report.stored_bytes_before
    assert (report.problems, report.postponed) == ([], 0)
    assert on_disk(directory) < before / 1.5

    async def again(vault: Vault) -> None:
        await assert_holds(vault, FILES)
        assert (await vault.verify()).clean

    in_vault(directory, again)


def test_a_second_run_does_nothing(directory: Path) -> None:
    async def main(vault: Vault) -> None:
        await vault.compact(QUICK)
        packs = vault._catalogue.packs()
        report = await vault.compact(QUICK)
        assert report == CompactReport(
            stored_bytes_before=report.stored_bytes_before,
            stored_bytes_after=report.stored_bytes_before,
        )
        assert vault._catalogue.packs() == packs

    in_vault(directory, main)

    async def reopened(vault: Vault) -> None:
        packs = vault._catalogue.packs()
        report = await vault.compact(QUICK)
        assert (report.records, report.inodes_frozen, report.blocks_merged) == (0, 0, 0)
        assert vault._catalogue.packs() == packs

    in_vault(directory, reopened)


def test_what_was_compacted_is_found_when_it_comes_again(directory: Path) -> None:
    async def main(vault: Vault) -> None:
        await vault.compact(QUICK)
        stored = vault._catalogue.stored_bytes()
        copies = {b"/copy" + path: content for path, content in FILES.items()}
        await write(vault, copies)
        assert vault._catalogue.stored_bytes() == stored
        # A file that has most of its parts in common with others costs what is new.
        longer = FILES[b"/logs/0.jsonl"] + b'{"id": "new", "messages": []}\n'
        await vault.write_document(b"/longer.jsonl", longer)
        assert vault._catalogue.stored_bytes() - stored < 600
        await vault.compact(QUICK)
        await assert_holds(vault, FILES | copies | {b"/longer.jsonl": longer})

    in_vault(directory, main)


def test_what_changed_since_is_all_that_is_compacted(directory: Path) -> None:
    more = files(300, 330)

    async def main(vault: Vault) -> None:
        await vault.compact(QUICK)
        await write(vault, more)
        report = await vault.compact(QUICK)
        assert report.documents == len(more)
        assert report.content_bytes == sum(map(len, more.values()))
        await assert_holds(vault, FILES | more)

    in_vault(directory, main)


def dense_blocks(vault: Vault) -> int:
    places = (row for kind in KINDS for row in vault._catalogue.dense_from(kind, 0))
    return len({(row.pack, row.offset_bytes) for row in places})


def test_many_small_compactions_stay_small(tmp_path: Path) -> None:
    """Blocks, runs of keys and packs do not grow in number with the compactions."""
    steps = [files(start, start + 6) for start in range(0, 240, 6)]

    async def in_steps(vault: Vault) -> int:
        everything: dict[bytes, bytes] = {}
        for step in steps:
            await write(vault, step)
            everything |= step
            report = await vault.compact(QUICK)
            assert report.problems == []
        await assert_holds(vault, everything)
        assert (await vault.verify()).clean
        for kind in KINDS:
            assert len(vault._runs.plan(kind)) <= 8
        assert len(vault._catalogue.packs()) < 12
        blocks = dense_blocks(vault)
        # Found after any number of merges.
        stored = vault._catalogue.stored_bytes()
        await write(vault, {b"/again" + path: content for path, content in everything.items()})
        assert vault._catalogue.stored_bytes() == stored
        return blocks

    async def at_once(vault: Vault) -> int:
        for step in steps:
            await write(vault, step)
        await vault.compact(QUICK)
        return dense_blocks(vault)

    many = in_vault(tmp_path / "steps", in_steps)
    few = in_vault(tmp_path / "once", at_once)
    assert many < 2 * few + 3 * SMALL_BLOCKS_MAX
    assert on_disk(tmp_path / "steps") < 2 * on_disk(tmp_path / "once")


# Telling


@pytest.mark.parametrize("workers", [0, 1])
def test_progress_only_grows_and_ends_at_the_total(directory: Path, workers: int) -> None:
    told: list[tuple[int, int]] = []

    async def main() -> CompactReport:
        config = VaultConfig(lock_wait_seconds=0, workers=workers)
        async with Vault.open(directory, config) as vault:
            return await vault.compact(QUICK, lambda done, total: told.append((done, total)))

    report = run("trio", main)
    total = sum(map(len, FILES.values()))
    assert report.moved_bytes == total
    assert {of for _, of in told} == {total}
    done = [done for done, _ in told]
    assert done == sorted(set(done))
    assert done[-1] == total
    assert done[0] < total / 5
    assert len(done) > 10


def test_a_worker_moves_the_gauge() -> None:
    with Gauge() as gauge:
        script = (
            "import sys; from stowkenfs.vault.compaction.gauge import GaugeWriter;"
            "gauge = GaugeWriter(sys.argv[1]); gauge.add(5.5); gauge.add(700); gauge.close()"
        )
        assert gauge.read() == 0
        subprocess.run([sys.executable, "-c", script, gauge.name], check=True)
        assert gauge.read() == 705


def test_what_is_no_gauge_is_not_written(tmp_path: Path) -> None:
    """The number of a descriptor may have become that of another file."""
    file = tmp_path / "file"
    file.write_bytes(b"precious")
    with file.open("rb") as opened:
        gauge = GaugeWriter(f"/proc/{os.getpid()}/fd/{opened.fileno()}")
        gauge.add(5)
        gauge.close()
    assert file.read_bytes() == b"precious"


def test_a_file_of_many_parts_counts_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gather, "EXTENTS_AT_ONCE", 1)

    async def main(vault: Vault) -> None:
        parts = {}
        for name in (b"/still", b"/changing"):
            ino = await vault.write_document(name, b"")
            for n in range(5):
                await append(vault, ino, chat(1000 + n) + b"\n" + name)
            assert len(vault._catalogue.extents(ino, 0, 1 << 62)) == 5
            parts[name] = ino
        with monkeypatch.context() as patch:
            patch.setattr(vault.sealer, "is_sealing", lambda ino: ino == parts[b"/changing"])
            report = await vault.compact(QUICK)
        assert (report.documents, report.postponed) == (len(FILES) + 1, 1)
        report = await vault.compact(QUICK)
        assert (report.documents, report.postponed) == (1, 0)

    in_vault(directory, main)


async def append(vault: Vault, ino: InodeNo, content: bytes) -> None:
    """``content`` at the end of a file, sealed by itself."""
    vault.files.acquire(ino, writing=True)
    vault.files.write(ino, vault.files.inode(ino).size, content)
    vault.files.release(ino, writing=True)
    await vault.sealer.seal_due(everything=True)


def test_names_are_told_in_one_line() -> None:
    document = Document(InodeNo(7), (b"a\nb", b"\xff"), "ä\x1b[31m".encode(), [])
    assert document.path == "/a\\nb/\\xff/ä\\x1b[31m"


def test_what_is_not_sealed_yet_is_compacted_too(tmp_path: Path) -> None:
    async def main() -> None:
        config = VaultConfig(lock_wait_seconds=0, seal_after_seconds=3600)
        async with Vault.open(tmp_path / "v", config) as vault:
            made = vault.tree.create(ROOT_INODE, b"a.json", 0o100644, 0, 0)
            vault.files.acquire(made.ino, writing=True)
            vault.files.write(made.ino, 0, chat(1))
            vault.files.release(made.ino, writing=True)
            report = await vault.compact(QUICK)
            assert (report.documents, report.content_bytes) == (1, len(chat(1)))
            await assert_holds(vault, {b"/a.json": chat(1)})

    run("trio", main)


# Interrupted


@pytest.mark.parametrize("share", [0.04, 0.3, 0.43, 0.71, 0.99])
def test_a_cancelled_compaction_is_gone_on_with(directory: Path, share: float) -> None:
    async def whole(vault: Vault) -> CompactReport:
        return await vault.compact(QUICK)

    async def main(vault: Vault, expected: CompactReport) -> None:
        def progress(done: int, total: int) -> None:
            if done >= share * total:
                scope.cancel()

        with anyio.CancelScope() as scope:
            await vault.compact(QUICK, progress)
        await assert_holds(vault, FILES)
        report = await vault.compact(QUICK)
        assert report.problems == []
        if share > 0.25:  # else it was cancelled in the first batch
            assert report.records < expected.records
        assert report.stored_bytes_after < 1.2 * expected.stored_bytes_after
        await assert_holds(vault, FILES)
        assert plain_blocks(vault) == 0
        assert (await vault.verify()).clean
        stored = vault._catalogue.stored_bytes()
        await write(vault, {b"/copy" + path: content for path, content in FILES.items()})
        assert vault._catalogue.stored_bytes() == stored

    other = directory.parent / "other"
    shutil.copytree(directory, other)
    expected = in_vault(other, whole)
    in_vault(directory, lambda vault: main(vault, expected))


def test_a_killed_compaction_is_gone_on_with(directory: Path) -> None:
    """Copies taken at every few milliseconds are what kills at these moments would leave."""
    copies: list[Path] = []

    async def main(vault: Vault) -> None:
        async with anyio.create_task_group() as tasks:

            async def copy() -> None:
                while True:
                    target = directory.parent / f"killed {len(copies)}"
                    copy_as_a_crash(directory, target)
                    copies.append(target)
                    await anyio.sleep(0.03)

            tasks.start_soon(copy)
            await vault.compact(QUICK)
            tasks.cancel_scope.cancel()

    in_vault(directory, main)

    async def check(vault: Vault) -> None:
        await assert_holds(vault, FILES)
        report = await vault.compact(QUICK)
        assert report.problems == []
        assert plain_blocks(vault) == 0
        await assert_holds(vault, FILES)
        assert (await vault.verify()).clean

    assert len(copies) > 1
    for target in copies:
        in_vault(target, check)
        assert on_disk(target) < 1.3 * on_disk(directory) + 8192


# Beside others


def test_readers_and_writers_go_on_meanwhile(directory: Path) -> None:
    new = files(1000, 1040)
    changed = {path: content + b" changed" for path, content in list(FILES.items())[::7]}

    async def main(vault: Vault) -> None:
        done = False

        async def read() -> None:
            rng = random.Random(1)
            paths = [path for path in FILES if path not in changed]
            while not done:
                path = rng.choice(paths)
                inode = vault.tree.resolve(path)
                assert await vault.read_file(inode.ino) == FILES[path]
                await anyio.lowlevel.checkpoint()  # what is cached is read at once

        async def change() -> None:
            for path, content in (new | changed).items():
                await vault.write_document(path, content)
                await anyio.lowlevel.checkpoint()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            tasks.start_soon(read)
            tasks.start_soon(change)
            await vault.compact(QUICK)
            done = True
        await assert_holds(vault, FILES | new | changed)
        assert (await vault.verify()).clean
        await vault.compact(QUICK)
        assert plain_blocks(vault) == 0
        await assert_holds(vault, FILES | new | changed)

    in_vault(directory, main)


# Damage


def _flip(directory: Path, kind: BlockKind) -> None:
    """A bit in the middle of the first block of a kind."""

    async def place(vault: Vault) -> tuple[int, int]:
        found = vault._catalogue.locate(kind, 0)
        assert found is not None
        return int(found.pack), found.offset_bytes + found.stored_bytes // 2

    pack, offset = in_vault(directory, place)
    path = directory / "packs" / f"{pack:08d}.pack"
    content = bytearray(path.read_bytes())
    content[offset] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named_and_the_rest_is_compacted(directory: Path, kind: BlockKind) -> None:
    intact = directory.parent / "intact"
    shutil.copytree(directory / "packs", intact)
    _flip(directory, kind)

    async def readable(vault: Vault) -> dict[bytes, bytes]:
        found = {}
        for path in FILES:
            with suppress(Corrupt):
                found[path] = await vault.read_file(vault.tree.resolve(path).ino)
        return found

    async def main(vault: Vault) -> CompactReport:
        before = await readable(vault)
        assert len(before) < len(FILES)
        report = await vault.compact(QUICK)
        assert report.problems
        named = [problem.split(": ")[0] for problem in report.problems]
        assert len(set(named)) == len(named)
        assert (await readable(vault)).items() >= before.items()
        return report

    in_vault(directory, main)
    # The damaged block was not thrown away: brought back, all is there.
    for path in intact.iterdir():
        shutil.copyfile(path, directory / "packs" / path.name)

    async def mended(vault: Vault) -> None:
        await assert_holds(vault, FILES)
        assert (await vault.compact(QUICK)).problems == []
        assert plain_blocks(vault) == 0
        await assert_holds(vault, FILES)

    in_vault(directory, mended)
