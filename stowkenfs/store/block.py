"""A block: the unit that is written, checksummed and read (FORMAT.md, "Blocks")."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from stowkenfs.errors import BlockCorrupt, Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.minimal_zstd import Base, compress, compress_densely, decompress

MAGIC = b"SKb1"
"""Never part of a zstd frame's start (28 B5 2F FD) nor of UTF-8 JSON at a block boundary."""

_HEADER = struct.Struct("<4sBBBBQIII")
_BASE = struct.Struct("<Q")
CHECKSUM_BYTES = 16
HEADER_BYTES = _HEADER.size + CHECKSUM_BYTES

RAW_BYTES_MAX = 64 << 20
"""No writer comes near it; a header that claims more is damage or an attack."""

COUNT_MAX = 1 << 20
"""Things of one block. Writers close a block at 384 KB, of things of a byte or more each."""


class BlockKind(IntEnum):
    """What a block holds. On disk: values never change."""

    RECORDS = 1
    SEGMENTS = 2
    TEMPLATES = 3
    NAMESPACE = 4
    CODEBOOKS = 5
    KEYS = 6
    INODES = 7
    NAMES = 8
    SUBSTRINGS = 9
    DICTIONARIES = 10


class Layout(IntEnum):
    """How a payload is arranged. On disk: values never change."""

    PLAIN = 0
    DENSE = 1
    SPARSE = 2  # as plain, of numbers with gaps between them


class BlockCodec(IntEnum):
    """How the payload is stored. On disk: values never change."""

    STORED = 0
    ZSTD = 1
    ZSTD_BASE = 2


_PAYLOAD_BYTES_MAX = {
    BlockKind.RECORDS: 4 << 20,  # one is of 256 KiB at most, but for long values
    BlockKind.TEMPLATES: 8 << 20,  # one has at most 16 KiB
    BlockKind.SEGMENTS: 32 << 20,  # one has at most 16 MiB
    BlockKind.SUBSTRINGS: 32 << 20,
    BlockKind.CODEBOOKS: 8 << 20,
    BlockKind.DICTIONARIES: 8 << 20,
    BlockKind.KEYS: 8 << 20,
    BlockKind.INODES: 32 << 20,
    BlockKind.NAMES: 8 << 20,
}
"""What a payload may have: unpacked, small things take many times as much memory."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: ``count`` things of one kind, numbered from ``first``."""

    kind: BlockKind
    first: int
    count: int
    payload: bytes
    layout: Layout = Layout.PLAIN


def encode_block(block: Block, *, level: int | None) -> bytes:
    """The block as it lies in a pack; ``level`` None stores the payload as it is."""
    stored, codec = block.payload, BlockCodec.STORED
    if level is not None:
        squeezed = compress(block.payload, level)
        if len(squeezed) < len(stored):
            stored, codec = bytes(squeezed), BlockCodec.ZSTD
    return _assemble(block, codec, stored)


def encode_dense_block(block: Block, *, level: int, base: tuple[int, Base] | None) -> bytes:
    """The block as small as zstd makes it.

    ``base``: a block of the same kind, by a number in it, and its payload. It is referred to
    where that is smaller.
    """
    stored, codec = block.payload, BlockCodec.STORED
    squeezed = compress_densely(block.payload, level)
    if len(squeezed) < len(stored):
        stored, codec = squeezed, BlockCodec.ZSTD
    if base is not None:
        number, content = base
        squeezed = _BASE.pack(number) + content.compress(block.payload, level)
        if len(squeezed) < len(stored):
            stored, codec = squeezed, BlockCodec.ZSTD_BASE
    return _assemble(block, codec, stored)


def encode_on_base(block: Block, *, level: int, base: tuple[int, Base]) -> bytes:
    """The block compressed against its base, whether that is smaller or not."""
    number, content = base
    squeezed = _BASE.pack(number) + content.compress(block.payload, level)
    return _assemble(block, BlockCodec.ZSTD_BASE, squeezed)


def _assemble(block: Block, codec: BlockCodec, stored: bytes) -> bytes:
    head = _HEADER.pack(
        MAGIC,
        block.kind,
        codec,
        block.layout,
        0,
        block.first,
        block.count,
        len(block.payload),
        len(stored),
    )
    return head + _checksum(head, stored) + stored


def _checksum(head: bytes, stored: bytes) -> bytes:
    digest = hashlib.sha256(head)
    digest.update(stored)
    return digest.digest()[:CHECKSUM_BYTES]


def stored_length(head: bytes, pack: PackNo, offset_bytes: int) -> int:
    """Length in bytes of the whole block whose first HEADER_BYTES are ``head``."""
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        raise BlockCorrupt(pack, offset_bytes, "no block starts here")
    raw, stored = _HEADER.unpack_from(head)[7:9]
    if raw > RAW_BYTES_MAX or stored > RAW_BYTES_MAX:
        raise BlockCorrupt(pack, offset_bytes, f"claims {raw} bytes, more than any block holds")
    return HEADER_BYTES + int(stored)


def first_of(head: bytes) -> int:
    """Number of the first thing in the block whose first HEADER_BYTES are ``head``."""
    return int(_HEADER.unpack_from(head)[5])


@dataclass(frozen=True, slots=True)
class BlockHead:
    """What a header says, unchecked: numbers may be of kinds and codecs that nobody knows."""

    kind: int
    codec: int
    layout: int
    first: int
    count: int
    raw_bytes: int
    stored_bytes: int


def head_of(head: bytes) -> BlockHead:
    """The header of the block whose first HEADER_BYTES are ``head``."""
    _, kind, codec, layout, _, first, count, raw, stored = _HEADER.unpack_from(head)
    return BlockHead(kind, codec, layout, first, count, raw, stored)


def check_block(content: bytes, pack: PackNo, offset_bytes: int) -> None:
    """Raises BlockCorrupt if ``content`` is not one whole block as it was written."""
    if len(content) != stored_length(content, pack, offset_bytes):
        raise BlockCorrupt(pack, offset_bytes, "cut short")
    head, stored = content[: _HEADER.size], content[HEADER_BYTES:]
    if content[_HEADER.size : HEADER_BYTES] != _checksum(head, stored):
        raise BlockCorrupt(pack, offset_bytes, "checksum does not match")


def base_of(content: bytes) -> int | None:
    """Number of the base that an encoded block refers to, or None."""
    if content[5] != BlockCodec.ZSTD_BASE or len(content) < HEADER_BYTES + _BASE.size:
        return None
    return int(_BASE.unpack_from(content, HEADER_BYTES)[0])


def _check_size(kind: BlockKind, count: int, raw: int) -> None:
    if count > COUNT_MAX or raw > _PAYLOAD_BYTES_MAX.get(kind, RAW_BYTES_MAX):
        raise Corrupt(f"claims {count} things in {raw} bytes, more than any writer puts there")


def _base_number(stored: bytes) -> int:
    if len(stored) < _BASE.size:
        raise Corrupt("does not name its base")
    return int(_BASE.unpack_from(stored)[0])


BaseOf = Callable[[BlockKind, int], Base]


def _no_base(_kind: BlockKind, _number: int) -> Base:
    raise Corrupt("needs another block, and there is none")


def decode_block(
    content: bytes, pack: PackNo, offset_bytes: int, base_for: BaseOf = _no_base
) -> Block:
    """The block in ``content``, its checksum verified.

    ``base_for(kind, number)`` is asked for what a block needs to be unpacked. Raises
    BlockCorrupt, which names the pack and offset, for anything that is not exactly what
    ``encode_block`` or ``encode_dense_block`` wrote, and what ``base_for`` raises.
    """
    check_block(content, pack, offset_bytes)
    head, stored = content[: _HEADER.size], content[HEADER_BYTES:]
    _, kind_no, codec_no, layout_no, _, first, count, raw, _ = _HEADER.unpack(head)
    try:
        kind, codec, layout = BlockKind(kind_no), BlockCodec(codec_no), Layout(layout_no)
        _check_size(kind, count, raw)
        if codec is BlockCodec.ZSTD_BASE:
            base = base_for(kind, _base_number(stored))
            payload = base.decompress(memoryview(stored)[_BASE.size :], raw)
        elif codec is BlockCodec.ZSTD:
            payload = decompress(stored, raw, window_bytes_max=RAW_BYTES_MAX)
        else:
            payload = stored
    except (ValueError, Corrupt) as error:
        raise BlockCorrupt(pack, offset_bytes, str(error)) from error
    if len(payload) != raw:
        raise BlockCorrupt(pack, offset_bytes, f"holds {len(payload)} bytes, not {raw}")
    return Block(kind, first, count, payload, layout)
