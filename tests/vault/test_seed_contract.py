"""Shared substrings, scenario by scenario as the contract has them.

Figures of stowken 0.7.0 for the same scenarios stand beside what they are compared with.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from stowkenfs import Conversation, Message, SegmentType, Vault, VaultConfig
from tests.running import BACKENDS
from tests.running import run as run_under

PEER_FRAMES_COMPACTED = 3_120
"""Bytes of frames of 30 x 250 after its compaction, without its registry."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def conversation(name: str, system: Sequence[int], user: Sequence[int]) -> Conversation:
    return Conversation(
        id=name,
        application="substring-test",
        model="gpt-4",
        tokenizer="cl100k_base",
        messages=[Message("system", tokens=system), Message("user", tokens=user)],
    )


def drift_system(seed: int, length: int) -> list[int]:
    """A long shared run with three ids of its own."""
    tokens = list(range(length))
    for i, position in enumerate((seed % length, seed * 7 % length, seed * 13 % length)):
        tokens[position] = 90_000 + (seed * 17 + i * 11) % 5_000
    return tokens


async def fill(vault: Vault, count: int, length: int, user: int = 1000) -> None:
    for i in range(count):
        await vault.store(conversation(f"seed-{i}", drift_system(i, length), [user + i]))


async def system_of(vault: Vault, name: str) -> list[int]:
    found = await vault.retrieve(name)
    (system,) = [s for s in found.segments if s.segment_type is SegmentType.SYSTEM_PROMPT]
    return [int(token) for token in system.tokens]


async def check_all(vault: Vault, count: int, length: int) -> None:
    for i in range(count):
        assert await system_of(vault, f"seed-{i}") == drift_system(i, length)
    report = await vault.verify()
    assert report.clean, report


async def frames_bytes(vault: Vault) -> int:
    return sum(kind["bytes"] for kind in (await vault.stats()).frames.values())


async def frames_0x05(vault: Vault) -> int:
    return (await vault.stats()).frames.get("0x05", {"frames": 0})["frames"]


async def registry_bytes(vault: Vault) -> int:
    return sum(k.stored_bytes for k in (await vault.stats()).kinds if k.kind == "registry")


def test_discovery_promotes_frequent_runs(backend: str) -> None:
    """Not each window of 16 tokens, of which the peer keeps 185, but the runs that they lie in."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 200)
            assert vault.list_substrings() == []
            promoted = await vault.train_substrings(30, 5)
            assert 0 < len(promoted) < 185
            assert vault.list_substrings() == promoted
            for info in promoted:
                assert info.length >= 16
                assert info.source_occurrences >= 5
                assert len(bytes.fromhex(info.id)) == 32

    run_under(backend, main)


def test_a_frame_of_substrings_is_used_after_training(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 300, 5000)
            assert await vault.train_substrings(30, 5)
            novel = drift_system(999, 300)
            await vault.store(conversation("post-train", novel, [9_999_001, 9_999_002]))
            assert await system_of(vault, "post-train") == novel
            assert await frames_0x05(vault) == 1

    run_under(backend, main)


def test_round_trip_is_exact(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 20, 250, 100)
            await vault.train_substrings(20, 5)
            novel = drift_system(42, 250)
            await vault.store(conversation("rt", novel, [99_999]))
            assert await system_of(vault, "rt") == novel
            await check_all(vault, 20, 250)

    run_under(backend, main)


def test_without_training_there_are_no_such_frames(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            tokens = list(range(200))
            await vault.store(conversation("only", tokens, [1, 2, 3]))
            assert await system_of(vault, "only") == tokens
            assert vault.list_substrings() == []
            assert await frames_0x05(vault) == 0

    run_under(backend, main)


def test_substrings_outlive_the_vault_being_open(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        novel = drift_system(777, 250)
        async with Vault.open(tmp_path / "v") as vault:
            await fill(vault, 30, 250)
            promoted = await vault.train_substrings(30, 5)
            assert 0 < len(promoted) < 235
            await vault.store(conversation("post-train", novel, [88_888]))
            assert await frames_0x05(vault) == 1
        async with Vault.open(tmp_path / "v") as vault:
            assert vault.list_substrings() == promoted
            assert await system_of(vault, "post-train") == novel
            await check_all(vault, 30, 250)
            # And new frames go on using them.
            await vault.store(conversation("later", drift_system(555, 250), [88_889]))
            assert await system_of(vault, "later") == drift_system(555, 250)
            assert await frames_0x05(vault) == 2

    run_under(backend, main)


def test_older_segments_stay_readable_after_promotion(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            before, after = drift_system(1, 250), drift_system(2, 250)
            await vault.store(conversation("pre", before, [1]))
            for i in range(100, 130):
                await vault.store(conversation(f"seed-{i}", drift_system(i, 250), [100 + i]))
            await vault.train_substrings(30, 5)
            await vault.store(conversation("post", after, [2]))
            assert await system_of(vault, "pre") == before
            assert await system_of(vault, "post") == after

    run_under(backend, main)


def test_training_on_nothing_finds_nothing(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            assert await vault.train_substrings(50, 5) == []
            assert vault.list_substrings() == []
            report = await vault.substring_training(50, 5)
            assert not report.kept
            assert "no text of 16 tokens" in report.reason

    run_under(backend, main)


def test_compaction_rewrites_what_was_stored_before_training(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250, 100)
            before = await vault.stats()
            frames_before = await frames_bytes(vault)
            await vault.train_substrings(30, 5)
            assert (await vault.stats()).storage_bytes == before.storage_bytes
            report = await vault.compact_substrings()
            assert report.kept
            # The peer: 60, since what a user said in one token is a segment there.
            assert report.segments_examined == 30
            assert report.segments_rewritten == 30
            after = await frames_bytes(vault)
            assert report.bytes_saved == frames_before - after > 8_300
            assert after <= PEER_FRAMES_COMPACTED
            assert after + await registry_bytes(vault) < PEER_FRAMES_COMPACTED
            stored = (await vault.stats()).storage_bytes
            assert report.stored_bytes_saved == before.storage_bytes - stored > 0
            await check_all(vault, 30, 250)
            again = await vault.compact_substrings()
            assert (again.segments_rewritten, again.bytes_saved) == (0, 0)
            assert again.segments_skipped == 30
            assert (await vault.stats()).storage_bytes == stored

    run_under(backend, main)


def test_compaction_skips_deltas_and_frames_of_substrings(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory(VaultConfig(near_dedup_threshold=0.80)) as vault:
            canonical = list(range(200))
            variant = canonical.copy()
            variant[10], variant[100] = 99_999, 88_888
            await vault.store(conversation("canon", canonical, [1]))
            await vault.store(conversation("variant", variant, [2]))
            for i in range(30):
                await vault.store(conversation(f"seed-{i}", drift_system(i, 250), [100 + i]))
            await vault.train_substrings(30, 5)
            await vault.store(conversation("substr", drift_system(999, 250), [3]))
            report = await vault.compact_substrings()
            assert report.segments_skipped >= 1
            assert await system_of(vault, "canon") == canonical
            assert await system_of(vault, "variant") == variant
            assert await system_of(vault, "substr") == drift_system(999, 250)
            await check_all(vault, 30, 250)

    run_under(backend, main)


def test_gc_drops_what_nothing_refers_to(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250, 0)
            await vault.train_substrings(30, 5)
            before = len(vault.list_substrings())
            assert before > 0
            report = await vault.gc_substrings()
            assert report.registry_size_before == before
            assert report.registry_size_after == 0
            assert report.substrings_dropped == before
            assert report.bytes_freed > 0
            assert vault.list_substrings() == []
            assert await registry_bytes(vault) == 0
            # Nothing new refers to what is gone.
            await vault.store(conversation("later", drift_system(999, 250), [1]))
            assert await system_of(vault, "later") == drift_system(999, 250)
            assert await frames_0x05(vault) == 0

    run_under(backend, main)


def test_gc_after_compaction_keeps_what_is_referred_to(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 30, 250, 0)
            await vault.train_substrings(30, 5)
            await vault.compact_substrings()
            before = len(vault.list_substrings())
            report = await vault.gc_substrings()
            assert report.registry_size_before == before
            assert 0 < report.registry_size_after <= before
            assert report.registry_size_after == len(vault.list_substrings())
            await check_all(vault, 30, 250)

    run_under(backend, main)


def test_gc_outlives_the_vault_being_open(backend: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            await fill(vault, 30, 250, 0)
            await vault.train_substrings(30, 5)
            await vault.compact_substrings()
            await vault.gc_substrings()
            left = vault.list_substrings()
        async with Vault.open(tmp_path / "v") as vault:
            assert vault.list_substrings() == left
            await check_all(vault, 30, 250)

    run_under(backend, main)
