"""Jobs on substrings: what they keep, what they leave, and what a crash leaves of them."""

import json
import random
from collections.abc import Callable, Collection
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault.packs import PackWriter
from stowkenfs.vault.registry_choices import Choices
from stowkenfs.vault.training import rewriting, sample
from tests.vault.machine import copy_as_a_crash
from tests.vault.test_seed_contract import (
    check_all,
    conversation,
    drift_system,
    fill,
    frames_0x05,
    frames_bytes,
    registry_bytes,
    system_of,
)

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "lk")]


def text(seed: int, words: int = 150) -> str:
    """Prose that many share, with a few words of their own."""
    shared = random.Random(1).choices(WORDS, k=words)
    rng = random.Random(seed)
    for _ in range(4):
        shared[rng.randrange(words)] = f"{rng.randrange(10**6)}"
    return " ".join(shared)


def log_of(count: int, since: int = 0) -> bytes:
    lines = [
        json.dumps({"messages": [{"role": "system", "content": text(since + i)}]}).encode()
        for i in range(count)
    ]
    return b"\n".join(lines) + b"\n"


def entries_of(vault: Vault) -> list[tuple[int, bytes]]:
    rows = vault._catalogue.places(BlockKind.SUBSTRINGS)
    return [
        (row.first + at, vault.reader.registry_entry(BlockKind.SUBSTRINGS, row.first + at))
        for row in rows
        for at in range(row.count)
    ]


def test_the_same_vault_gives_the_same_registry() -> None:
    """Byte for byte, whatever the loop and whoever encodes."""

    async def main(workers: int) -> list[tuple[int, bytes]]:
        async with Vault.memory(VaultConfig(workers=workers)) as vault:
            await vault.write_document(b"/log.jsonl", log_of(60))
            await fill(vault, 20, 100)
            trained = await vault.train_dictionary(80, activate=True)
            assert await vault.train_substrings(70, 5) or trained.kept
            dictionaries = [
                (number, vault.reader.registry_entry(BlockKind.DICTIONARIES, number))
                for number in vault._registry.entries(BlockKind.DICTIONARIES)
            ]
            return entries_of(vault) + dictionaries

    first = anyio.run(main, 0)
    assert first
    assert anyio.run(main, 0) == first
    assert anyio.run(main, 2) == first
    assert anyio.run(main, 0, backend="trio") == first


def test_the_same_vault_and_clock_give_the_same_packs(tmp_path: Path) -> None:
    async def main(directory: Path) -> dict[int, bytes]:
        async with Vault.open(directory, clock=lambda: 1_700_000_000 * 10**9) as vault:
            await fill(vault, 30, 250)
            assert await vault.train_substrings(30, 5)
            await vault.compact_substrings()
            await vault.gc_substrings()
            return {pack: vault._store.read(pack, 0, size) for pack, size in vault._store.packs()}

    assert anyio.run(main, tmp_path / "a") == anyio.run(main, tmp_path / "b")


def test_training_says_why_nothing_was_kept() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            rng = random.Random(3)
            for i in range(30):
                ids = [rng.randrange(100_000) for _ in range(100)]
                await vault.store(conversation(f"c{i}", ids, [1]))
            report = await vault.substring_training(30, 5)
            assert not report.kept
            assert report.promoted == ()
            assert "nothing recurs" in report.reason
            assert report.sampled == 30
            assert await registry_bytes(vault) == 0

    anyio.run(main)


def test_what_is_compacted_does_not_become_smaller() -> None:
    """So nothing that is found in it is kept: it would only make the vault larger."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250)
            await vault.compact()
            report = await vault.substring_training(30, 5)
            assert (report.sampled, report.sampled_bytes) == (30, 0)
            assert report.candidates > 0
            assert not report.kept
            assert "none of the samples is a frame" in report.reason
            assert vault.list_substrings() == []

    anyio.run(main)


def test_entries_are_judged_with_what_frames_may_refer_to_already() -> None:
    """With a dictionary in use, only runs that it does not make as small are worth an entry."""

    async def main() -> None:
        totals = []
        for with_dictionary in (False, True):
            async with Vault.memory() as vault:
                await vault.write_document(b"/log.jsonl", log_of(150))
                if with_dictionary:
                    trained = await vault.train_dictionary(150, activate=True)
                    assert trained.activated, trained
                report = await vault.substring_training(150, 5)
                saved = await vault.compact_substrings()
                stats = await vault.stats()
                totals.append((report.sampled_bytes, stats.frames, report.registry_bytes))
                if report.kept:
                    assert report.saved_bytes > report.registry_bytes
                assert saved.kept
                assert await vault.read_file(vault.tree.resolve(b"/log.jsonl").ino) == log_of(150)
        (plain, _, _), (coded, _, _) = totals
        assert coded < plain

    anyio.run(main)


def test_a_second_training_finds_nothing_new() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 200)
            first = await vault.train_substrings(30, 5)
            assert first
            assert await vault.train_substrings(30, 5) == []
            assert vault.list_substrings() == first

    anyio.run(main)


def test_samples_are_of_what_files_refer_to() -> None:
    """What was deleted teaches nothing, and what is compacted or a draft does."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await vault.write_document(b"/gone.jsonl", log_of(40))
            await fill(vault, 20, 100)
            await vault.compact()
            await fill(vault, 30, 100)
            vault.tree.unlink(vault.tree.resolve(b"/").ino, b"gone.jsonl")
            report = await vault.substring_training(500, 5)
            assert report.sampled == 30
            assert report.kept

    anyio.run(main)


def test_samples_are_spread_over_the_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            monkeypatch.setattr(sample, "VISITED_AT_ONCE", 4)
            await vault.write_document(b"/log.jsonl", log_of(200))
            parts = vault._parts()
            taker = sample.Sampler(parts.catalogue, parts.reader, 20, 16)
            taken = await taker.take(parts.connection, parts.frozen, lambda _: None)
            assert len(taken) == 20
            assert len(taken.segments()) == 20
            numbers = sorted(taker._seen)
            assert len([n for n in numbers if n < 100]) in range(8, 13)
            assert max(b - a for a, b in pairwise(numbers)) < 25

    anyio.run(main)


def test_what_is_a_draft_is_sealed_first(tmp_path: Path) -> None:
    async def main() -> None:
        config = VaultConfig(seal_after_seconds=1000)
        async with Vault.open(tmp_path / "v", config) as vault:
            inode = vault.tree.create(vault.tree.resolve(b"/").ino, b"log", 0o100644, 0, 0)
            vault.files.acquire(inode.ino, writing=True)
            vault.files.write(inode.ino, 0, log_of(60))
            vault.files.release(inode.ino, writing=True)
            assert await vault.train_substrings(60, 5)
            assert await vault.read_file(inode.ino) == log_of(60)

    anyio.run(main)


def test_compaction_of_little_is_not_kept() -> None:
    """A frame or two save less than the entries take that would be kept for them."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250)
            promoted = await vault.train_substrings(30, 5)
            await vault.compact()  # no frames are left
            vault._registry.withdraw(range(len(promoted)))
            await vault.store(conversation("one", drift_system(77, 250), [1]))
            vault._registry.withdraw(())
            before = await vault.stats()
            report = await vault.compact_substrings()
            assert not report.kept
            assert report.segments_rewritten == report.bytes_saved == 0
            assert "of the registry would be kept" in report.reason
            assert (await vault.stats()).frames == before.frames
            # Once others keep the entries alive, it pays.
            await vault.store(conversation("two", drift_system(78, 250), [1]))
            report = await vault.compact_substrings()
            assert report.kept
            assert report.registry_bytes < report.stored_bytes_saved
            assert await system_of(vault, "one") == drift_system(77, 250)
            assert (await vault.verify()).clean

    anyio.run(main)


@pytest.mark.parametrize("held", [0, 1 << 20])
def test_blocks_of_many_frames(held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain ones, and sparse ones of which something was collected; made twice or held back."""

    async def main() -> None:
        monkeypatch.setattr(rewriting, "HELD_BYTES_MAX", held)
        monkeypatch.setattr(rewriting, "BATCH_BYTES", 10_000)
        async with Vault.memory() as vault:
            logs = {b"/log%d.jsonl" % at: log_of(60, 1000 * at) for at in range(4)}
            for path, log in logs.items():
                await vault.write_document(path, log)
            # The records in the middle go.
            lines = logs[b"/log1.jsonl"].splitlines(True)
            thinned = b"".join(lines[:20] + lines[45:])
            await vault.write_document(b"/log1.jsonl", thinned)
            logs[b"/log1.jsonl"] = thinned
            await vault.gc()
            rows = vault._catalogue.hot_places(BlockKind.SEGMENTS, -1, 1000)
            assert any(row.layout == Layout.SPARSE for row in rows)
            assert await vault.train_substrings(200, 5)
            before = await frames_bytes(vault)
            report = await vault.compact_substrings()
            assert report.segments_rewritten > 150
            assert report.bytes_saved == before - await frames_bytes(vault)
            after = vault._catalogue.hot_places(BlockKind.SEGMENTS, -1, 1000)
            assert [(r.first, r.count, r.skip, r.layout) for r in after] == [
                (r.first, r.count, r.skip, r.layout) for r in rows
            ]
            for path, log in logs.items():
                assert await vault.read_file(vault.tree.resolve(path).ino) == log
            assert (await vault.verify()).clean
            assert (await vault.compact_substrings()).segments_rewritten == 0
            await vault.compact()
            for path, log in logs.items():
                assert await vault.read_file(vault.tree.resolve(path).ino) == log
            assert (await vault.verify()).clean

    anyio.run(main)


def test_the_vault_becomes_smaller_on_the_disk(tmp_path: Path) -> None:
    """Although most of the packs that its blocks lay in is still in use."""

    async def main() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            await vault.write_document(b"/ballast", random.Random(1).randbytes(1 << 20))
            await vault.write_document(b"/log.jsonl", log_of(60))
            await vault.train_substrings(60, 5)
            await vault.write_namespace()  # which giving packs back would do
            before = sum(length for _, length in vault._store.packs())
            report = await vault.compact_substrings()
            assert report.kept
            after = sum(length for _, length in vault._store.packs())
            assert before - after == report.stored_bytes_saved
            assert await vault.read_file(vault.tree.resolve(b"/log.jsonl").ino) == log_of(60)
            assert (await vault.verify()).clean

    anyio.run(main)


def test_gc_waits_for_who_may_still_refer_to_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder that began before the entries were withdrawn ends after they were."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250)
            await vault.train_substrings(30, 5)
            choices, withdraw = vault.ingest._choices, vault._registry.withdraw
            is_encoding, are_withdrawn = anyio.Event(), anyio.Event()

            async def slowly() -> Choices | None:
                found = await choices()
                is_encoding.set()
                await are_withdrawn.wait()
                return found

            def noting(numbers: Collection[int]) -> None:
                withdraw(numbers)
                are_withdrawn.set()

            monkeypatch.setattr(vault.ingest, "_choices", slowly)
            monkeypatch.setattr(vault._registry, "withdraw", noting)
            some = list(range(60, 100))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(vault.store, conversation("late", some, [1]))
                await is_encoding.wait()
                report = await vault.gc_substrings()
            assert 0 < report.registry_size_after < report.registry_size_before
            assert await frames_0x05(vault) == 1
            assert await system_of(vault, "late") == some
            assert vault._registry._withdrawn == set()
            assert (await vault.verify()).clean

    anyio.run(main)


def test_jobs_beside_writers_and_readers() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 20, 120)

            async def write() -> None:
                for i in range(20, 60):
                    await vault.store(conversation(f"seed-{i}", drift_system(i, 120), [i]))

            async def read() -> None:
                for i in range(200):
                    assert await system_of(vault, f"seed-{i % 20}") == drift_system(i % 20, 120)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                tasks.start_soon(read)
                for _ in range(4):
                    await vault.train_substrings(30, 5)
                    await vault.gc_substrings()
                    await vault.train_substrings(30, 5)
                    await vault.compact_substrings()
            await check_all(vault, 60, 120)

    anyio.run(main)


def test_a_cancelled_job_leaves_everything_as_it_is() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250)
            for job in (vault.train_substrings, vault.compact_substrings, vault.gc_substrings):
                with anyio.CancelScope() as scope:
                    await job(progress=partial(_cancel, scope))
                await check_all(vault, 30, 250)
                assert vault._registry._withdrawn == set()
                await vault.train_substrings(30, 5)
            assert (await vault.compact_substrings()).kept

    anyio.run(main)


def _cancel(scope: anyio.CancelScope, _done: int, _total: int) -> None:
    scope.cancel()


class Crashes:
    """Copies a vault's directory whenever something was written, and when rows changed."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.copies: list[Path] = []
        self._wrap(monkeypatch, PackWriter, "_write")
        for name in ("add_blocks", "drop_blocks", "set_setting", "refresh", "drop_pack"):
            self._wrap(monkeypatch, Catalogue, name)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def wrapped(*args: Any, **named: Any) -> Any:
            result = inner(*args, **named)
            self.copy()
            return result

        monkeypatch.setattr(owner, name, wrapped)

    def copy(self) -> None:
        target = self.directory.with_name(f"copy{len(self.copies)}")
        copy_as_a_crash(self.directory, target)
        self.copies.append(target)


def test_a_crash_at_any_step_loses_nothing(tmp_path: Path) -> None:
    async def main(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        async with Vault.open(tmp_path / "v") as vault:
            await fill(vault, 12, 150)
            crashes = Crashes(tmp_path / "v", monkeypatch)
            assert await vault.train_substrings(12, 3)
            assert (await vault.compact_substrings()).kept
            vault._registry._withdrawn = set()
            for name in range(12):
                await vault.delete(f"seed-{name}")
                await vault.store(conversation(f"seed-{name}", drift_system(name, 150), [1000]))
            await vault.compact()
            assert (await vault.gc_substrings()).substrings_dropped
            monkeypatch.undo()
            return crashes.copies

    async def check(directory: Path) -> None:
        async with Vault.open(directory, VaultConfig(lock_wait_seconds=0)) as vault:
            found = [name for name in vault.list() if name.startswith("seed-")]
            for name in found:
                assert await system_of(vault, name) == drift_system(int(name[5:]), 150)
            assert len(found) >= 11
            assert (await vault.verify()).clean
            await vault.train_substrings(12, 3)
            await vault.compact_substrings()
            await vault.gc_substrings()
            assert (await vault.verify()).clean

    with pytest.MonkeyPatch.context() as monkeypatch:
        copies = anyio.run(main, monkeypatch)
    step = max(len(copies) // 25, 1)
    assert len(copies) > 15
    for copy in copies[::step]:
        anyio.run(check, copy)
