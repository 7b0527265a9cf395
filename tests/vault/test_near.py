"""New segments as differences from stored ones, and finding what is nearly the same."""

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from stowkenfs import Conversation, Message, Vault, VaultConfig
from stowkenfs.frames.codec import FrameKind, references_of
from stowkenfs.frames.minhash import bands_of
from stowkenfs.index.canonicals import CanonicalTable
from stowkenfs.store.block import BlockKind
from tests.running import run
from tests.vault.near import (
    CANON,
    NEAR,
    PLAIN,
    QUICK,
    VARIANT,
    drift,
    fill,
    frames,
    in_vault,
    kinds,
    rows,
    store,
    tokens_of,
)

# New segments


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_variant_is_told_by_its_differences(backend: str) -> None:
    async def main() -> None:
        async with Vault.memory(NEAR) as vault:
            await store(vault, "canon", CANON)
            await store(vault, "variant", VARIANT)
            assert max(kinds(vault)) is FrameKind.DELTA
            (delta,) = (one for one in frames(vault).values() if one[0] == FrameKind.DELTA)
            assert len(delta) < 20
            assert await tokens_of(vault, "variant") == VARIANT
            assert await tokens_of(vault, "canon") == CANON
            assert (await vault.verify()).clean

    run(backend, main)


def test_variants_in_one_document_are_found_among_each_other() -> None:
    async def main(vault: Vault) -> None:
        messages = [Message("user", tokens=drift(seed, 150)) for seed in range(40)]
        await vault.store(Conversation(id="all", tokenizer="cl100k_base", messages=messages))
        assert kinds(vault).count(FrameKind.DELTA) == 39
        found = await vault.retrieve("all")
        assert [one.tokens.tolist() for one in found.segments] == [
            message.tokens for message in messages
        ]

    in_vault(None, main)


def test_text_is_compared_as_well() -> None:
    words = [f"word{number}" for number in range(120)]

    async def main(vault: Vault) -> None:
        for name, words_of in (("a", words), ("b", [*words[:50], "other", *words[51:]])):
            content = json.dumps({"messages": [{"role": "user", "content": " ".join(words_of)}]})
            await vault.write_document(b"/" + name.encode() + b".json", content.encode())
        assert kinds(vault).count(FrameKind.DELTA) == 1

    in_vault(None, main)


def test_without_a_threshold_nothing_is_computed_or_stored() -> None:
    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT)
        assert FrameKind.DELTA not in kinds(vault)
        assert rows(vault) == []
        assert vault._near.size_bytes == 0

    in_vault(None, main, config=PLAIN)


def test_a_delta_is_never_a_canonical() -> None:
    """Each is near the one before, and the last far from the first: no chain of deltas."""

    async def main(vault: Vault) -> None:
        for step in range(8):
            await store(vault, f"{step}", [*range(step * 8, step * 8 + 200)])
        stored = frames(vault)
        deltas = {
            number: references_of(frame).numbers
            for number, frame in stored.items()
            if frame[0] == FrameKind.DELTA
        }
        assert len(deltas) >= 4
        for canonicals in deltas.values():
            assert all(stored[one][0] != FrameKind.DELTA for one in canonicals)
        assert set(rows(vault)).isdisjoint(deltas)
        for step in range(8):
            assert await tokens_of(vault, f"{step}") == [*range(step * 8, step * 8 + 200)]

    in_vault(None, main)


def test_a_delta_is_kept_only_where_it_is_smaller() -> None:
    """Sets of ids that are alike say nothing of their order."""
    shuffled = np.random.default_rng(1).permutation(30).tolist() * 2

    async def main(vault: Vault) -> None:
        await store(vault, "canon", [*range(30)] * 2)
        await store(vault, "shuffled", shuffled)
        assert FrameKind.DELTA not in kinds(vault)
        assert len(rows(vault)) == 2  # and then it can be a canonical itself
        assert await tokens_of(vault, "shuffled") == shuffled

    in_vault(None, main)


def test_what_is_alike_by_less_than_the_threshold_is_stored_by_itself() -> None:
    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "other", [*range(60, 260)])  # 140 of 260: 0.54
        assert FrameKind.DELTA not in kinds(vault)

    in_vault(None, main)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan"), float("inf")])
def test_a_threshold_is_a_similarity(threshold: float) -> None:
    with pytest.raises(ValueError, match="near_dedup_threshold"):
        VaultConfig(near_dedup_threshold=threshold)


def test_only_what_is_the_same_set_is_alike_by_one() -> None:
    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT)
        await store(vault, "twice", CANON * 2)
        assert kinds(vault).count(FrameKind.DELTA) == 1

    in_vault(None, main, config=VaultConfig(near_dedup_threshold=1.0))


# What stays


def test_deltas_are_made_and_read_after_opening_anew(tmp_path: Path) -> None:
    async def first(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT)

    async def second(vault: Vault) -> None:
        assert await tokens_of(vault, "variant") == VARIANT
        await store(vault, "third", [77_777, *VARIANT[1:]])
        assert kinds(vault).count(FrameKind.DELTA) == 2

    async def off(vault: Vault) -> None:
        assert await tokens_of(vault, "third") == [77_777, *VARIANT[1:]]

    in_vault(tmp_path / "v", first, second)
    in_vault(tmp_path / "v", off, config=PLAIN)


def test_the_same_operations_give_the_same_packs(tmp_path: Path) -> None:
    async def fill(vault: Vault) -> None:
        for seed in range(30):
            await store(vault, f"{seed}", drift(seed, 100 + seed % 3, seed % 4 * 500))

    for name in ("a", "b"):
        in_vault(tmp_path / name, fill)
    one, other = (
        [path.read_bytes() for path in sorted((tmp_path / name / "packs").iterdir())]
        for name in ("a", "b")
    )
    assert one == other


@pytest.mark.parametrize("delete", [False, True])
def test_a_variant_is_read_after_compaction(tmp_path: Path, delete: bool) -> None:
    """Also when nothing but the variant refers to its canonical."""

    async def fill(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        for seed in range(5):
            await store(vault, f"{seed}", drift(seed, 200))
        assert kinds(vault).count(FrameKind.DELTA) == 5
        if delete:
            await vault.delete("canon")

    async def compact(vault: Vault) -> None:
        await vault.compact(QUICK)
        assert not frames(vault)

    async def check_rows(vault: Vault) -> None:
        assert not rows(vault)

    async def check(vault: Vault) -> None:
        for seed in range(5):
            assert await tokens_of(vault, f"{seed}") == drift(seed, 200)

    async def more(vault: Vault) -> None:
        await check(vault)
        for seed in (98, 99):
            await store(vault, f"new {seed}", drift(seed, 200))
            assert await tokens_of(vault, f"new {seed}") == drift(seed, 200)
        # The first one is a canonical; what was compacted is none any more.
        assert kinds(vault).count(FrameKind.DELTA) == 1

    in_vault(tmp_path / "v", fill, compact, check_rows, check, more, compact, check)


def test_what_was_compacted_has_no_rows_and_is_no_canonical() -> None:
    """Rows of it would take up more than deltas against dense segments save."""

    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await vault.compact(QUICK)
        assert not rows(vault)
        await store(vault, "variant", VARIANT)
        assert kinds(vault).count(FrameKind.DELTA) == 0
        assert (await vault.verify()).clean

    in_vault(None, main)


def test_while_compaction_is_at_work_nothing_refers_to_what_it_moves() -> None:
    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        for seed in range(3):
            await store(vault, f"before {seed}", drift(seed, 200))
        before = set(frames(vault))
        vault._dedup.leave_out({BlockKind.SEGMENTS: [(min(before), max(before) + 1)]})
        await store(vault, "during", VARIANT)
        await store(vault, "then", [7, *VARIANT[1:]])
        vault._dedup.leave_out({})
        referred = [references_of(frame).numbers for frame in frames(vault).values()]
        assert sum(kind is FrameKind.DELTA for kind in kinds(vault)) == 4
        assert before.isdisjoint(referred[-2 if len(referred[-2]) else -1])

    in_vault(None, main)


def test_a_block_that_stays_keeps_the_canonicals_of_its_deltas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file that changes while it is compacted stays hot, with all that it is made of."""

    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT)
        await store(vault, "other", [*range(3000, 3100)])
        await vault.delete("canon")
        inode = vault.find_conversation("variant").ino
        with monkeypatch.context() as patch:
            patch.setattr(vault.sealer, "is_sealing", lambda ino: ino == inode)
            report = await vault.compact(QUICK)
        assert report.postponed == 1
        assert FrameKind.DELTA in kinds(vault)
        assert (await vault.verify()).clean
        vault.reader.forget()
        assert await tokens_of(vault, "variant") == VARIANT
        await vault.compact(QUICK)
        assert not frames(vault)
        assert await tokens_of(vault, "variant") == VARIANT

    in_vault(None, main)


# The index is a hint


def test_a_lost_index_of_canonicals_costs_duplicates_only(tmp_path: Path) -> None:
    async def first(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        vault._connection.execute("DELETE FROM canonical")

    async def second(vault: Vault) -> None:
        await store(vault, "variant", VARIANT)
        assert FrameKind.DELTA not in kinds(vault)
        assert await tokens_of(vault, "variant") == VARIANT

    in_vault(tmp_path / "v", first, second)


@pytest.mark.parametrize("number", [1, 2, 3, 999, -5])
def test_a_stale_row_gives_no_wrong_bytes(tmp_path: Path, number: int) -> None:
    """Rows that lead to other segments, to a delta, or nowhere."""

    async def first(vault: Vault) -> None:
        await store(vault, "canon", CANON)  # 0, and 1 is what the user said
        await store(vault, "variant", VARIANT, 2)  # 2, a delta
        await store(vault, "other", [*range(500, 700)], 3)
        vault._connection.execute("DELETE FROM canonical")
        bands = bands_of(np.array(CANON, np.uint32))
        CanonicalTable(vault._connection).add([(number, bands), (7, b"short")])

    async def second(vault: Vault) -> None:
        new = [*CANON[:150], 5, *CANON[150:]]
        await store(vault, "new", new, 4)
        assert await tokens_of(vault, "new") == new
        assert await tokens_of(vault, "variant") == VARIANT
        stored = frames(vault)
        for frame in stored.values():
            if frame[0] == FrameKind.DELTA:
                (canonical,) = references_of(frame).numbers
                assert stored[canonical][0] != FrameKind.DELTA
        assert {7, -5, 999}.isdisjoint(rows(vault))

    in_vault(tmp_path / "v", first, second)


def test_a_damaged_canonical_is_not_referred_to(tmp_path: Path) -> None:
    """What is stored then does not depend on what cannot be read."""

    async def first(vault: Vault) -> None:
        await store(vault, "canon", np.random.default_rng(2).integers(0, 90_000, 400).tolist())
        vault._committer.begin_new_pack()
        await store(vault, "tail", [5] * 50)

    (_,) = in_vault(tmp_path / "v", first)
    pack = min((tmp_path / "v" / "packs").iterdir())
    content = bytearray(pack.read_bytes())
    content[len(content) // 2] ^= 1
    pack.write_bytes(content)

    async def second() -> None:
        async with Vault.open(tmp_path / "v", NEAR) as vault:
            tokens = np.random.default_rng(2).integers(0, 90_000, 400).tolist()
            await store(vault, "variant", [7, *tokens[1:]])
            assert await tokens_of(vault, "variant") == [7, *tokens[1:]]

    run("trio", second)


def test_an_index_of_the_version_before_gets_the_table(tmp_path: Path) -> None:
    async def first(vault: Vault) -> None:
        await store(vault, "canon", CANON)

    in_vault(tmp_path / "v", first)
    database = sqlite3.connect(tmp_path / "v" / "index.db")
    database.executescript("DROP TABLE canonical; PRAGMA user_version = 2")
    database.close()
    (mark,) = (tmp_path / "v").glob("closed-*")
    mark.unlink()  # which that version did not make

    async def second(vault: Vault) -> None:
        await store(vault, "a", VARIANT)
        await store(vault, "b", CANON[1:])
        assert kinds(vault).count(FrameKind.DELTA) == 1

    in_vault(tmp_path / "v", second)


# Beside other work


def test_canonicals_are_forgotten() -> None:
    async def main(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        (number,) = rows(vault)
        await vault._near.forget([(number + 1, number + 9)])
        assert rows(vault) == [number]
        await vault._near.forget([(0, number + 1), (number + 5, number + 9)])
        assert rows(vault) == []
        await store(vault, "variant", VARIANT)
        assert FrameKind.DELTA not in kinds(vault)

    in_vault(None, main)


def test_a_vault_with_deltas_is_a_directory_like_any_other(tmp_path: Path) -> None:
    """Copied while it is closed, it is the same vault."""

    in_vault(tmp_path / "v", fill)
    shutil.copytree(tmp_path / "v", tmp_path / "w")

    async def check(vault: Vault) -> None:
        for seed in range(20):
            assert await tokens_of(vault, f"a/{seed}") == drift(seed, 250)

    in_vault(tmp_path / "w", check)


def test_compacting_substrings_leaves_deltas_alone(tmp_path: Path) -> None:
    """The scenario of a vault with a variant, a trained registry and frames that use it."""
    novel = drift(999, 250)

    async def work(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT, 2)
        for seed in range(30):
            await store(vault, f"drift-{seed}", drift(seed, 250), 100 + seed)
        deltas = kinds(vault).count(FrameKind.DELTA)
        await vault.train_substrings(30, 5)
        await store(vault, "substr", novel, 3)
        report = await vault.compact_substrings()
        assert report.segments_skipped >= deltas >= 1
        assert kinds(vault).count(FrameKind.DELTA) >= deltas

    async def check(vault: Vault) -> None:
        assert await tokens_of(vault, "variant") == VARIANT
        assert await tokens_of(vault, "substr") == novel
        for seed in range(30):
            assert await tokens_of(vault, f"drift-{seed}") == drift(seed, 250)

    in_vault(tmp_path / "v", work, check)


def test_a_collection_keeps_the_canonicals_of_what_stays(tmp_path: Path) -> None:
    async def delete(vault: Vault) -> None:
        await store(vault, "canon", CANON)
        await store(vault, "variant", VARIANT, 2)
        await store(vault, "gone", [*range(5000, 5300)], 3)
        assert len(rows(vault)) == 2
        await vault.delete("canon")
        await vault.delete("gone")
        await vault.gc()
        assert kinds(vault).count(FrameKind.DELTA) == 1
        assert await tokens_of(vault, "variant") == VARIANT
        (canon,) = rows(vault)
        assert canon in frames(vault)

    async def check(vault: Vault) -> None:
        assert await tokens_of(vault, "variant") == VARIANT
        await store(vault, "again", [*range(5001, 5301)], 4)
        assert kinds(vault).count(FrameKind.DELTA) == 1
        await store(vault, "another", [7, *CANON[1:]], 5)
        assert kinds(vault).count(FrameKind.DELTA) == 2

    in_vault(tmp_path / "v", delete, check)
