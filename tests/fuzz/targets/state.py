"""Files of grids, snapshots and logs of them."""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from stowkenfs.errors import GridFormatError, SnapshotCorrupt, UnknownSnapshotVersion
from stowkenfs.grids.delta_log import Tail, decode_log
from stowkenfs.grids.formats import HEAD_BYTES, GridFormat, decode, detect, encode, guess
from stowkenfs.grids.snapshot import decode_snapshot, encode_snapshot
from tests.format_vectors import VECTORS, content_of
from tests.fuzz.target import Target

_NEWER = (SnapshotCorrupt, UnknownSnapshotVersion)


def _of(structure: str) -> Sequence[bytes]:
    return [
        content_of(vector)
        for name, vector in VECTORS.items()
        if name.startswith(f"{structure}/") and "hex" in vector
    ]


def _grid(form: GridFormat) -> Callable[[bytes], None]:
    def run(content: bytes) -> None:
        grid = decode(content, form)
        assert np.isfinite(grid.cells).all()
        assert decode(encode(grid, form), form) == grid

    return run


def _any_grid(content: bytes) -> None:
    found = detect(content)
    if found is not None:
        assert guess(content[:HEAD_BYTES], len(content)) is found
        decode(content, found)


def _snapshot(content: bytes) -> None:
    snapshot = decode_snapshot(content)
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


def mend_snapshot(content: bytes) -> bytes:
    """Its checksum made right, and the length of its grid if that makes the sum right."""
    if len(content) < 32 or not content.startswith(b"SKsn"):
        return content
    metadata = int.from_bytes(content[8:12], "little")
    grid = max(len(content) - 32 - metadata, 0)
    body = content[:12] + grid.to_bytes(4, "little") + content[16:-16]
    return body + hashlib.sha256(body).digest()[:16]


def _log(content: bytes) -> None:
    log = decode_log(content)
    assert log.base_bytes <= log.end_bytes <= len(content)
    assert (log.tail is Tail.NOTHING) == (log.end_bytes == len(content))
    assert np.isfinite(log.restore(log.last).cells).all()
    again = decode_log(content[: log.end_bytes])
    assert (again.last, again.tail) == (log.last, Tail.NOTHING)
    assert again.restore(log.last) == log.restore(log.last)


def mend_log(content: bytes) -> bytes:
    """Checks and chains made right, for as long as lengths lead to a place within."""
    out = bytearray(content)
    if len(out) < 20 or not content.startswith(b"SKgl"):
        return content
    end = 20 + int.from_bytes(out[16:20], "little")
    if end + 8 > len(out):
        return content
    out[20:end] = mend_snapshot(bytes(out[20:end]))
    out[end : end + 8] = chain = hashlib.sha256(out[:end]).digest()[:8]
    at = end + 8
    while at + 8 <= len(out):
        check = zlib.crc32(chain + out[at : at + 4])
        out[at + 4 : at + 8] = check.to_bytes(4, "little")
        end = at + 8 + int.from_bytes(out[at : at + 4], "little")
        if end + 8 > len(out):
            break
        out[end : end + 8] = chain = hashlib.sha256(chain + out[at:end]).digest()[:8]
        at = end + 8
    return bytes(out)


TARGETS = (
    *(
        Target(f"grid-{form.name.lower()}", _grid(form), partial(_of, "grid"), (GridFormatError,))
        for form in GridFormat
    ),
    Target("grid", _any_grid, partial(_of, "grid"), ()),
    Target("snapshot", _snapshot, partial(_of, "snapshot"), _NEWER, mend_snapshot),
    Target("grid-log", _log, partial(_of, "grid-log"), _NEWER, mend_log),
)
