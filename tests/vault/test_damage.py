"""Damage: exact bytes or a typed error, never wrong bytes; what is not touched stays readable."""

import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from stowkenfs.errors import Corrupt, IndexDamaged, StowkenError
from stowkenfs.ids import PackNo
from stowkenfs.store.block import HEADER_BYTES, decode_block, stored_length
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.verify import VerifyReport
from tests.running import run

CONFIG = VaultConfig(lock_wait_seconds=0)
SYSTEM = "You are a careful assistant. Answer in plain words, and say so when you do not know."


def documents() -> dict[bytes, bytes]:
    """Some with parts in common, some without; each kind of record."""
    rng = random.Random(7)

    def conversation(n: int) -> bytes:
        messages = [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": f"Question {n}: " + " ".join(rng.choices("abcdef", k=60))},
            {"role": "user", "tokens": [rng.randrange(2**32) for _ in range(30)]},
        ]
        return json.dumps({"id": f"c{n}", "messages": messages}, indent=n % 3).encode()

    lines = b"".join(
        json.dumps({"n": n, "text": SYSTEM + str(n)}).encode() + b"\n" for n in range(5)
    )
    return {
        b"/a/one.json": conversation(1),
        b"/a/two.json": conversation(2),
        b"/b/log.jsonl": lines,
        b"/b/random.bin": rng.randbytes(700),
        b"/notes.txt": SYSTEM.encode() * 3,
        b"/empty": b"",
    }


DOCUMENTS = documents()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed vault whose documents lie in several blocks."""
    directory = tmp_path_factory.mktemp("damage") / "pristine"

    async def main() -> None:
        async with Vault.open(directory, CONFIG) as vault:
            for path, content in DOCUMENTS.items():
                await vault.write_document(path, content)
            await vault.write_namespace()

    run("trio", main)
    return directory


@pytest.fixture
def vault_path(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "vault"))


class Found:
    """What opening, reading everything and verifying gave."""

    def __init__(self) -> None:
        self.damaged: set[bytes] = set()
        self.report = VerifyReport()

    @property
    def named(self) -> set[bytes]:
        return {item.path.encode() for item in self.report.files}


async def read_everything(vault: Vault) -> set[bytes]:
    """Documents that do not read; all others are exact."""
    damaged = set()
    for path, content in DOCUMENTS.items():
        ino = vault.tree.resolve(path).ino
        try:
            assert await vault.read_file(ino) == content
        except Corrupt:
            damaged.add(path)
        try:
            await vault.summarize(ino)
        except Corrupt:
            assert path in damaged
    return damaged


def look(path: Path) -> Found:
    found = Found()

    async def read() -> None:
        async with Vault.open(path, CONFIG) as vault:
            found.damaged = await read_everything(vault)

    async def verify() -> None:
        async with Vault.open(path, CONFIG) as vault:
            found.report = await vault.verify()

    run("trio", read)
    run("trio", verify)
    return found


def blocks(pack: bytes) -> Iterator[tuple[int, int]]:
    """Offset and length of each block of a pack."""
    at = 0
    while at < len(pack):
        length = stored_length(pack[at : at + HEADER_BYTES], PackNo(1), at)
        decode_block(pack[at : at + length], PackNo(1), at)
        yield at, length
        at += length


def restored(pristine: Path, path: Path) -> bytes:
    """The vault as it was; its only pack."""
    shutil.copyfile(pristine / "index.db", path / "index.db")
    for mark in path.glob("closed-*"):
        mark.unlink()
    for mark in path.glob("opened-*"):
        mark.rename(path / "opened-1")
    shutil.copyfile(pristine / "packs/00000001.pack", path / "packs/00000001.pack")
    return (path / "packs/00000001.pack").read_bytes()


def test_the_vault_is_whole(vault_path: Path) -> None:
    found = look(vault_path)
    assert found.report.clean
    assert not found.damaged
    pack = (vault_path / "packs/00000001.pack").read_bytes()
    assert len(list(blocks(pack))) > 10
    assert found.report.stored_bytes == len(pack)


def check_damage(found: Found) -> None:
    """``verify`` says the same as reading does."""
    assert found.named == found.damaged
    assert not found.report.clean
    for item in found.report.files:
        assert 0 <= item.start < item.end <= len(DOCUMENTS[item.path.encode()])


def test_every_damaged_byte_of_a_pack_is_seen(pristine: Path, vault_path: Path) -> None:
    """Each field of each header, and bytes of each payload."""
    pack = restored(pristine, vault_path)
    places = set()
    for offset, length in blocks(pack):
        places |= {offset + at for at in (0, 4, 5, 6, 8, 16, 20, 24, 28, 43)}
        places |= {offset + at for at in range(HEADER_BYTES, length, 90)}
    ever_damaged: set[bytes] = set()
    ever_spared: set[bytes] = set()
    for at in sorted(places):
        pack = restored(pristine, vault_path)
        damaged = pack[:at] + bytes((pack[at] ^ 1 << at % 8,)) + pack[at + 1 :]
        (vault_path / "packs/00000001.pack").write_bytes(damaged)
        found = look(vault_path)
        check_damage(found)
        ever_damaged |= found.damaged
        ever_spared |= DOCUMENTS.keys() - found.damaged
    assert ever_damaged == DOCUMENTS.keys() - {b"/empty"}
    assert ever_spared == DOCUMENTS.keys()


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.8, 0.99])
def test_a_pack_that_lost_its_end(vault_path: Path, part: float) -> None:
    path = vault_path / "packs/00000001.pack"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    check_damage(look(vault_path))


def test_a_pack_that_is_gone(vault_path: Path) -> None:
    (vault_path / "packs/00000001.pack").unlink()
    found = look(vault_path)
    check_damage(found)
    assert found.damaged == DOCUMENTS.keys() - {b"/empty"}


def test_zeros_and_other_blocks_in_place_of_one(pristine: Path, vault_path: Path) -> None:
    """Another valid block of the same pack is not the one that was asked for."""
    pack = restored(pristine, vault_path)
    found_blocks = list(blocks(pack))
    for offset, length in found_blocks[:8]:
        same = [other for other, size in found_blocks if size == length and other != offset]
        for content in (bytes(length), *(pack[other : other + length] for other in same[:1])):
            restored(pristine, vault_path)
            damaged = pack[:offset] + content + pack[offset + length :]
            (vault_path / "packs/00000001.pack").write_bytes(damaged)
            check_damage(look(vault_path))


def test_what_an_interrupted_write_left_is_cut_off(vault_path: Path) -> None:
    path = vault_path / "packs/00000001.pack"
    content = path.read_bytes()
    path.write_bytes(content + b"SKb1 half a block")
    (vault_path / "packs/00000002.pack").write_bytes(b"SKb1 another")
    found = look(vault_path)
    assert found.report.clean
    assert not found.damaged
    assert path.read_bytes() == content
    assert not (vault_path / "packs/00000002.pack").exists()


def test_a_damaged_vault_still_takes_documents(vault_path: Path) -> None:
    """What is stored again after damage reads back, and so does everything else that is new."""
    path = vault_path / "packs/00000001.pack"
    content = bytearray(path.read_bytes())
    for offset, length in blocks(bytes(content)):
        content[offset + length - 1] ^= 0xFF
    path.write_bytes(content)

    async def main() -> None:
        async with Vault.open(vault_path, CONFIG) as vault:
            for name, document in DOCUMENTS.items():
                ino = await vault.write_document(b"/again" + name, document)
                assert await vault.read_file(ino) == document
            assert not (await vault.verify()).clean

    run("trio", main)

    async def again() -> None:
        async with Vault.open(vault_path, CONFIG) as vault:
            for name, document in DOCUMENTS.items():
                ino = vault.tree.resolve(b"/again" + name).ino
                assert await vault.read_file(ino) == document

    run("trio", again)


# The index


def clear(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(9000))


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def schema_only(path: Path) -> None:
    """Pages of zeros after the first."""
    content = path.read_bytes()
    (page,) = struct.unpack(">H", content[16:18])
    path.write_bytes(content[:page].ljust(len(content), b"\0"))


@pytest.mark.parametrize("damage", [clear, garbage, half, schema_only])
def test_a_damaged_index_is_named_and_the_packs_stay(
    vault_path: Path, damage: Callable[[Path], None]
) -> None:
    pack = vault_path / "packs/00000001.pack"
    before = pack.read_bytes()
    damage(vault_path / "index.db")
    for _ in range(2):  # a second try must not take what the first one left for good
        with pytest.raises(IndexDamaged, match=r"index\.db"):
            look(vault_path)
    assert pack.read_bytes()[: len(before)] == before


def test_flipped_bytes_of_the_index_give_typed_errors(pristine: Path, vault_path: Path) -> None:
    """SQLite has no checksums, so this is about errors only; reindex makes a new one."""
    index = (pristine / "index.db").read_bytes()
    rng = random.Random(3)
    rows = [  # of pages with rows, not with the texts of the schema or nothing
        page + at
        for page in range(0, len(index), 4096)
        if b"CREATE " not in index[page : page + 4096]
        for at in range(4096)
        if index[page + at]
    ]
    places = [*range(0, 100, 3), *rng.sample(rows, 60)]
    for at in places:
        restored(pristine, vault_path)
        for name in ("index.db-wal", "index.db-shm"):
            (vault_path / name).unlink(missing_ok=True)
        damaged = index[:at] + bytes((index[at] ^ 0xFF,)) + index[at + 1 :]
        (vault_path / "index.db").write_bytes(damaged)

        async def main() -> None:
            async with Vault.open(vault_path, CONFIG) as vault:
                for path in DOCUMENTS:
                    await vault.read_file(vault.tree.resolve(path).ino)
                await vault.verify()

        with suppress(StowkenError, OSError):
            run("trio", main)
