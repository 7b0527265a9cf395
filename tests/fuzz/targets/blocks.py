"""Blocks, what is inside them, and packs."""

import hashlib
import struct
import uuid
from collections.abc import Sequence
from functools import cache, partial

import numpy as np

from stowkenfs.documents.body import PartOf, decode_body, encode_body, render_body
from stowkenfs.documents.pieces import Numbers, Pieces, pieces_of_bodies
from stowkenfs.documents.rendering import MINIMAL_ESCAPES, render_pieces
from stowkenfs.documents.values import Style
from stowkenfs.errors import BlockCorrupt, Corrupt, RecordCorrupt, SuperblockCorrupt, UnknownFormat
from stowkenfs.frames.bulk import Speller
from stowkenfs.frames.spelling import Escapes, escaped
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import PackNo, SegmentNo, TemplateNo
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    Block,
    BlockKind,
    Layout,
    _checksum,
    base_of,
    decode_block,
    encode_block,
)
from stowkenfs.store.memory import MemoryStore
from stowkenfs.vault.codebooks import decode_entry
from stowkenfs.vault.registry_blocks import RegistryItems, check_entry, entry_id
from stowkenfs.vault.reindex.scan import Whole, walk
from stowkenfs.vault.superblock import SUPERBLOCK_BYTES, Superblock
from stowkenfs.vault.unpacked import Records, Segments, Templates, Unpacked
from tests.format_vectors import VECTORS, content_of
from tests.fuzz.frozen import Things, frozen_blocks, frozen_packs, frozen_things
from tests.fuzz.target import Target, alike
from tests.fuzz.targets.frames import of_vectors

_HEAD = struct.Struct("<BBQI")
_USED_MAX = 60
"""Things of a block that are looked at one by one."""

NUMBERED = (
    BlockKind.RECORDS,
    BlockKind.SEGMENTS,
    BlockKind.TEMPLATES,
    BlockKind.CODEBOOKS,
    BlockKind.SUBSTRINGS,
    BlockKind.DICTIONARIES,
)


# Whole blocks, their checksums made right


def mend_block(content: bytes) -> bytes:
    """The lengths and the checksum of a block as they have to be; what is stored stays."""
    if len(content) < HEADER_BYTES:
        return content
    head = bytearray(content[: HEADER_BYTES - CHECKSUM_BYTES])
    head[:4] = b"SKb1"
    stored = content[HEADER_BYTES:]
    head[24:28] = len(stored).to_bytes(4, "little")
    if not head[5]:
        head[20:24] = len(stored).to_bytes(4, "little")
    return bytes(head) + _checksum(bytes(head), stored) + stored


def _block(content: bytes) -> None:
    base_of(content) if len(content) >= HEADER_BYTES else None
    base = Base(frozen_blocks()[0].payload)
    block = decode_block(content, PackNo(1), 0, lambda _kind, _number: base)
    again = decode_block(encode_block(block, level=3), PackNo(1), 0)
    assert again == block


def _blocks() -> Sequence[bytes]:
    of_packs = [content for pack in frozen_packs().values() for content in pack]
    return [*of_vectors("block"), *of_packs[::3]]


def _pack(content: bytes) -> None:
    store = MemoryStore()
    store.write(PackNo(1), 0, content)
    at = 0
    for found in walk(store, PackNo(1), len(content)):
        start = found.offset_bytes if isinstance(found, Whole) else found.start
        assert start == at
        at = start + len(found.content) if isinstance(found, Whole) else found.end
    assert at == len(content)


def _packs() -> Sequence[bytes]:
    return [b"".join(blocks[:5]) for blocks in frozen_packs().values()] + [b"SKb1" * 20, bytes(99)]


def mend_superblock(content: bytes) -> bytes:
    """Its checksum made right."""
    fields = content[: SUPERBLOCK_BYTES - 16]
    return fields + hashlib.sha256(fields).digest()[:16] + content[SUPERBLOCK_BYTES:]


def _superblock(content: bytes) -> None:
    found = Superblock.decode(content)
    assert isinstance(found.vault_id, uuid.UUID)
    assert found.encode() == content[:SUPERBLOCK_BYTES]


# What is inside


def _inside(content: bytes) -> None:
    if len(content) < _HEAD.size:
        return
    kind, layout, first, count = _HEAD.unpack_from(content)
    block = Block(
        NUMBERED[kind % len(NUMBERED)], first, count, content[_HEAD.size :], Layout(layout % 3)
    )
    things = frozen_things()
    unpacked = things.unpack(block)
    assert unpacked.cost_bytes >= 0
    assert len(unpacked.items) == count
    places = range(min(count, _USED_MAX))
    _USES[block.kind](unpacked, places, things)


def _use_records(unpacked: Unpacked, places: range, things: Things) -> None:
    records: Records = unpacked.items  # type: ignore[assignment]
    alone = [_one_record(records, at, things) for at in places]
    together = alike(lambda: _together(records.pieces(places), things))
    if isinstance(together, list):
        for one, other in zip(alone, together, strict=True):
            assert other is None or one == other
    records.lengths(0, len(records))
    records.digests(list(places))
    records.find(0)


def _one_record(records: Records, at: int, things: Things) -> bytes | None:
    try:
        records.length(at)
        records.body_bytes(at)
        return render_body(records.body(at), things.template, _part_of(things))
    except Corrupt:
        return None


def _part_of(things: Things) -> PartOf:
    def part_of(number: SegmentNo, style: Style) -> bytes | Sequence[int]:
        segment = things.canonical(number)
        if style is Style.TOKENS:
            ids: list[int] = segment.tokens.tolist()
            return ids
        return spell(segment.tokens, segment.vocabulary)

    return part_of


def _together(pieces: Pieces, things: Things) -> list[bytes | None]:
    def templates_of(numbers: Sequence[int]) -> list[bytes]:
        return [things.template(TemplateNo(number)) for number in numbers]

    def texts(numbers: Numbers, escapes: Escapes = ()) -> dict[int, bytes]:
        return {
            number: escaped(spell(things.canonical(number).tokens,
                                  things.canonical(number).vocabulary), escapes)
            for number in numbers.tolist()
        }  # fmt: skip

    return render_pieces(
        pieces, templates_of, texts, lambda numbers: texts(numbers, MINIMAL_ESCAPES)
    )


def _use_segments(unpacked: Unpacked, places: range, things: Things) -> None:
    segments: Segments = unpacked.items  # type: ignore[assignment]
    for at in places:
        segments.kind(at)
        segments.stored_bytes(at)
        try:
            segment = segments.segment(at)
            segments.find(1, segment)
            segments.verified(at)
        except Corrupt:
            continue
    numbers = np.arange(len(places))

    def spelled() -> dict[int, bytes]:
        speller = Speller(segments.segment, MINIMAL_ESCAPES)
        segments.spell(speller, numbers, numbers)
        return speller.finish()

    alike(spelled)


def _use_strings(unpacked: Unpacked, places: range, things: Things) -> None:
    items = unpacked.items
    assert isinstance(items, Templates)
    for at in places:
        content = items.items.templates[at]
        if unpacked.kind is BlockKind.TEMPLATES:
            things_of = Things(templates={0: content})
            things_of.layout(0)
        else:
            try:
                decode_entry(content)
            except Corrupt:
                continue
    items.find(b"x")


def _use_registry(unpacked: Unpacked, places: range, things: Things) -> None:
    assert isinstance(unpacked.items, RegistryItems)
    for at in places:
        try:
            check_entry(unpacked.kind, unpacked.items.entry(at))
            entry_id(unpacked.kind, unpacked.items.entry(at))
        except Corrupt:
            continue


_USES = {
    BlockKind.RECORDS: _use_records,
    BlockKind.SEGMENTS: _use_segments,
    BlockKind.TEMPLATES: _use_strings,
    BlockKind.CODEBOOKS: _use_strings,
    BlockKind.SUBSTRINGS: _use_registry,
    BlockKind.DICTIONARIES: _use_registry,
}


@cache
def _payloads(kind: BlockKind) -> Sequence[bytes]:
    """Headers and payloads of a kind; those of the vectors refer to things that are not there."""
    found = [
        _HEAD.pack(NUMBERED.index(kind), block.layout, block.first, block.count) + block.payload
        for block in frozen_blocks()
        if block.kind is kind
    ]
    for name in ("dense/records", "dense/records-odd", "dense/segments", "dense/segments-wide"):
        vector = VECTORS[name]
        if vector["kind"] == kind.name:
            head = _HEAD.pack(NUMBERED.index(kind), 1, vector["first"], vector["count"])
            found.append(head + content_of(vector))
    return found


def _body(content: bytes) -> None:
    pieces = alike(lambda: _columns(pieces_of_bodies(content, _one(0), _one(len(content)))))
    body = decode_body(content)
    assert decode_body(encode_body(body.templates, body.values)) == body
    assert pieces is not None
    render_body(body, frozen_things().template, _part_of(frozen_things()))


def _one(number: int) -> Numbers:
    return np.array([number], np.int64)


def _columns(pieces: Pieces) -> list[object]:
    """Without ``source`` and places in it, which differ."""
    sizes = (pieces.ends - pieces.starts).tolist()
    return [
        pieces.templates.tolist(), pieces.template_ends.tolist(), pieces.styles.tolist(), sizes,
        pieces.value_ends.tolist(), pieces.parts.tolist(), list(pieces.alone),
    ]  # fmt: skip


TARGETS = (
    Target("block", _block, _blocks, (BlockCorrupt,), mend_block),
    Target("block-as-it-is", _block, _blocks, (BlockCorrupt,)),
    Target("pack", _pack, _packs, ()),
    Target(
        "superblock",
        _superblock,
        lambda: [content_of(VECTORS[f"superblock/v{n}"]) for n in (1, 2, 3)],
        (SuperblockCorrupt, UnknownFormat),
        mend_superblock,
    ),
    Target("body", _body, lambda: of_vectors("body"), (RecordCorrupt, Corrupt)),
    *(
        Target(f"{kind.name.lower()}-payload", _inside, partial(_payloads, kind))
        for kind in NUMBERED
    ),
)
