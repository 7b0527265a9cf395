"""Ranges of documents: what is read is what was written, wherever records and blocks end."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from stowkenfs import kernels
from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, PackNo, RecordNo
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind, decode_block, encode_block
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.unpacked import PlainRecords
from stowkenfs.vault.vault import Vault
from tests.kernels import using
from tests.running import run

CONFIG = VaultConfig(lock_wait_seconds=0)
WORDS = ["the", "of", " and", "a", "internationally", "is", "you", "that", "it", "he", "was", "42"]


def log(lines: int) -> bytes:
    """Chat messages, in several ways of writing them; some again and again."""
    rng = random.Random(4)
    out = []
    for n in range(lines):
        text = " ".join(rng.choices(WORDS, k=rng.randrange(40))) + "\n\t\"'\\ \u00e9\u4f60" * (
            n % 3
        )
        message = {
            "uuid": f"{rng.getrandbits(128):032x}",
            "at": f"2026-02-12T07:{n % 60:02}:38.517Z",
            "role": rng.choice(["user", "assistant"]),
            "content": [{"type": "text", "text": text}, {"text": "Say so. " * 12, "n": n / 97}],
            "ids": [rng.randrange(100_000) for _ in range(30 * (n % 5 == 0))],
            "raw": rng.randbytes(40).hex(),
        }
        out.append(json.dumps(message, ensure_ascii=n % 2 == 0).encode() + b"\n")
    return b"".join(out)


CONTENT = log(700)


async def filled(vault: Vault, *, compacted: bool) -> InodeNo:
    ino = await vault.write_document(b"/log.jsonl", CONTENT)
    if compacted:
        await vault.compact()
    vault.reader.forget()
    return ino


def ranges() -> list[tuple[int, int]]:
    rng = random.Random(5)
    size = len(CONTENT)
    line_ends = [at + 1 for at, byte in enumerate(CONTENT) if byte == 0x0A]
    drawn = [(0, size), (0, 1), (size - 1, 9), (line_ends[3], line_ends[40] - line_ends[3])]
    drawn += [(rng.randrange(size), rng.choice([1, 700, 5000, 1 << 17])) for _ in range(40)]
    return drawn


@pytest.mark.parametrize("compacted", [False, True])
def test_any_range(tmp_path: Path, compacted: bool) -> None:
    async def main() -> None:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            ino = await filled(vault, compacted=compacted)
            live = vault.files.acquire(ino, writing=False)
            for start, length in ranges():
                for _ in ("unpacked", "cached"):
                    found = await vault.files.read(live, start, length)
                    assert found == CONTENT[start : start + length]
                vault.reader.forget()
            vault.files.release(ino, writing=False)

    run("asyncio", main)


@pytest.mark.parametrize("compiled", [kernels.built, None])
@pytest.mark.parametrize("compacted", [False, True])
def test_from_the_first_byte_to_the_last(
    tmp_path: Path, compacted: bool, compiled: kernels.Compiled | None
) -> None:
    """In pieces, for which records are made ahead; with compiled code and without."""

    async def main() -> None:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            ino = await filled(vault, compacted=compacted)
            live = vault.files.acquire(ino, writing=False)
            for length in (len(CONTENT), 1 << 14, 5000):
                pieces = [
                    await vault.files.read(live, start, length)
                    for start in range(0, len(CONTENT), length)
                ]
                assert b"".join(pieces) == CONTENT
                vault.reader.forget()
            vault.files.release(ino, writing=False)

    with using(compiled):
        run("asyncio", main)


def test_a_damaged_record_ahead_is_not_in_the_way(tmp_path: Path) -> None:
    """Making records before they are asked for fails no read but their own."""

    async def main() -> None:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            ino = await filled(vault, compacted=False)
            reader = vault.reader
            lengths = [len(line) + 1 for line in CONTENT.splitlines()]
            extent = vault.extents_of_file(ino)[0]
            assert extent.count > 150
            cut = [sum(lengths[:lines]) for lines in (40, 80, 120)]
            assert reader.record(RecordNo(extent.record + 100)) == CONTENT.splitlines(True)[100]
            reader.forget()
            records, at = reader._records_with(RecordNo(extent.record + 100))
            keys = cast("PlainRecords", records).items.keys.copy()
            keys[at] ^= 1
            object.__setattr__(cast("PlainRecords", records).items, "keys", keys)
            assert reader.read_extent(extent, 0, cut[0]) == CONTENT[: cut[0]]
            assert reader.read_extent(extent, cut[0], cut[1]) == CONTENT[cut[0] : cut[1]]
            with pytest.raises(Corrupt):
                reader.read_extent(extent, cut[1], cut[2])

    run("asyncio", main)


class LyingStore:
    """A store whose blocks of segments are whole and not those that were written."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._inner = reader._store

    def read(self, pack: PackNo, offset_bytes: int, length_bytes: int) -> bytes:
        content = self._inner.read(pack, offset_bytes, length_bytes)
        block = decode_block(content, pack, offset_bytes, self._reader.base)
        if block.kind is not BlockKind.SEGMENTS:
            return content
        payload = bytearray(block.payload)
        payload[len(payload) // 2] ^= 1
        return encode_block(replace(block, payload=bytes(payload)), level=None)


@pytest.mark.parametrize("compacted", [False, True])
def test_records_read_together_are_checked(tmp_path: Path, compacted: bool) -> None:
    """A wrong text that no block's checksum shows is refused all the same."""

    async def main() -> None:
        async with Vault.open(tmp_path / "vault", CONFIG) as vault:
            ino = await filled(vault, compacted=compacted)
            honest = vault.reader._store
            vault.reader._store = cast("PackStore", LyingStore(vault.reader))
            with pytest.raises(Corrupt):
                await vault.read_file(ino)
            vault.reader._store = honest
            vault.reader.forget()
            assert await vault.read_file(ino) == CONTENT

    run("asyncio", main)
