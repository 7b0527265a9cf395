"""A block: the unit that is written, checksummed and read (FORMAT.md, "Blocks")."""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum

from stowkenfs.errors import BlockCorrupt, Corrupt
from stowkenfs.ids import PackNo
from stowkenfs.minimal_zstd import compress, decompress

MAGIC = b"SKb1"
"""Never part of a zstd frame's start (28 B5 2F FD) nor of UTF-8 JSON at a block boundary."""

_HEADER = struct.Struct("<4sBBHQIII")
CHECKSUM_BYTES = 16
HEADER_BYTES = _HEADER.size + CHECKSUM_BYTES

RAW_BYTES_MAX = 64 << 20
"""No writer comes near it; a header that claims more is damage or an attack."""


class BlockKind(IntEnum):
    """What a block holds. On disk: values never change."""

    RECORDS = 1
    SEGMENTS = 2
    TEMPLATES = 3
    NAMESPACE = 4


class BlockCodec(IntEnum):
    """How the payload is stored. On disk: values never change."""

    STORED = 0
    ZSTD = 1


@dataclass(frozen=True, slots=True)
class Block:
    """One block: ``count`` things of one kind, numbered from ``first``."""

    kind: BlockKind
    first: int
    count: int
    payload: bytes


def encode_block(block: Block, *, level: int | None) -> bytes:
    """The block as it lies in a pack; ``level`` None stores the payload as it is."""
    stored, codec = block.payload, BlockCodec.STORED
    if level is not None:
        squeezed = compress(block.payload, level)
        if len(squeezed) < len(stored):
            stored, codec = bytes(squeezed), BlockCodec.ZSTD
    head = _HEADER.pack(
        MAGIC, block.kind, codec, 0, block.first, block.count, len(block.payload), len(stored)
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
    raw, stored = _HEADER.unpack_from(head)[6:8]
    if raw > RAW_BYTES_MAX or stored > RAW_BYTES_MAX:
        raise BlockCorrupt(pack, offset_bytes, f"claims {raw} bytes, more than any block holds")
    return HEADER_BYTES + int(stored)


def decode_block(content: bytes, pack: PackNo, offset_bytes: int) -> Block:
    """The block in ``content``, its checksum verified.

    Raises BlockCorrupt, which names the pack and offset, for anything that is not
    exactly what ``encode_block`` wrote.
    """
    if len(content) != stored_length(content, pack, offset_bytes):
        raise BlockCorrupt(pack, offset_bytes, "cut short")
    head, stored = content[: _HEADER.size], content[HEADER_BYTES:]
    if content[_HEADER.size : HEADER_BYTES] != _checksum(head, stored):
        raise BlockCorrupt(pack, offset_bytes, "checksum does not match")
    _, kind, codec, _, first, count, raw, _ = _HEADER.unpack(head)
    try:
        is_compressed = BlockCodec(codec) is BlockCodec.ZSTD
        payload = (
            decompress(stored, raw, window_bytes_max=RAW_BYTES_MAX) if is_compressed else stored
        )
        block = Block(BlockKind(kind), first, count, payload)
    except (ValueError, Corrupt) as error:
        raise BlockCorrupt(pack, offset_bytes, str(error)) from error
    if len(payload) != raw:
        raise BlockCorrupt(pack, offset_bytes, f"holds {len(payload)} bytes, not {raw}")
    return block
