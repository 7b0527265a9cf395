"""Codebooks as things of a vault (FORMAT.md, "Codebooks").

``entry := varint segments_base, varint records_base, codebook``; the bases are numbers of a
segment and a record in the blocks that others of the group were compressed against, plus one;
0 where there is none. They are what a later compaction goes on with; reading needs them not.
"""

from dataclasses import dataclass
from typing import NamedTuple

from stowkenfs.frames.codebook import Codebook
from stowkenfs.varint import append_varint, read_varint


@dataclass(frozen=True, slots=True)
class CodebookEntry:
    """A codebook and the bases that go with it."""

    codebook: Codebook
    segments_base: int | None = None
    records_base: int | None = None


class CodebookIn(NamedTuple):
    """A codebook that exists, and the blocks of its bases as they lie in their packs."""

    number: int
    entry: bytes
    segments_base: bytes | None
    records_base: bytes | None


def encode_entry(entry: CodebookEntry) -> bytes:
    out = bytearray()
    for base in (entry.segments_base, entry.records_base):
        append_varint(out, 0 if base is None else base + 1)
    return bytes(out) + entry.codebook.encode()


def decode_entry(content: bytes) -> CodebookEntry:
    """Inverse of ``encode_entry``. Raises Corrupt."""
    segments, at = read_varint(content, 0)
    records, at = read_varint(content, at)
    return CodebookEntry(
        Codebook.decode(content[at:]),
        segments - 1 if segments else None,
        records - 1 if records else None,
    )
