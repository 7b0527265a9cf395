"""Verifying what was compacted: each kind of block is looked into, and damage gets a name."""

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stowkenfs.ids import PackNo
from stowkenfs.store.block import HEADER_BYTES, BlockKind, stored_length
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.verify import VerifyReport
from tests.running import run

CONFIG = VaultConfig(lock_wait_seconds=0, workers=0)
SYSTEM = "You are a lighthouse keeper who answers briefly, and never makes anything up. " * 3

N_CHATS = 30


def chat(number: int, rng: random.Random) -> bytes:
    words = ["tide", "buoy", "gale", "reef", "dock", "knot", "mast", "hull"]
    turns = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": f"Question {number}: " + " ".join(rng.choices(words, k=200))},
        {"role": "assistant", "content": " ".join(rng.choices(words, k=200))},
    ]
    return json.dumps({"n": number, "messages": turns}).encode()


@pytest.fixture(scope="module")
def compacted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed vault of which everything is compacted."""
    directory = tmp_path_factory.mktemp("verify") / "vault"
    rng = random.Random(3)

    async def main() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            for number in range(N_CHATS):
                await vault.write_document(b"/chats/%d.json" % number, chat(number, rng))
            await vault.write_document(b"/raw.bin", rng.randbytes(5000))
            await vault.compact()

    run("trio", main)
    return directory


@pytest.fixture
def path(compacted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compacted, tmp_path / "vault"))


def blocks(vault: Path) -> Iterator[tuple[Path, int, int, BlockKind]]:
    """Pack, offset, length and kind of each block."""
    for pack in sorted((vault / "packs").iterdir()):
        content, at = pack.read_bytes(), 0
        while at < len(content):
            length = stored_length(content[at : at + HEADER_BYTES], PackNo(1), at)
            yield pack, at, length, BlockKind(content[at + 4])
            at += length


def flip(vault: Path, kind: BlockKind) -> None:
    """Turn one bit over in the middle of the last block of a kind."""
    pack, at, length, _ = [block for block in blocks(vault) if block[3] is kind][-1]
    content = bytearray(pack.read_bytes())
    content[at + HEADER_BYTES + (length - HEADER_BYTES) // 2] ^= 4
    pack.write_bytes(content)


def verified(vault: Path) -> VerifyReport:
    async def main() -> VerifyReport:
        async with Vault.open(vault, CONFIG) as opened:
            return await opened.verify()

    return run("trio", main)


def test_all_of_a_compacted_vault_is_checked(path: Path) -> None:
    found = list(blocks(path))
    kinds = {kind for *_, kind in found}
    assert kinds >= {
        BlockKind.RECORDS, BlockKind.SEGMENTS, BlockKind.TEMPLATES, BlockKind.CODEBOOKS,
        BlockKind.KEYS, BlockKind.INODES, BlockKind.NAMES,
    }  # fmt: skip
    told: list[tuple[int, int]] = []

    async def main() -> VerifyReport:
        async with Vault.open(path, CONFIG) as vault:
            return await vault.verify(lambda done, total: told.append((done, total)))

    report = run("trio", main)
    assert report.clean
    assert report.blocks == len(found)
    assert report.stored_bytes == sum(length for _, _, length, _ in found)
    assert report.segments > 2 * N_CHATS
    assert told[-1] == (report.stored_bytes, report.stored_bytes)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (BlockKind.KEYS, "keys of "),
        (BlockKind.INODES, "inodes 1 to "),
        (BlockKind.NAMES, "names in directory 1 from "),
    ],
)
def test_damage_of_what_holds_no_content_is_told(path: Path, kind, sentence) -> None:
    flip(path, kind)
    report = verified(path)
    assert [problem for problem in report.problems if problem.startswith(sentence)]
    assert all("checksum does not match" in problem for problem in report.problems)


@pytest.mark.parametrize("kind", [BlockKind.SEGMENTS, BlockKind.RECORDS, BlockKind.TEMPLATES])
def test_files_are_named_that_a_damaged_block_is_part_of(path: Path, kind) -> None:
    flip(path, kind)
    report = verified(path)
    assert any("checksum does not match" in problem for problem in report.problems)
    named = {damaged.path for damaged in report.files}
    assert named & {f"/chats/{number}.json" for number in range(N_CHATS)}

    async def main() -> set[str]:
        damaged = set()
        async with Vault.open(path, CONFIG) as vault:
            async for name, inode in vault.walk():
                try:
                    await vault.read_file(inode.ino)
                except Exception:  # noqa: BLE001 - whatever it is, it does not read
                    damaged.add(name.decode())
        return damaged

    assert named == run("trio", main)


def test_a_damaged_codebook_names_the_files_that_need_it(path: Path) -> None:
    flip(path, BlockKind.CODEBOOKS)
    report = verified(path)
    assert report.problems
    assert {damaged.path for damaged in report.files} >= {
        f"/chats/{number}.json" for number in range(N_CHATS)
    }


def test_what_a_statement_of_the_tree_says_is_checked(path: Path) -> None:
    async def main() -> None:
        async with Vault.open(path, CONFIG) as vault:
            await vault.write_document(b"/new.txt", b"since")

    run("trio", main)
    flip(path, BlockKind.NAMESPACE)
    assert any("checksum does not match" in problem for problem in verified(path).problems)


def test_a_wrong_record_in_a_sound_block_is_found(path: Path) -> None:
    """The check of 32 bits that a compacted record keeps."""
    found: list[str] = []

    async def main() -> None:
        async with Vault.open(path, CONFIG) as vault:
            # What a broken encoder would have written: two codebooks' worth of other texts.
            text = vault.reader.text
            vault.reader.text = lambda number: text(number)[::-1]  # type: ignore[method-assign]
            found.extend((await vault.verify()).problems)

    run("trio", main)
    assert len(found) >= N_CHATS
    assert all("does not match its hash" in problem for problem in found)


def test_damage_in_what_nothing_needs_is_named_as_such(path):
    """Blocks that a compaction replaced stay in their packs beside what is in use."""

    async def leave_dead_blocks() -> None:
        async with Vault.open(path, CONFIG) as vault:
            ballast = random.Random(5).randbytes(1 << 20)
            await vault.write_document(b"/ballast", ballast)
            parent = vault.tree.resolve(b"/chats").ino
            await vault.write_document(b"/chats/more.json", chat(99, random.Random(9)))
            vault.tree.unlink(parent, b"1.json")
            await vault.compact()

    run("trio", leave_dead_blocks)
    report = verified(path)
    assert report.clean
    assert report.unused_blocks > 2
    assert report.unused_bytes > 100
    found: dict[str, int] = {"needed": 0, "not needed": 0}
    for pack, at, length, _ in blocks(path):
        before = pack.read_bytes()
        content = bytearray(before)
        content[at + HEADER_BYTES + (length - HEADER_BYTES) // 2] ^= 4
        pack.write_bytes(content)
        report = verified(path)
        assert not report.clean
        told = [one for one in report.problems if "nothing needs any more" in one]
        if told:
            assert told == report.problems
            assert not report.files
            assert f"bytes {at} to {at + length} of pack {int(pack.stem)}" in told[0]
        found["not needed" if told else "needed"] += 1
        pack.write_bytes(before)
        if min(found.values()) >= 2:
            break
    assert min(found.values()) >= 1
    assert verified(path).clean


def test_damage_in_the_registry_is_named_with_the_files_that_need_it(tmp_path):
    directory = tmp_path / "vault"
    rules = " ".join(f"rule {at}: never leave the harbour after hour {at * 7}," for at in range(12))

    async def fill() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            for number in range(80):
                if number == 40:
                    await vault.train_substrings(samples=100, min_occurrences=3)
                text = f"Note {number * 7919}. {rules} and {number} more."
                content = json.dumps({"messages": [{"role": "user", "content": text}]}).encode()
                await vault.write_document(b"/notes/%d.json" % number, content)

    run("trio", fill)
    assert verified(directory).clean
    flip(directory, BlockKind.SUBSTRINGS)
    report = verified(directory)
    assert any("registry: substrings 0 to" in one for one in report.problems)
    assert len(report.files) >= 30
    assert {int(one.path.split("/")[2].split(".")[0]) for one in report.files} <= set(range(40, 80))
