"""Blocks of the registry: what frames refer to by number (FORMAT.md, "Payloads").

``registry := varint created_ns, column entry_sizes, entry{n}``, of substrings and dictionaries
alike. The time is the block's, so that an entry has the same bytes whenever it was made.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.substrings import decode_substring
from stowkenfs.store.block import Block, BlockKind, Layout, encode_dense_block
from stowkenfs.varint import append_varint, read_varint
from stowkenfs.vault.packs import PackedBlock
from stowkenfs.vault.payloads import TemplateItems, decode_templates, encode_templates

REGISTRY_KINDS = (BlockKind.SUBSTRINGS, BlockKind.DICTIONARIES)

ENTRIES_BYTES_MAX = 1 << 20
"""Entries in one block, about: dropping one of them writes the others anew."""

REGISTRY_LEVEL = 19

Range = tuple[int, int]
"""First number and count."""


@dataclass(frozen=True, slots=True)
class RegistryItems:
    """A block of the registry: its entries, and when they were made."""

    created_ns: int
    entries: TemplateItems

    @property
    def cost_bytes(self) -> int:
        return self.entries.cost_bytes

    def __len__(self) -> int:
        return len(self.entries.templates)

    def entry(self, at: int) -> bytes:
        return self.entries.templates[at]


def encode_registry(created_ns: int, entries: Sequence[bytes]) -> bytes:
    """The payload of entries that were made at a time."""
    out = bytearray()
    append_varint(out, created_ns)
    return bytes(out) + encode_templates(entries)


def decode_registry(payload: bytes, count: int) -> RegistryItems:
    """Inverse of ``encode_registry``. Raises Corrupt."""
    created_ns, at = read_varint(payload, 0)
    return RegistryItems(created_ns, decode_templates(payload[at:], count))


def pack_registry(
    kind: BlockKind, created_ns: int, numbers: Sequence[int], entries: Sequence[bytes], head: bytes
) -> PackedBlock:
    """The block of ``entries``; ``head`` is what a sparse one begins with, else nothing."""
    layout = Layout.SPARSE if head else Layout.PLAIN
    payload = head + encode_registry(created_ns, entries)
    block = Block(kind, numbers[0], len(numbers), payload, layout)
    encoded = encode_dense_block(block, level=REGISTRY_LEVEL, base=None)
    return PackedBlock(kind, numbers[0], len(numbers), len(payload), 0, encoded, layout)


def cut_entries(entries: Sequence[bytes]) -> list[Sequence[bytes]]:
    """Entries in groups of about ENTRIES_BYTES_MAX, each a block's."""
    groups: list[Sequence[bytes]] = []
    start = size = 0
    for at, entry in enumerate(entries, 1):
        size += len(entry)
        if size >= ENTRIES_BYTES_MAX or at == len(entries):
            groups.append(entries[start:at])
            start, size = at, 0
    return groups


def ranges_of(numbers: Iterable[int]) -> list[Range]:
    """Ascending numbers as ranges."""
    ranges: list[Range] = []
    for number in numbers:
        if ranges and sum(ranges[-1]) == number:
            ranges[-1] = ranges[-1][0], ranges[-1][1] + 1
        else:
            ranges.append((number, 1))
    return ranges


@dataclass(frozen=True, slots=True)
class SubstringEntry:
    """A substring as a thing of a vault: ``entry := varint occurrences, substring``."""

    substring: bytes
    occurrences: int

    @property
    def content(self) -> bytes:
        return self.substring

    def encode(self) -> bytes:
        out = bytearray()
        append_varint(out, self.occurrences)
        return bytes(out) + self.substring

    @classmethod
    def decode(cls, entry: bytes) -> "SubstringEntry":
        """Inverse of ``encode``; the ids are not looked at. Raises Corrupt."""
        occurrences, at = read_varint(entry, 0)
        return cls(entry[at:], occurrences)

    def segment(self) -> Segment:
        """The run of ids. Raises Corrupt."""
        return decode_substring(self.substring)


@dataclass(frozen=True, slots=True)
class DictionaryEntry:
    """A dictionary as a thing of a vault, and what its training found.

    ``entry := varint heldout_before, varint heldout_after, dictionary``: bytes of frames without
    and with it, of samples that it had not seen.
    """

    dictionary: bytes
    heldout_before: int
    heldout_after: int

    @property
    def content(self) -> bytes:
        return self.dictionary

    def encode(self) -> bytes:
        out = bytearray()
        append_varint(out, self.heldout_before)
        append_varint(out, self.heldout_after)
        return bytes(out) + self.dictionary

    @classmethod
    def decode(cls, entry: bytes) -> "DictionaryEntry":
        """Inverse of ``encode``; the dictionary is not looked at. Raises Corrupt."""
        before, at = read_varint(entry, 0)
        after, at = read_varint(entry, at)
        return cls(entry[at:], before, after)

    def load(self) -> Dictionary:
        """The dictionary, ready for use. Raises Corrupt."""
        return Dictionary.decode(self.dictionary)


def decode_entry(kind: int, entry: bytes) -> SubstringEntry | DictionaryEntry:
    """What an entry of ``kind`` says. Raises Corrupt."""
    if kind == BlockKind.SUBSTRINGS:
        return SubstringEntry.decode(entry)
    return DictionaryEntry.decode(entry)


def check_entry(kind: int, entry: bytes) -> None:
    """Raises Corrupt unless ``entry`` can be used by frames."""
    found = decode_entry(kind, entry)
    if isinstance(found, SubstringEntry):
        found.segment()
    else:
        found.load()


def entry_id(kind: int, entry: bytes) -> str:
    """SHA-256 of the substring or dictionary itself, in hexadecimal. Raises Corrupt."""
    return content_id(decode_entry(kind, entry).content)


def content_id(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
