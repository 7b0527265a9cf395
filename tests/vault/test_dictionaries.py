"""Dictionaries of a vault: trained, activated, refused, rotated, let go of."""

import json
import random
from pathlib import Path

import anyio
import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.errors import ActivationRefused, NotFound
from stowkenfs.store.block import BlockKind

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "lk")]


def chat(seed: int, words: int = 60, vocabulary: int = 60) -> bytes:
    """A conversation in few words, so that a dictionary pays."""
    rng = random.Random(seed)
    texts = [" ".join(rng.choices(WORDS[:vocabulary], k=words)) for _ in range(3)]
    return json.dumps({"messages": [{"role": "user", "content": one} for one in texts]}).encode()


async def fill(vault: Vault, count: int, since: int = 0) -> None:
    for i in range(since, since + count):
        await vault.write_document(b"/chats/%d.json" % i, chat(i))


async def check(vault: Vault, count: int) -> None:
    for i in range(count):
        assert await vault.read_file(vault.tree.resolve(b"/chats/%d.json" % i).ino) == chat(i)
    report = await vault.verify()
    assert report.clean, report


async def frames_0x03(vault: Vault) -> int:
    return (await vault.stats()).frames.get("0x03", {"frames": 0})["frames"]


def test_a_dictionary_is_trained_listed_and_used(tmp_path: Path) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            await fill(vault, 100)
            before = (await vault.stats()).storage_bytes
            report = await vault.train_dictionary(300)
            assert report.kept, report
            assert not report.activated
            assert report.heldout_after < report.heldout_before
            assert report.total_bytes < report.stored_bytes
            (info,) = vault.list_dictionaries()
            assert info == report.info
            assert not info.is_active
            assert info.sample_count + report.heldout_count == report.sampled == 300
            assert info.size_bytes > 0
            assert (await vault.stats()).storage_bytes == before
            await fill(vault, 5, 100)
            assert await frames_0x03(vault) == 0
            activation = await vault.activate_dictionary(info.id)
            assert activation.estimated_saving > activation.dictionary_bytes > 0
            assert activation.frames == 315
            assert not activation.forced
            await fill(vault, 5, 105)
            assert await frames_0x03(vault) > 10
        async with Vault.open(tmp_path / "v") as vault:
            assert [one.is_active for one in vault.list_dictionaries()] == [True]
            await check(vault, 110)
            saved = await vault.compact_substrings()
            assert saved.segments_rewritten > 250
            assert saved.stored_bytes_saved > saved.registry_bytes
            await check(vault, 110)
            assert (await vault.compact_substrings()).segments_rewritten == 0

    anyio.run(main)


def test_activation_that_costs_more_than_it_brings_is_refused() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 60)
            report = await vault.train_dictionary(150)
            assert report.info is not None
            await vault.compact()  # no frames are left that could become smaller
            with pytest.raises(ActivationRefused, match="can be forced") as refused:
                await vault.activate_dictionary(report.info.id[:12])
            assert refused.value.dictionary_bytes > refused.value.estimated_saving == 0
            assert refused.value.frames == 0
            assert not vault.list_dictionaries()[0].is_active
            forced = await vault.activate_dictionary(report.info.id, force=True)
            assert forced.forced
            assert vault.list_dictionaries()[0].is_active
            await fill(vault, 5, 60)
            assert await frames_0x03(vault) > 0
            await check(vault, 65)

    anyio.run(main)


def test_unknown_dictionaries_are_named() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            with pytest.raises(NotFound, match="no dictionaries"):
                await vault.activate_dictionary("abc")
            await vault.activate_dictionary(None)

    anyio.run(main)


def test_rotation_keeps_what_frames_refer_to() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 60)
            first = await vault.train_dictionary(100, activate=True)
            assert first.activated, first
            await fill(vault, 30, 60)
            of_first = await frames_0x03(vault)
            assert of_first > 0
            again = await vault.train_dictionary(60)
            assert not again.kept  # it does not better the one in use by what it takes
            await vault.activate_dictionary(None)
            second = await vault.train_dictionary(60)
            assert second.info is not None, second
            await vault.activate_dictionary(second.info.id, force=True)
            assert [one.is_active for one in vault.list_dictionaries()] == [False, True]
            await fill(vault, 30, 90)
            assert await frames_0x03(vault) > of_first
            await check(vault, 120)
            await vault.gc()
            assert len(vault.list_dictionaries()) == 2
            await vault.activate_dictionary(None)
            await fill(vault, 3, 120)
            await check(vault, 123)
            await vault.compact()  # nothing refers to any of them after that
            await vault.gc()
            assert vault.list_dictionaries() == []
            assert vault._catalogue.places(BlockKind.DICTIONARIES) == []
            await check(vault, 123)

    anyio.run(main)


def test_training_says_why_nothing_was_kept() -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            report = await vault.train_dictionary(10, activate=True)
            assert (report.kept, report.activated, report.info) == (False, False, None)
            assert "no dictionary" in report.reason
            rng = random.Random(1)
            for i in range(20):
                noise = b'{"content": "%s"}' % rng.randbytes(100).hex().encode()
                await vault.write_document(b"/noise/%d.json" % i, noise)
            report = await vault.train_dictionary(20)
            assert report.sampled == 20
            assert not report.kept
            assert vault.list_dictionaries() == []

    anyio.run(main)


def test_what_is_compacted_does_not_become_smaller() -> None:
    """So nothing that is trained on it is kept: it would only make the vault larger."""

    async def main() -> None:
        async with Vault.memory() as vault:
            await fill(vault, 60)
            await vault.compact()
            before = (await vault.stats()).storage_bytes
            dictionary = await vault.train_dictionary(180)
            assert (dictionary.sampled, dictionary.stored_bytes) == (180, 0)
            assert not dictionary.kept
            assert (await vault.stats()).storage_bytes == before

    anyio.run(main)


def test_frames_of_one_dictionary_become_those_of_another() -> None:
    """Or of substrings, whatever is smallest, in worker processes too."""

    async def main() -> None:
        async with Vault.memory(VaultConfig(workers=1)) as vault:
            await fill(vault, 60)
            first = await vault.train_dictionary(40, activate=True)
            assert first.activated, first
            await vault.compact_substrings()
            await fill(vault, 60, 60)
            await vault.activate_dictionary(None)
            second = await vault.train_dictionary(360)
            assert second.info is not None
            await vault.activate_dictionary(second.info.id, force=True)
            before = (await vault.stats()).storage_bytes
            report = await vault.compact_substrings()
            after = (await vault.stats()).storage_bytes
            assert before - after == report.stored_bytes_saved
            if report.kept:
                assert report.stored_bytes_saved > report.registry_bytes
            await check(vault, 120)

    anyio.run(main)
