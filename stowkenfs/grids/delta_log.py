"""A grid and what became of it, as an append-only log (FORMAT.md, "Logs of a grid").

A header, a snapshot and their checksum, then a record for each later state: the cells that
changed. Records are numbered by their order; each has a checksum over itself and the one
before, so that none is believed in another place. A log may end in the middle of a record:
that one was never saved.
"""

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from stowkenfs.errors import SnapshotCorrupt, UnknownSnapshotVersion
from stowkenfs.grids.grid import Changes, Grid, first_not_finite
from stowkenfs.grids.snapshot import Snapshot, decode_snapshot

MAGIC = b"SKgl"
VERSION = 1
CHAIN_BYTES = 8

_HEADER = struct.Struct("<4sHxxQI")
"""Magic, version, number of the first state, bytes of the snapshot."""
_RECORD = struct.Struct("<II")
"""Bytes of the payload; CRC-32 of the checksum before and of these four bytes."""
_PAYLOAD = struct.Struct("<qIB")
"""Time (ns), how many cells, bytes of a gap."""
_WHAT = "the log of a grid"


class Tail(Enum):
    """What is behind the last record that checks out."""

    NOTHING = auto()
    TORN = auto()
    """The beginning of a record: its saving was cut short, and nobody was told it is there."""
    DAMAGED = auto()
    """Something else: records that were saved, and cannot be read any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """The changes that lead from the state before to this one."""

    time_ns: int
    changes: Changes


@dataclass(frozen=True, slots=True, eq=False)
class DeltaLog:
    """A log as far as it checks out.

    ``base_bytes`` is where deltas begin, ``end_bytes`` where the next record goes, ``chain``
    what its checksum is built upon.
    """

    first: int
    base: Snapshot
    deltas: Sequence[Delta]
    base_bytes: int
    end_bytes: int
    chain: bytes
    tail: Tail

    @property
    def last(self) -> int:
        """The number of the last state."""
        return self.first + len(self.deltas)

    def restore(self, number: int) -> Grid:
        """The state ``number``, ``first`` to ``last``."""
        assert self.first <= number <= self.last
        grid = self.base.grid.copy()
        for delta in self.deltas[: number - self.first]:
            grid.apply(delta.changes)
        return grid


def begin_log(first: int, snapshot: bytes) -> tuple[bytes, bytes]:
    """A log with one state, and the chain for its first delta.

    ``snapshot``: as ``encode_snapshot`` makes it.
    """
    head = _HEADER.pack(MAGIC, VERSION, first, len(snapshot)) + snapshot
    chain = _chained(b"", head)
    return head + chain, chain


def encode_delta(delta: Delta, chain: bytes) -> tuple[bytes, bytes]:
    """A record to append, and the chain for the next: 29 bytes, and 9 to 12 for each cell."""
    indices = delta.changes.indices.astype(np.int64)
    gaps = np.diff(indices, prepend=-1) - 1
    widest = int(gaps.max()) if len(gaps) else 0
    gap_bytes = next(wide for wide in _GAPS if widest < 1 << 8 * wide)
    payload = b"".join(
        (
            _PAYLOAD.pack(delta.time_ns, len(gaps), gap_bytes),
            gaps.astype(_GAPS[gap_bytes]).tobytes(),
            delta.changes.values.astype("<f8").tobytes(),
        )
    )
    record = _record_header(len(payload), chain) + payload
    chain = _chained(chain, record)
    return record + chain, chain


_GAPS = {1: "<u1", 2: "<u2", 4: "<u4"}
"""{bytes of a gap: its type}: how many cells are left out between two that changed."""


def _record_header(payload_bytes: int, chain: bytes) -> bytes:
    length = payload_bytes.to_bytes(4, "little")
    return length + zlib.crc32(chain + length).to_bytes(4, "little")


def _chained(chain: bytes, record: bytes) -> bytes:
    return hashlib.sha256(chain + record).digest()[:CHAIN_BYTES]


def decode_log(content: bytes) -> DeltaLog:
    """The log up to where it checks out.

    Raises SnapshotCorrupt if not even its first state does, and UnknownSnapshotVersion.
    """
    first, at, chain = _read_header(content)
    base = decode_snapshot(content[_HEADER.size : at - CHAIN_BYTES])
    cells = base.grid.width * base.grid.height
    deltas, base_bytes = [], at
    tail = Tail.NOTHING
    for found in _records(content, at, chain):
        if isinstance(found, Tail):
            tail = found
            break
        payload, at, chain = found
        deltas.append(_decode_payload(payload, cells, at - CHAIN_BYTES - len(payload)))
    return DeltaLog(first, base, deltas, base_bytes, at, chain, tail)


def _read_header(content: bytes) -> tuple[int, int, bytes]:
    """Number of the first state, where the deltas begin, and their chain."""
    if len(content) < _HEADER.size or not content.startswith(MAGIC):
        raise SnapshotCorrupt(_WHAT, 0, "it does not begin as one")
    _, version, first, snapshot_bytes = _HEADER.unpack_from(content)
    if version != VERSION:
        raise UnknownSnapshotVersion(_WHAT, version, VERSION)
    end = _HEADER.size + snapshot_bytes
    if len(content) < end + CHAIN_BYTES:
        reason = f"its first state ends at byte {end + CHAIN_BYTES}"
        raise SnapshotCorrupt(_WHAT, len(content), reason)
    chain = _chained(b"", content[:end])
    if content[end : end + CHAIN_BYTES] != chain:
        raise SnapshotCorrupt(_WHAT, end, "its first state does not match its checksum")
    return first, end + CHAIN_BYTES, chain


def _records(content: bytes, at: int, chain: bytes) -> Iterator[tuple[bytes, int, bytes] | Tail]:
    """(payload, where its record ends, chain) one by one, and what is behind if anything is."""
    while at < len(content):
        header = content[at : at + _RECORD.size]
        if len(header) < _RECORD.size:
            yield Tail.TORN
            return
        payload_bytes, _ = _RECORD.unpack(header)
        if header != _record_header(payload_bytes, chain):
            # Of a file that was made longer and not filled, zeros are what is there.
            yield Tail.DAMAGED if any(content[at:]) else Tail.TORN
            return
        end = at + _RECORD.size + payload_bytes
        if len(content) < end + CHAIN_BYTES:
            yield Tail.TORN
            return
        chain = _chained(chain, content[at:end])
        if content[end : end + CHAIN_BYTES] != chain:
            yield Tail.TORN if len(content) == end + CHAIN_BYTES else Tail.DAMAGED
            return
        yield content[at + _RECORD.size : end], end + CHAIN_BYTES, chain
        at = end + CHAIN_BYTES


def _decode_payload(payload: bytes, cells: int, at: int) -> Delta:
    """Raises SnapshotCorrupt for what nobody can have written, checksum or not."""
    if len(payload) < _PAYLOAD.size:
        raise SnapshotCorrupt(_WHAT, at, "a record without its header")
    time_ns, count, gap_bytes = _PAYLOAD.unpack_from(payload)
    kind = _GAPS.get(gap_bytes)
    if kind is None or len(payload) != _PAYLOAD.size + count * (gap_bytes + 8):
        raise SnapshotCorrupt(_WHAT, at, f"{count} changes of {gap_bytes} + 8 bytes")
    gaps = np.frombuffer(payload, kind, count, _PAYLOAD.size)
    values = np.frombuffer(payload, "<f8", count, _PAYLOAD.size + count * gap_bytes)
    indices = np.cumsum(gaps.astype(np.int64) + 1) - 1
    if count and indices[-1] >= cells:
        raise SnapshotCorrupt(_WHAT, at, f"a change of cell {indices[-1]} of {cells}")
    if first_not_finite(values) is not None:
        raise SnapshotCorrupt(_WHAT, at, "a change to NaN or an infinity")
    return Delta(time_ns, Changes(indices.astype(np.uint32), values.astype(np.float64)))
