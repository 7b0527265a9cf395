"""How much of the index's log was synced, beside it: the log itself cannot tell.

SQLite takes a log as far as its checksums hold, since a power cut tears its end. A frame that
was damaged later ends it just as well, and all behind it would be undone without a word. What
a sync promised is therefore noted in ``index.db-synced``, after the sync and without one of
its own: what the note tells is on the disk whenever the note is.

The format of the log: https://www.sqlite.org/fileformat2.html#the_write_ahead_log
"""

import hashlib
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

SUFFIX = "-synced"

_NOTE = struct.Struct("<8sI")  # the log's salts, frames
_CHECK_BYTES = 8
_LOG_HEADER = struct.Struct(">4sIII8sII")  # magic, format, page, sequence, salts, checksum
_FRAME_HEADER_BYTES = 24
_MAGICS = {b"\x37\x7f\x06\x82": "<u4", b"\x37\x7f\x06\x83": ">u4"}
_FRAMES_AT_ONCE = 1024
# Of the WAL-index (www.sqlite.org/walformat.html): it begins with two copies of 48 bytes.
_ABOUT_BYTES = 48
_ABOUT_FRAMES = struct.Struct("=I")
_ABOUT_FRAMES_AT, _ABOUT_SALTS_AT = 16, 32


class LogMark:
    """The note beside one log that is in use. Any thread.

    Guarded by ``_lock``: what the file says, and the log's being cut.
    """

    def __init__(self, index: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._lock = threading.Lock()
        self._path = index.with_name(index.name + SUFFIX)
        self._fd = os.open(self._path, flags, 0o600)
        self._about = os.open(f"{index}-shm", os.O_RDONLY | os.O_CLOEXEC)

    def frames(self) -> tuple[bytes, int] | None:
        """Salts of the log and its frames, to be asked before a sync; None while it changes."""
        about = os.pread(self._about, 2 * _ABOUT_BYTES, 0)
        if len(about) < 2 * _ABOUT_BYTES or about[:_ABOUT_BYTES] != about[_ABOUT_BYTES:]:
            return None
        (frames,) = _ABOUT_FRAMES.unpack_from(about, _ABOUT_FRAMES_AT)
        return about[_ABOUT_SALTS_AT : _ABOUT_SALTS_AT + 8], frames

    def note(self, synced: tuple[bytes, int] | None) -> None:
        """Note that a sync that began after ``synced`` was asked for came to its end."""
        if synced is None or not synced[1]:  # a log that was just cut has not even a header
            return
        with self._lock, suppress(OSError):  # a full disk: then nothing is noted
            now = self.frames()
            if now is not None and now[0] == synced[0] and now[1] >= synced[1]:
                noted = _NOTE.pack(*synced)
                os.pwrite(self._fd, noted + _check(noted), 0)

    @contextmanager
    def cutting(self) -> Iterator[None]:
        """The log is cut inside, so nothing is noted of it any more. Blocks. Raises OSError."""
        with self._lock:
            os.ftruncate(self._fd, 0)
            os.fdatasync(self._fd)
            yield

    def close(self) -> None:
        """After the log is closed; where nothing is noted, nothing stays."""
        with suppress(OSError):
            if not os.fstat(self._fd).st_size:
                self._path.unlink(missing_ok=True)
        os.close(self._fd)
        os.close(self._about)


def lost_of_log(index: Path) -> str | None:
    """What is missing of the log that a sync promised; None if it is all there. Blocks."""
    try:
        content = index.with_name(index.name + SUFFIX).read_bytes()
    except OSError:
        return None
    noted = content[: _NOTE.size]
    if len(content) != _NOTE.size + _CHECK_BYTES or content[_NOTE.size :] != _check(noted):
        return None
    salts, frames = _NOTE.unpack(noted)
    if not frames:
        return None
    try:
        with index.with_name(index.name + "-wal").open("rb") as log:
            return _lost(log.fileno(), salts, frames)
    except OSError as error:
        return f"its log cannot be read: {error.strerror}"


def _lost(log: int, salts: bytes, frames: int) -> str | None:
    head = os.pread(log, _LOG_HEADER.size, 0)
    if len(head) < _LOG_HEADER.size or head[:4] not in _MAGICS:
        return "its log is damaged at its beginning"
    _, _, page_bytes, _, salts_there, *state = _LOG_HEADER.unpack(head)
    order = _MAGICS[head[:4]]
    summed = _sums(np.frombuffer(head[:24], order)[None, :])[0]
    if summed.tolist() != state or not 512 <= page_bytes <= 65536:
        return "its log is damaged at its beginning"
    if salts_there != salts:  # it was copied to the index, and is written from its start again
        return None
    there = _whole_frames(log, page_bytes, salts, summed, order, frames)
    if there < frames:
        return f"its log is damaged in frame {there + 1}, of {frames} that were synced"
    return None


def _whole_frames(
    log: int, page_bytes: int, salts: bytes, state: np.ndarray, order: str, most: int
) -> int:
    """How many frames, from the first on, check out."""
    size, whole = _FRAME_HEADER_BYTES + page_bytes, 0
    for content in _pieces(log, size, most):
        frames = np.frombuffer(content, np.uint8).reshape(-1, size)
        words = np.concatenate([frames[:, :8], frames[:, _FRAME_HEADER_BYTES:]], axis=1)
        told = np.ascontiguousarray(frames[:, 16:24]).view(">u4").astype(np.uint32)
        before = np.concatenate([state[None, :], told[:-1]])
        sums = _sums(np.ascontiguousarray(words).view(order).astype(np.uint32), before)
        good = (sums == told).all(axis=1)
        good &= (frames[:, 8:16] == np.frombuffer(salts, np.uint8)).all(axis=1)
        if not good.all():
            return whole + int(np.argmin(good))
        whole, state = whole + len(frames), told[-1]
    return whole


def _pieces(log: int, size: int, most: int) -> Iterator[bytes]:
    """Whole frames, some at a time."""
    done = 0
    while done < most:
        count = min(_FRAMES_AT_ONCE, most - done)
        content = os.pread(log, count * size, _LOG_HEADER.size + done * size)
        content = content[: len(content) // size * size]
        if not content:
            return
        yield content
        done += len(content) // size


def _sums(words: np.ndarray, before: np.ndarray | None = None) -> np.ndarray:
    """SQLite's checksum of each row of ``words`` (uint32, in pairs), from two sums ``before``.

    For each pair (x, y): s += x + t, then t += y + s. That is linear, so a row's sums are
    those of its pairs, each times how often it is added up until the end.
    """
    pairs = words.shape[1] // 2
    weights = np.empty((pairs + 1, 2, 2), np.uint32)  # powers of ((1, 1), (1, 2))
    weights[0] = np.eye(2, dtype=np.uint32)
    step = np.array([[1, 1], [1, 2]], np.uint32)
    for at in range(pairs):
        weights[at + 1] = step @ weights[at]
    x, y = words[:, 0::2].astype(np.uint32), words[:, 1::2].astype(np.uint32)
    added = np.stack([x, x + y], axis=2)  # what a pair adds to s and t
    sums = np.einsum("ijk,fik->fj", weights[:pairs][::-1], added)
    if before is not None:
        sums = sums + before.astype(np.uint32) @ weights[pairs].T
    summed: np.ndarray = sums.astype(np.uint32)
    return summed


def _check(noted: bytes) -> bytes:
    return hashlib.sha256(noted).digest()[:_CHECK_BYTES]
