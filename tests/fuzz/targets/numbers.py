"""Varints, and columns of them."""

from collections.abc import Sequence

from stowkenfs.documents.dense_streams import decode_numbers, split_streams
from stowkenfs.errors import Corrupt, FrameCorrupt, RecordCorrupt
from stowkenfs.frames.varints import decode_varints, encode_varints
from stowkenfs.varint import append_varint, read_varint
from stowkenfs.vault.payloads import decode_templates
from tests.format_vectors import VECTORS, content_of
from tests.fuzz.target import Target, alike


def _varints() -> Sequence[bytes]:
    out = bytearray()
    for bits in range(64):
        append_varint(out, (1 << bits) - 1)
        append_varint(out, 1 << bits)
    return [bytes(out), *(bytes(out[at : at + 40]) for at in range(0, len(out), 40)), b"\0"]


def _one(content: bytes) -> None:
    for bits in (32, 63, 64):
        at = 0
        while at < len(content):
            try:
                value, after = read_varint(content, at, bits_max=bits)
            except Corrupt:
                break
            assert 0 <= value < 1 << bits
            assert at < after <= len(content)
            at = after
    read_varint(content, 0)


def _many(content: bytes) -> None:
    numbers = alike(lambda: decode_varints(content))
    if isinstance(numbers, type):
        raise numbers(content)
    assert encode_varints(decode_varints(content)) == content


def _wide(content: bytes) -> None:
    numbers = alike(lambda: decode_numbers(content))
    if isinstance(numbers, type):
        raise numbers(content)
    assert all(0 <= number < 1 << 56 for number in numbers)


def _streams(content: bytes) -> None:
    count = content[0] if content else 0
    streams = split_streams(content, count % 20, 1)
    assert sum(map(len, streams)) <= len(content)


def _items(content: bytes) -> None:
    count = int.from_bytes(content[:4], "little")
    items = decode_templates(content[4:], count).templates
    assert len(items) == count
    assert b"".join(items[at] for at in range(count)) == items.body


def _with_count() -> Sequence[bytes]:
    return [
        (2).to_bytes(4, "little") + content_of(VECTORS["payload/templates"]),
        (0).to_bytes(4, "little") + b"\0",
    ]


TARGETS = (
    Target("varint", _one, _varints),
    Target("varints", _many, _varints, (FrameCorrupt,)),
    Target("dense-numbers", _wide, _varints, (RecordCorrupt,)),
    Target(
        "dense-streams", _streams, lambda: [b"\x02\x01\x02abc", b"\x00", *_varints()],
        (RecordCorrupt,),
    ),
    Target("items", _items, _with_count),
)  # fmt: skip
