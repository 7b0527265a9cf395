"""The journal: changes of the tree that the database does not have yet (FORMAT.md, "Journal").

An entry is in the kernel's hands when ``append`` returns, so it survives the process. Power
cuts are not its business: what has to survive them is written to the database, and synced
there. Once the database has all entries, the file is written from its start again; numbers
that go on tell new entries from old ones, and a number of the database's own tells them from
entries for another one.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NAME = "journal"
"""The file, in the vault's directory."""
MAGIC = b"STKNJRNL"
ROOM_BYTES = 256 << 10
"""Blocks of the disk that it has from the beginning, so that no entry meets a full one."""

_HEADER = struct.Struct("<8sQ")
_ENTRY = struct.Struct("<IIQ")


class Journal:
    """A journal to write to. Event loop's thread.

    ``number`` is that of the last entry. ``has_room`` is whether it got its blocks: one
    without them is not to be used.
    """

    def __init__(self, path: Path, database: int, number: int) -> None:
        self._path = path
        self._database = database
        self.number = number
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        self._end = _HEADER.size
        self.has_room = True
        try:
            os.posix_fallocate(self._fd, 0, ROOM_BYTES)
        except OSError:
            self.has_room = False
            os.ftruncate(self._fd, 0)  # it may have got some, which others need
        else:
            os.pwrite(self._fd, _HEADER.pack(MAGIC, database), 0)

    def fits(self, content: bytes | bytearray) -> bool:
        return self.has_room and self._end + _ENTRY.size + len(content) <= ROOM_BYTES

    def append(self, content: bytes | bytearray) -> None:
        """One more entry, which survives the process on return. Raises OSError."""
        number = self.number + 1
        checksum = _checksum(self._database, number, content)
        entry = _ENTRY.pack(len(content), checksum, number) + content
        if os.pwrite(self._fd, entry, self._end) != len(entry):
            raise OSError(5, "the journal takes no more bytes")  # which has its blocks
        self._end += len(entry)
        self.number = number

    def begin_anew(self) -> None:
        """The database has all entries, and a number of its own after them."""
        self._end = _HEADER.size
        self.number += 1

    def close(self, *, remove: bool) -> None:
        """``remove`` it where the database has everything."""
        os.close(self._fd)
        if remove:
            with suppress(OSError):
                self._path.unlink()


def entries(path: Path, database: int, after: int) -> Iterator[bytes]:
    """Entries for the numbered database that follow number ``after``, up to the first gap.

    Memory: the file, which has at most ROOM_BYTES.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    with os.fdopen(fd, "rb") as file:
        content = file.read(ROOM_BYTES)
    if len(content) < _HEADER.size or _HEADER.unpack_from(content) != (MAGIC, database):
        return
    at = _HEADER.size
    while at + _ENTRY.size <= len(content):
        length, checksum, number = _ENTRY.unpack_from(content, at)
        at += _ENTRY.size
        entry = content[at : at + length]
        if len(entry) != length or _checksum(database, number, entry) != checksum:
            return
        if number == after + 1:
            yield entry
            after = number
        elif number > after:
            return
        at += length


def has_entries(path: Path) -> bool:
    """Whether there may be any, for whichever database."""
    try:
        with path.open("rb") as file:
            return len(file.read(_HEADER.size + 1)) > _HEADER.size
    except OSError:
        return False


def _checksum(database: int, number: int, content: bytes | bytearray) -> int:
    return zlib.crc32(content, zlib.crc32(_HEADER.pack(database.to_bytes(8, "little"), number)))
