"""Small blocks that claim, or unpack to, very much: refused, or taken in bounded memory.

Checksums are right, and each goes as far as its decoder lets it. docs/FORMAT.md has the limits.
"""

import multiprocessing
import os
import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stowkenfs.documents.dense_reader import LINES_MAX
from stowkenfs.errors import BlockCorrupt, Corrupt
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import decode_frame
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import PackNo, Vocabulary
from stowkenfs.index.changes import Change
from stowkenfs.index.frozen import InodeGroup, NameGroup
from stowkenfs.index.keys import decode_keys
from stowkenfs.minimal_zstd import Base, compress, decompress
from stowkenfs.store.block import (
    COUNT_MAX,
    Block,
    BlockKind,
    Layout,
    decode_block,
    encode_block,
    encode_on_base,
)
from stowkenfs.varint import append_varint
from stowkenfs.vault.namespace import decode_changes
from stowkenfs.vault.reindex.bits import Bits
from stowkenfs.vault.vault import Vault
from tests.fuzz.frozen import Things
from tests.fuzz.targets.blocks import _USES
from tests.running import run
from tests.security.packs import FOLDER, inode, make_vault, name, told

MEBI = 1 << 20
FITS = 3 * MEBI if os.environ.get("STOWKENFS_BOMBS") else 300_000
"""Bytes of what is not refused: as many as fit, or few, which take little time."""

MEMORY_BYTES = 512 * MEBI
"""What the daemon may take for everything."""

THINGS = Things(templates={0: b"\0"}, segments={0: Segment(Vocabulary.BYTES, np.zeros(1, "u4"))})


def numbers(*values: int) -> bytes:
    out = bytearray()
    for value in values:
        append_varint(out, value)
    return bytes(out)


def column(content: bytes) -> bytes:
    return numbers(len(content)) + content


def block(kind: BlockKind, count: int, payload: bytes, layout: Layout = Layout.PLAIN) -> bytes:
    return encode_block(Block(kind, 0, count, payload, layout), level=1)


def dense_records(*streams: bytes, count: int = 1) -> bytes:
    """A payload of the 13 streams; those that are not given are empty."""
    rest = [b""] * (13 - 3 - len(streams))
    given = [*streams, *rest, b"\0" * count, b"\0" * count, bytes(4 * count)]
    return numbers(1, count) + b"".join(numbers(len(one)) for one in given) + b"".join(given)


BOMBS: dict[str, Callable[[], bytes]] = {
    "records: a body of values without bytes": lambda: block(
        BlockKind.RECORDS, 1, column(b"\0") + column(numbers(60 * MEBI)) + bytes(8 + 60 * MEBI)
    ),
    "records: as many values as fit": lambda: block(
        BlockKind.RECORDS, 1, column(b"\0") + column(numbers(FITS)) + bytes(8 + FITS)
    ),
    "records: a body of parts": lambda: block(
        BlockKind.RECORDS,
        1,
        column(b"\0")
        + column(numbers(FITS))
        + bytes(8)
        + (b"\0" + numbers((FITS // 2 - 3) << 5 | 1)).ljust(FITS, b"\0"),
    ),
    "templates: without bytes": lambda: block(
        BlockKind.TEMPLATES, 60 * MEBI, column(bytes(60 * MEBI))
    ),
    "templates: as many as fit": lambda: block(
        BlockKind.TEMPLATES, COUNT_MAX, column(bytes(COUNT_MAX))
    ),
    "templates: one of slots": lambda: block(
        BlockKind.TEMPLATES, 1, column(numbers(FITS)) + bytes(FITS)
    ),
    "segments: ranges": lambda: block(
        BlockKind.SEGMENTS, COUNT_MAX, numbers(30 * MEBI) + b"\1" * (31 * MEBI), Layout.DENSE
    ),
    "segments: without bytes": lambda: block(
        BlockKind.SEGMENTS,
        COUNT_MAX,
        numbers(1, COUNT_MAX, 0)
        + column(numbers(1, COUNT_MAX))
        + b"\0"
        + column(bytes(COUNT_MAX)),
        Layout.DENSE,
    ),
    "segments: classes": lambda: block(
        BlockKind.SEGMENTS, 1, numbers(1, 1, 0) + column(b"\1" * (30 * MEBI)), Layout.DENSE
    ),
    "segments: terminators": lambda: block(
        BlockKind.SEGMENTS,
        1,
        numbers(1, 1, 0) + column(numbers(4, 1)) + column(b"\xff" * (30 * MEBI)) + b"\0",
        Layout.DENSE,
    ),
    "dense records: lines": lambda: block(
        BlockKind.RECORDS, 1, dense_records(b"\n" * (3 * MEBI)), Layout.DENSE
    ),
    "dense records: as many lines as fit": lambda: block(
        BlockKind.RECORDS, 1, dense_records(b"\n" * min(FITS, LINES_MAX), b"\0", b"\1\0"),
        Layout.DENSE,
    ),
    "dense records: a template again and again": lambda: block(
        BlockKind.RECORDS, 1, dense_records(b"", b"\0", b"\1" * (3 * MEBI)), Layout.DENSE
    ),
    "dense records: times": lambda: block(
        BlockKind.RECORDS, 1, dense_records(b"", b"", b"\0", b"", b"", b"", bytes(3 * MEBI)),
        Layout.DENSE,
    ),
    "codebooks: a long one": lambda: block(
        BlockKind.CODEBOOKS, 1, column(numbers(7 * MEBI)) + b"\1" * (7 * MEBI)
    ),
    "substrings: without bytes": lambda: block(
        BlockKind.SUBSTRINGS, 30 * MEBI, b"\0" + column(bytes(30 * MEBI))
    ),
    "dictionaries: long": lambda: block(
        BlockKind.DICTIONARIES, 1, b"\0" + column(numbers(7 * MEBI)) + b"\1" * (7 * MEBI)
    ),
    "names: without bytes": lambda: block(
        BlockKind.NAMES, 4096, numbers(0, 4096) + b"\0\0" * 2 + bytes(7 * MEBI)
    ),
    "inodes: of equal numbers": lambda: block(
        BlockKind.INODES, 4096, numbers(0, 4096) + b"\x10\2\2" + b"\0\xfe\xff\xff\xff\x0f" * 40
    ),
    "keys: without end": lambda: block(
        BlockKind.KEYS, 16384, b"\0\x40" + bytes(8) + b"\xff" * 8 + bytes(3 * MEBI)
    ),
    "namespace: extents without bytes": lambda: block(
        BlockKind.NAMESPACE, 1, b"\5" + numbers(1, 0, 16 * MEBI) + bytes(60 * MEBI)
    ),
    "namespace: as many extents as fit": lambda: block(
        BlockKind.NAMESPACE, 1, b"\5" + numbers(1, 0, FITS // 4) + bytes(FITS)
    ),
    "namespace: attributes": lambda: block(
        BlockKind.NAMESPACE, 1, b"\1" + bytes(12) + numbers(30 * MEBI) + bytes(60 * MEBI)
    ),
    "namespace: statements": lambda: block(
        BlockKind.NAMESPACE, 30 * MEBI, b"\2\1" * (30 * MEBI)
    ),
    "namespace: as many statements as fit": lambda: block(
        BlockKind.NAMESPACE, 1, b"\2\1" * (FITS // 3)
    ),
    "namespace: groups": lambda: block(
        BlockKind.NAMESPACE, 1, b"\6" + numbers(1 << 40, 60 * MEBI) + bytes(60 * MEBI)
    ),
}  # fmt: skip


def consume(content: bytes) -> None:
    """Decode a block, and use what is in it."""
    found = decode_block(content, PackNo(1), 0)
    if found.kind is BlockKind.NAMESPACE:
        assert sum(1 for _ in list(decode_changes(found.payload))) >= 0
    elif found.kind is BlockKind.INODES:
        InodeGroup(found.payload).rows()
    elif found.kind is BlockKind.NAMES:
        NameGroup(found.payload).entries()
    elif found.kind is BlockKind.KEYS:
        decode_keys(found.payload, found.count)
    else:
        unpacked = THINGS.unpack(found)
        _USES[found.kind](unpacked, range(min(len(unpacked.items), 3)), THINGS)


def leashed(use: Callable[[], Any]) -> str:
    """What ``use`` raises, or nothing, where it may take MEMORY_BYTES more than there is now."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES,) * 2)
        try:
            use()
            theirs.send("")
        except BaseException as error:  # noqa: BLE001 - told by its kind
            theirs.send(f"{type(error).__name__}: {isinstance(error, Corrupt)}")

    process = context.Process(target=child)
    process.start()
    theirs.close()
    try:
        return str(ours.recv()) if ours.poll(120) else "too slow"
    except EOFError:
        return "died"
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_block_is_refused_or_taken_in_bounded_memory(bomb: str) -> None:
    content = BOMBS[bomb]()
    assert len(content) < MEBI, "it is small where it lies"
    answer = leashed(lambda: consume(content))
    assert not answer or answer.endswith(": True"), answer


FRAMES = {
    "zstd: longer than it says": lambda: (
        b"\2\2" + numbers(1) + bytes(compress(bytes(64 * MEBI), 1))
    ),
    "zstd: says that it is long": lambda: b"\2\2" + numbers((1 << 32) - 1) + b"\0\0",
    "delta: steps of one literal": lambda: (
        b"\4\0" + numbers(0, FITS << 1) + b"\x08" * FITS + bytes(FITS)
    ),
    "delta: the source again and again": lambda: (
        b"\4\0" + numbers(0, (FITS - 1) << 1) + numbers(1 << 3 | 1) * (FITS - 1)
    ),
    "substrings: many of them": lambda: (
        b"\5\0" + numbers(0, (6 * MEBI) << 1) + b"\x0b\2\0" * (2 * MEBI)
    ),
}


@pytest.mark.parametrize("bomb", FRAMES)
def test_a_frame_is_refused_or_taken_in_bounded_memory(bomb: str) -> None:
    frame = FRAMES[bomb]()
    answer = leashed(lambda: decode_frame(frame, THINGS))
    assert not answer or answer.endswith(": True"), answer


def test_zstd_makes_no_more_than_was_asked_for() -> None:
    packed = bytes(compress(bytes(256 * MEBI), 1))
    answer = leashed(lambda: decompress(packed, 100, window_bytes_max=64 * MEBI))
    assert answer == "Corrupt: True"


def test_trained_things_are_bounded_before_they_are_unpacked() -> None:
    for content in (
        numbers(1, (1 << 32) - 1) + b"\0",
        numbers(1, 3 * MEBI) + bytes(compress(bytes(3 * MEBI), 1)),
        numbers(1, 0, 1 << 31),
    ):
        assert leashed(partial(Dictionary.decode, content)).endswith(": True")
    assert leashed(lambda: Codebook.decode(b"\1\1" + numbers((1 << 32) - 1))).endswith(": True")


def test_a_block_of_a_kind_is_no_longer_than_any_writer_makes_it() -> None:
    for kind, size in ((BlockKind.RECORDS, 5), (BlockKind.SEGMENTS, 33), (BlockKind.KEYS, 9)):
        with pytest.raises(BlockCorrupt, match="more than any writer"):
            decode_block(block(kind, 1, bytes(size * MEBI)), PackNo(1), 0)
    with pytest.raises(BlockCorrupt, match="more than any writer"):
        decode_block(block(BlockKind.TEMPLATES, COUNT_MAX + 1, b""), PackNo(1), 0)


# Numbers that lie far apart


def test_a_set_of_numbers_takes_memory_for_those_that_are_in_it() -> None:
    def use() -> None:
        bits = Bits(1 << 62)
        bits.add_range(1 << 61, (1 << 61) + 100_000)
        bits.add(np.array([3, 1 << 60, 3]))
        assert bits.add(np.array([3, 4])) == 1
        assert bits.all_between(1 << 61, (1 << 61) + 100_000)
        assert not bits.any_between(5, 1 << 60)
        assert bits.any_between(5, (1 << 60) + 1)
        assert not bits.all_between(0, 1 << 62)
        assert next(bits.missing(3, 1 << 62)) == 5
        assert bits.holds(np.array([1 << 60, 7, 3])).tolist() == [True, False, True]

    assert leashed(use) == ""


def test_numbers_that_are_far_from_all_others_cost_nothing(tmp_path: Path) -> None:
    """A vault that has to be rebuilt, whose blocks say that they are the last of very many."""
    far = (1 << 62) - 10
    blocks = [
        encode_block(Block(kind, far, 1, payload), level=None)
        for kind, payload in (
            (BlockKind.TEMPLATES, column(b"\1") + b"\0"),
            (BlockKind.RECORDS, column(b"\1") + column(b"\2") + bytes(8) + b"\0\0"),
            (BlockKind.SEGMENTS, column(b"\3") + bytes(8) + b"\1\0x"),
        )
    ]
    blocks.append(encode_block(Block(BlockKind.TEMPLATES, 5, (1 << 32) - 1, b"\0"), level=None))
    base = (1 << 64) - 1, Base(b"what it is based on")
    one = Block(BlockKind.TEMPLATES, 1, 1, column(b"\1") + b"\0")
    blocks.append(encode_on_base(one, level=3, base=base))
    statements: list[Change] = [
        inode(1, FOLDER, parent=1, nlink=2),
        inode(2, size=9),
        name(1, b"f", 2),
    ]
    extents = b"\5" + numbers(2, 0, 1, 0, 9, 7, (1 << 61))
    blocks.append(told(statements))
    blocks.append(encode_block(Block(BlockKind.NAMESPACE, 9, 1, extents), level=None))
    directory = make_vault(tmp_path / "vault", *blocks)

    async def main() -> None:
        async with Vault.open(directory) as vault:
            report = await vault.verify()
            assert report.problems

    assert leashed(lambda: run("asyncio", main)) == ""
