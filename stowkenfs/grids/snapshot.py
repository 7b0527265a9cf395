"""A grid with its metadata, versioned and checksummed (FORMAT.md, "Snapshots")."""

import hashlib
import json
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from stowkenfs.errors import GridFormatError, SnapshotCorrupt, UnknownSnapshotVersion, Unstorable
from stowkenfs.grids.formats import GridFormat, decode, detect, encode
from stowkenfs.grids.grid import Grid

MAGIC = b"SKsn"
"""As the width of a binary grid it would be beyond CELLS_MAX: no file is both."""
VERSION = 2
"""Version 1 is a bare file of a grid, in any format: it has no metadata."""
METADATA_BYTES_MAX = 1 << 20
CHECKSUM_BYTES = 16

_VERSION = struct.Struct("<4sH")
_HEADER = struct.Struct("<4sHBxII")
"""Magic, version, code of the grid's format, bytes of metadata, bytes of the grid."""
_CODES = {
    GridFormat.BINARY: 1,
    GridFormat.JSON: 2,
    GridFormat.COMPRESSED: 3,
    GridFormat.NPY: 4,
}  # on disk: do not change
_FORMATS = {code: grid_format for grid_format, code in _CODES.items()}
_WHAT = "the snapshot"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is said of a grid. Times are ns since 1970, None where nobody knows.

    ``parameters`` is any JSON: what a diffusion was configured with, say.
    """

    created_ns: int | None = None
    modified_ns: int | None = None
    owner: str = ""
    parameters: Any = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=True)
class Snapshot:
    """A grid and its metadata."""

    grid: Grid
    metadata: Metadata = field(default_factory=Metadata)

    __hash__ = None  # type: ignore[assignment] # grids change


def encode_snapshot(snapshot: Snapshot, grid_format: GridFormat = GridFormat.BINARY) -> bytes:
    """Always of the newest version. Raises Unstorable for metadata that is no JSON."""
    metadata = _encode_metadata(snapshot.metadata)
    content = encode(snapshot.grid, grid_format)
    header = _HEADER.pack(MAGIC, VERSION, _CODES[grid_format], len(metadata), len(content))
    body = header + metadata + content
    return body + checksum(body)


def decode_snapshot(content: bytes) -> Snapshot:
    """Inverse of ``encode_snapshot``, for every version there was.

    Raises UnknownSnapshotVersion for a newer one, and SnapshotCorrupt.
    """
    version = version_of(content)
    reader = _READERS.get(version)
    if reader is None:
        raise UnknownSnapshotVersion(_WHAT, version, VERSION)
    return reader(content)


def version_of(content: bytes) -> int:
    """The version that a snapshot says it has; 1 is a bare grid. Raises SnapshotCorrupt."""
    if not content.startswith(MAGIC):
        return 1
    if len(content) < _VERSION.size:
        raise SnapshotCorrupt(_WHAT, len(content), "it ends within its header")
    return int(_VERSION.unpack_from(content)[1])


def grid_within(head: bytes, length_bytes: int) -> tuple[int, int, GridFormat] | None:
    """Where the grid of a snapshot begins and ends, and its format, by its first bytes.

    ``length_bytes``: of the whole. None if this is no snapshot of today's version, or not so
    long. Quick, to be asked of any file; what is there may not be a grid all the same.
    """
    if not head.startswith(MAGIC) or len(head) < _HEADER.size:
        return None
    _, version, code, metadata_bytes, grid_bytes = _HEADER.unpack_from(head)
    start = _HEADER.size + metadata_bytes
    end = start + grid_bytes
    if version != VERSION or code not in _FORMATS or end + CHECKSUM_BYTES != length_bytes:
        return None
    return start, end, _FORMATS[code]


def checksum(content: bytes) -> bytes:
    """16 bytes of SHA-256."""
    return hashlib.sha256(content).digest()[:CHECKSUM_BYTES]


def _read_bare(content: bytes) -> Snapshot:
    found = detect(content)
    if found is None:
        raise SnapshotCorrupt(_WHAT, 0, "it is neither a snapshot nor a grid in a known format")
    return Snapshot(decode(content, found))


def _read_checked(content: bytes) -> Snapshot:
    if len(content) < _HEADER.size + CHECKSUM_BYTES:
        raise SnapshotCorrupt(_WHAT, len(content), "it ends within its header")
    _, _, code, metadata_bytes, grid_bytes = _HEADER.unpack_from(content)
    end = _HEADER.size + metadata_bytes + grid_bytes
    if end + CHECKSUM_BYTES != len(content):
        reason = f"{end + CHECKSUM_BYTES} bytes expected in all, {len(content)} found"
        raise SnapshotCorrupt(_WHAT, min(end + CHECKSUM_BYTES, len(content)), reason)
    if checksum(content[:end]) != content[end:]:
        raise SnapshotCorrupt(_WHAT, end, "its content does not match its checksum")
    grid_format = _FORMATS.get(code)
    if grid_format is None:
        raise SnapshotCorrupt(_WHAT, 6, f"there is no grid format {code}")
    at = _HEADER.size + metadata_bytes
    try:
        grid = decode(content[at:end], grid_format)
    except GridFormatError as error:
        raise SnapshotCorrupt(_WHAT, at + error.offset_bytes, str(error)) from error
    return Snapshot(grid, _decode_metadata(content[_HEADER.size : at]))


_READERS: Mapping[int, Callable[[bytes], Snapshot]] = {1: _read_bare, 2: _read_checked}


def _encode_metadata(metadata: Metadata) -> bytes:
    fields = {
        "created_ns": metadata.created_ns,
        "modified_ns": metadata.modified_ns,
        "owner": metadata.owner,
        "parameters": metadata.parameters,
    }
    try:
        text = json.dumps(fields, allow_nan=False, sort_keys=True, separators=(",", ":")).encode()
        is_kept = _parsed_metadata(text) == metadata
    except (TypeError, ValueError, RecursionError) as error:
        raise Unstorable(f"metadata that is no JSON: {error}") from error
    if not is_kept:
        raise Unstorable(
            "metadata that JSON would give back as something else: use lists, not tuples,"
            " strings for names, whole numbers for times"
        )
    if len(text) > METADATA_BYTES_MAX:
        raise Unstorable(f"{len(text)} bytes of metadata; {METADATA_BYTES_MAX} are the most")
    return text


def _decode_metadata(text: bytes) -> Metadata:
    if len(text) > METADATA_BYTES_MAX:
        raise SnapshotCorrupt(_WHAT, 8, f"more than {METADATA_BYTES_MAX} bytes of metadata")
    try:
        return _parsed_metadata(text)
    except (ValueError, RecursionError) as error:
        raise SnapshotCorrupt(_WHAT, _HEADER.size, f"its metadata: {error}") from error


def _parsed_metadata(text: bytes) -> Metadata:
    """Raises ValueError. Fields that it does not know are those of a later release's."""
    fields = json.loads(text.decode())
    if not isinstance(fields, dict):
        raise ValueError("no object")  # noqa: TRY004 - as other damage
    created, modified = fields.get("created_ns"), fields.get("modified_ns")
    owner = fields.get("owner", "")
    are_times = all(time is None or type(time) is int for time in (created, modified))
    if not are_times or type(owner) is not str:
        raise ValueError("times are whole numbers, and an owner is a string")
    return Metadata(created, modified, owner, fields.get("parameters", {}))
