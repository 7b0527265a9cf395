"""What is inside blocks of each kind (FORMAT.md, "Payloads"). Pure bytes, no I/O.

All integers are little-endian. A block's header says how many things it holds.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.varints import decode_varints, encode_varints
from stowkenfs.varint import append_varint, read_varint

Keys = npt.NDArray[np.int64]

_KEY = np.dtype("<i8")


def content_key(content: bytes | memoryview) -> int:
    """The 64-bit name of a record or template: the start of its SHA-256, as a signed integer."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "little", signed=True)


@dataclass(frozen=True, slots=True)
class PackedItems:
    """Byte strings of one block, each reachable without touching the others.

    ``ends[i]`` is where item ``i`` ends in ``body``; items follow each other from 0.
    ``bounds`` has the same behind a 0: int64, shape (n + 1,).
    """

    ends: Sequence[int]
    bounds: npt.NDArray[np.int64]
    body: bytes

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: int) -> bytes:
        return self.body[self.ends[at - 1] if at else 0 : self.ends[at]]


@dataclass(frozen=True, slots=True)
class RecordItems:
    """A block of records: length in bytes and key of each content, and its body."""

    lengths: Sequence[int]
    keys: Keys
    bodies: PackedItems

    @property
    def cost_bytes(self) -> int:
        return len(self.bodies.body) + 100 * len(self.lengths)


@dataclass(frozen=True, slots=True)
class SegmentItems:
    """A block of segments: the key and the frame of each."""

    keys: Keys
    frames: PackedItems

    @property
    def cost_bytes(self) -> int:
        return len(self.frames.body) + 50 * len(self.keys)


@dataclass(frozen=True, slots=True)
class TemplateItems:
    """A block of templates."""

    templates: PackedItems

    @property
    def cost_bytes(self) -> int:
        return len(self.templates.body) + 50 * len(self.templates)


def encode_records(records: Sequence[tuple[int, int, bytes]]) -> bytes:
    """The payload of records ``(content length, content key, body)``."""
    return b"".join(
        (
            _column([length for length, _, _ in records]),
            _column([len(body) for _, _, body in records]),
            np.array([key for _, key, _ in records], _KEY).tobytes(),
            *(body for _, _, body in records),
        )
    )


def decode_records(payload: bytes, count: int) -> RecordItems:
    """Inverse of ``encode_records``; raises Corrupt."""
    lengths, at = _read_column(payload, 0, count)
    sizes, at = _read_column(payload, at, count)
    keys, at = _read_keys(payload, at, count)
    return RecordItems(lengths.tolist(), keys, _items(payload, at, sizes))


def encode_segments(segments: Sequence[tuple[int, bytes]]) -> bytes:
    """The payload of segments ``(key, frame)``."""
    return b"".join(
        (
            _column([len(frame) for _, frame in segments]),
            np.array([key for key, _ in segments], _KEY).tobytes(),
            *(frame for _, frame in segments),
        )
    )


def decode_segments(payload: bytes, count: int) -> SegmentItems:
    """Inverse of ``encode_segments``; raises Corrupt."""
    sizes, at = _read_column(payload, 0, count)
    keys, at = _read_keys(payload, at, count)
    return SegmentItems(keys, _items(payload, at, sizes))


def encode_templates(templates: Sequence[bytes]) -> bytes:
    """The payload of templates."""
    return _column([len(template) for template in templates]) + b"".join(templates)


def decode_templates(payload: bytes, count: int) -> TemplateItems:
    """Inverse of ``encode_templates``; raises Corrupt."""
    sizes, at = _read_column(payload, 0, count)
    return TemplateItems(_items(payload, at, sizes))


def _column(values: Sequence[int]) -> bytes:
    """Numbers below 2**32 as varints, preceded by how many bytes those take."""
    packed = encode_varints(np.array(values, np.uint32))
    out = bytearray()
    append_varint(out, len(packed))
    return bytes(out) + packed


def _read_column(payload: bytes, at: int, count: int) -> tuple[npt.NDArray[np.uint32], int]:
    length, at = read_varint(payload, at, bits_max=32)
    if at + length > len(payload):
        raise Corrupt(f"a column of {length} bytes is cut off")
    try:
        values = decode_varints(payload[at : at + length])
    except FrameCorrupt as error:
        raise Corrupt(f"a column does not decode: {error}") from error
    if len(values) != count:
        raise Corrupt(f"a column has {len(values)} numbers, not {count}")
    return values, at + length


def _read_keys(payload: bytes, at: int, count: int) -> tuple[Keys, int]:
    end = at + 8 * count
    if end > len(payload):
        raise Corrupt("the keys are cut off")
    return np.frombuffer(payload, _KEY, count, at), end


def _items(payload: bytes, at: int, sizes: npt.NDArray[np.uint32]) -> PackedItems:
    bounds = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=bounds[1:])
    body = payload[at:]
    if len(body) != bounds[-1]:
        raise Corrupt(f"{len(body)} bytes of items, not {bounds[-1]}")
    return PackedItems(bounds[1:].tolist(), bounds, body)
