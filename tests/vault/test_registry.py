"""The registry: its blocks, what goes of them and what stays, and how encoders get at it."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import numpy as np
import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.errors import Corrupt
from stowkenfs.frames.resources import EncodeChoices
from stowkenfs.frames.substrings import encode_substring
from stowkenfs.ids import Vocabulary
from stowkenfs.store.block import BlockKind, Layout
from stowkenfs.vault import registry_blocks, registry_choices
from stowkenfs.vault.ingest import Ingest
from stowkenfs.vault.registry import Registry
from stowkenfs.vault.registry_blocks import SubstringEntry, decode_registry, encode_registry
from stowkenfs.vault.registry_choices import Choices, ChoicesContent, call_in_worker
from tests.vault.rebuilding import check
from tests.vault.test_seed_contract import (
    check_all,
    conversation,
    drift_system,
    fill,
    frames_0x05,
    system_of,
)

KIND = BlockKind.SUBSTRINGS


def entry(seed: int, length: int = 20) -> bytes:
    ids = np.arange(seed * 1000, seed * 1000 + length, dtype=np.uint32)
    return SubstringEntry(encode_substring(Vocabulary.FOREIGN, ids), seed + 5).encode()


def registry_of(vault: Vault) -> Registry:
    return vault._registry


def layouts(vault: Vault) -> list[tuple[int, int, int, int]]:
    rows = vault._catalogue.places(KIND)
    return [(row.first, row.count, row.skip, row.layout) for row in rows]


def test_a_payload_says_when_it_was_made_once() -> None:
    """So that the same entry has the same bytes whenever it is found."""
    entries = [entry(1), entry(2)]
    early, late = encode_registry(1, entries), encode_registry(1 << 60, entries)
    assert early[1:] == late[9:]
    found = decode_registry(late, 2)
    assert found.created_ns == 1 << 60
    assert [found.entry(at) for at in range(2)] == entries
    for cut in range(len(early)):
        with pytest.raises(Corrupt):
            decode_registry(early[:cut], 2)


def test_dropping_some_leaves_the_others_under_their_numbers(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            registry = registry_of(vault)
            added = await registry.add(KIND, [entry(seed) for seed in range(10)])
            assert [one.number for one in added] == list(range(10))
            assert layouts(vault) == [(0, 10, 0, Layout.PLAIN)]
            before = registry.stored_bytes(KIND, range(10))
            freed = await registry.drop(KIND, {0, 4, 5})
            assert layouts(vault) == [(1, 3, 0, Layout.SPARSE), (6, 4, 3, Layout.SPARSE)]
            assert abs(before - freed - registry.stored_bytes(KIND, range(10))) <= 1
            await registry.drop(KIND, {8})
            told = registry.substrings()
            assert [one.source_occurrences - 5 for one in told] == [1, 2, 3, 6, 7, 9]
        async with Vault.open(tmp_path / "v") as vault:
            registry = registry_of(vault)
            assert registry.substrings() == told
            for number in (1, 2, 3, 6, 7, 9):
                assert vault.reader.substring(number).tokens[0] == number * 1000
            for number in (0, 4, 5, 8, 10):
                with pytest.raises(Corrupt):
                    vault.reader.substring(number)
            assert (await vault.verify()).clean

    anyio.run(main)


def test_numbers_are_never_given_out_again(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            await registry_of(vault).add(KIND, [entry(1), entry(2)])
            await registry_of(vault).drop(KIND, {0, 1})
            assert layouts(vault) == []
        async with Vault.open(tmp_path / "v") as vault:
            (one,) = await registry_of(vault).add(KIND, [entry(1)])
            assert one.number == 2

    anyio.run(main)


def test_who_is_cancelled_leaves_the_list_as_the_packs_tell_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wherever that happens: before the rows are changed, or after."""

    async def cancelled_at_refresh(vault: Vault, change: Callable[[], Awaitable[object]]) -> None:
        refresh = vault._catalogue.refresh
        with monkeypatch.context() as patch, anyio.CancelScope() as scope:

            def and_cancel() -> None:
                refresh()
                scope.cancel()

            patch.setattr(vault._catalogue, "refresh", and_cancel)
            await change()
        listed = vault.list_substrings()
        registry_of(vault).forget()
        assert vault.list_substrings() == listed

    async def main() -> None:
        async with Vault.memory() as vault:
            registry = registry_of(vault)
            entries = [entry(at) for at in range(4)]
            await registry.add(KIND, entries[:1])
            await cancelled_at_refresh(vault, lambda: registry.add(KIND, entries))
            assert len(vault.list_substrings()) == 4
            await cancelled_at_refresh(vault, lambda: registry.drop(KIND, [1, 2]))
            assert len(vault.list_substrings()) == 2
            assert (await vault.verify()).clean
            with anyio.CancelScope() as scope:
                scope.cancel()
                await registry.add(KIND, entries)
            assert len(vault.list_substrings()) == 2
            assert len(await registry.add(KIND, entries)) == 2
            choices = await registry.choices()
            assert choices is not None
            assert [number for number, _ in choices.content.substrings] == sorted(
                registry.entries(KIND)
            )

    anyio.run(main)


def test_what_is_there_already_is_not_added_again() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            registry = registry_of(vault)
            await registry.add(KIND, [entry(1), entry(2)])
            (added,) = await registry.add(KIND, [entry(2), entry(3), entry(3)])
            assert added.number == 2
            assert len(registry.substrings()) == 3

    anyio.run(main)


def test_many_entries_take_several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            registry = registry_of(vault)
            monkeypatch.setattr(registry_blocks, "ENTRIES_BYTES_MAX", 200)
            await registry.add(KIND, [entry(seed) for seed in range(12)])
            assert len(layouts(vault)) > 2
            assert len(registry.substrings()) == 12
            await registry.drop(KIND, {0, 11})
            assert {one.source_occurrences - 5 for one in registry.substrings()} == set(
                range(1, 11)
            )

    anyio.run(main)


def spoil_registry(directory: Path, offset: int, pack: int) -> None:
    path = directory / "packs" / f"{pack:08d}.pack"
    content = bytearray(path.read_bytes())
    content[offset + 60] ^= 1
    path.write_bytes(content)


def test_damage_concerns_those_that_refer_to_it_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        directory = tmp_path / "v"
        async with Vault.open(directory) as vault:
            await fill(vault, 30, 250)
            await vault.train_substrings(30, 5)
            await vault.store(conversation("post", drift_system(999, 250), [1]))
            assert await frames_0x05(vault) == 1
            (place,) = vault._catalogue.places(KIND)
        spoil_registry(directory, place.offset_bytes, place.pack)
        async with Vault.open(directory) as vault:
            for i in range(30):
                assert await system_of(vault, f"seed-{i}") == drift_system(i, 250)
            with pytest.raises(Corrupt):
                await vault.retrieve("post")
            assert vault.list_substrings() == []
            # What is stored refers to nothing, and is fine.
            await vault.store(conversation("later", drift_system(998, 250), [1]))
            assert await system_of(vault, "later") == drift_system(998, 250)
            report = await vault.verify()
            assert [damaged.path for damaged in report.files] == ["/post.json"]
            assert any(f"pack {place.pack}" in problem for problem in report.problems)
            gone = await vault.gc_substrings()
            assert gone.substrings_dropped == 0

    anyio.run(main)
    assert "registry" in caplog.text


def test_worker_processes_are_given_the_choices_once() -> None:
    async def main() -> None:
        content = ChoicesContent(tuple((at, entry(at)) for at in range(3)))
        name = content.name
        assert registry_choices._call(len, ("abc",), name, None) is None
        choices = Choices.of(content)
        for _ in range(3):
            assert await call_in_worker(_entries_known, choices=choices) == [0, 1, 2]
        assert await call_in_worker(_entries_known, choices=None) is None
        other = ChoicesContent(tuple((at, entry(at)) for at in (1, 2)))
        assert other.name != name
        assert await call_in_worker(_entries_known, choices=Choices.of(other)) == [1, 2]

    anyio.run(main)


def _entries_known(choices: EncodeChoices | None) -> list[int] | None:
    if choices is None or choices.substrings is None:
        return None
    return sorted(choices.substrings.entries)


def test_jobs_and_encoders_in_worker_processes_do_the_same(tmp_path: Path) -> None:
    async def main() -> None:
        told = []
        for workers in (0, 1):
            async with Vault.open(tmp_path / f"v{workers}", VaultConfig(workers=workers)) as vault:
                await fill(vault, 12, 200)
                promoted = await vault.train_substrings(12, 3)
                await vault.store(conversation("post", drift_system(99, 200), [1]))
                assert await frames_0x05(vault) == 1
                report = await vault.compact_substrings()
                assert report.segments_rewritten == 12
                await check_all(vault, 12, 200)
                told.append(([info.id for info in promoted], report, (await vault.stats()).frames))
        assert told[0] == told[1]

    anyio.run(main)


def test_an_empty_registry_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            monkeypatch.setattr(Registry, "_make", None)
            assert await registry_of(vault).choices() is None
            assert isinstance(vault.ingest, Ingest)
            await vault.store(conversation("a", range(50), [1]))

    anyio.run(main)


def test_packs_alone_tell_the_same(tmp_path: Path) -> None:
    """After any of this: the second reader, without the index, reads what the vault does."""

    async def train(vault: Vault) -> None:
        await fill(vault, 25, 150)
        assert await vault.train_substrings(25, 5)
        await vault.store(conversation("post", drift_system(99, 150), [1]))

    async def rewrite(vault: Vault) -> None:
        assert (await vault.compact_substrings()).kept

    async def thin(vault: Vault) -> None:
        for i in range(20):
            await vault.delete(f"seed-{i}")
        await vault.gc()
        await vault.gc_substrings()

    async def learn_again(vault: Vault) -> None:
        await fill(vault, 15, 120)
        await vault.train_substrings(40, 3)
        await vault.train_dictionary(40, activate=True)
        await vault.store(conversation("last", drift_system(98, 120), [1]))
        await vault.compact_substrings()
        await vault.gc()

    async def finish(vault: Vault) -> None:
        await vault.compact()
        await vault.gc_substrings()
        await vault.gc()

    check(tmp_path / "v", train, rewrite, thin, learn_again, finish)
