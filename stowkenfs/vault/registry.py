"""The registry: substrings and dictionaries, which frames refer to by number."""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from typing import Any, cast

import anyio
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import BlockPlace, Catalogue
from stowkenfs.index.connection import Connection
from stowkenfs.store.api import PackStore
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.packs import PackedBlock, PackWriter, Tier
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.registry_blocks import (
    REGISTRY_KINDS,
    Range,
    RegistryItems,
    SubstringEntry,
    cut_entries,
    decode_entry,
    entry_id,
    pack_registry,
    ranges_of,
)
from stowkenfs.vault.registry_choices import Choices, ChoicesContent
from stowkenfs.vault.unpacked import encode_ranges

log = logging.getLogger(__name__)

ACTIVE_DICTIONARY = "active dictionary"
"""The setting with the number of the dictionary that new frames may refer to."""

NANOSECONDS = 1_000_000_000

Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class SubstringInfo:
    """A run of token ids that frames may refer to.

    ``id``: SHA-256 of its entry; ``length`` in tokens; ``created_at`` in seconds since 1970;
    ``source_occurrences``: how often the samples had it that it was found in.
    """

    id: str
    length: int
    created_at: float
    source_occurrences: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class DictionaryInfo:
    """A trained dictionary. ``id``: its SHA-256; ``created_at`` in seconds since 1970.

    ``is_active``: whether new frames may refer to it, which one at most is.
    """

    id: str
    created_at: float
    sample_count: int
    size_bytes: int
    is_active: bool

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is remembered of an entry. ``stored_bytes``: its share of its block, as stored.

    ``length`` and ``occurrences`` are of a substring, the rest is of a dictionary: ``gain`` is by
    how much frames become smaller, 0.2 of a fifth, of samples that it had not seen.
    """

    number: int
    id: str
    created_ns: int
    size_bytes: int
    stored_bytes: float
    length: int = 0
    occurrences: int = 0
    sample_count: int = 0
    gain: float = 0.0


class Registry:
    """All entries, by kind and number, and what new frames may refer to of them.

    Event loop's thread, but where a method says so. Only jobs change it, one at a time.
    ``_entries`` is None until they were looked at. ``_withdrawn``: substrings that nothing new
    may refer to. ``_choices`` is right as long as ``_is_current``.
    """

    def __init__(
        self,
        connection: Connection,
        catalogue: Catalogue,
        reader: Reader,
        store: PackStore,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._catalogue = catalogue
        self._reader = reader
        self._store = store
        self._clock = clock
        self._entries: dict[BlockKind, dict[int, Entry]] | None = None
        self._withdrawn: set[int] = set()
        self._choices: Choices | None = None
        self._is_current = False
        self._version = 0
        self._loading = anyio.Lock()

    # What there is

    async def load(self) -> None:
        """Look at all entries, if that was not done; damaged ones are told, and left out."""
        if self._entries is None and not self._is_empty():
            loaded = await anyio.to_thread.run_sync(self._load)
            if self._entries is None:
                self._entries = loaded

    def forget(self) -> None:
        """Look at all entries again: the rows that say where they are were made anew."""
        self._entries = None
        self._changed()

    def entries(self, kind: BlockKind) -> dict[int, Entry]:
        """``{number: entry}`` of what can be read."""
        if self._entries is None:
            self._entries = self._load()
        return self._entries[kind]

    @property
    def active(self) -> int | None:
        """Number of the active dictionary."""
        number = self._catalogue.setting(ACTIVE_DICTIONARY)
        return number if number in self.entries(BlockKind.DICTIONARIES) else None

    def substrings(self) -> list[SubstringInfo]:
        """By number. Any thread, once they were looked at."""
        entries = list(self.entries(BlockKind.SUBSTRINGS).values())
        return [info_of_substring(one) for one in entries]

    def dictionaries(self) -> list[DictionaryInfo]:
        """By number, the oldest first."""
        entries, active = self.entries(BlockKind.DICTIONARIES), self.active
        return [info_of_dictionary(one, active) for one in entries.values()]

    def stored_bytes(self, kind: BlockKind, numbers: Iterable[int]) -> int:
        """Bytes in packs of these entries, about: their shares of their blocks."""
        entries = self.entries(kind)
        return round(sum(entries[one].stored_bytes for one in numbers if one in entries))

    def _is_empty(self) -> bool:
        return not any(self._catalogue.places(kind) for kind in REGISTRY_KINDS)

    def _load(self) -> dict[BlockKind, dict[int, Entry]]:
        """Any thread."""
        loaded: dict[BlockKind, dict[int, Entry]] = {}
        for kind in REGISTRY_KINDS:
            loaded[kind] = {}
            for rows in self._blocks(kind):
                try:
                    loaded[kind].update(self._load_block(kind, rows))
                except Corrupt as error:
                    log.warning("what is in it of the registry is not used: %s", error)
        return loaded

    def _blocks(self, kind: BlockKind) -> list[list[BlockPlace]]:
        """Rows of each block of a kind, by number. Any thread."""
        rows = self._catalogue.places(kind)
        return [list(some) for _, some in groupby(rows, lambda row: (row.pack, row.offset_bytes))]

    def _load_block(self, kind: BlockKind, rows: Sequence[BlockPlace]) -> dict[int, Entry]:
        items, numbered = self._entries_in(rows)
        total = sum(len(content) for _, content in numbered)
        share = rows[0].stored_bytes / max(total, 1)
        return {
            number: _entry(kind, number, content, items.created_ns, share * len(content))
            for number, content in numbered
        }

    def _entries_in(
        self, rows: Sequence[BlockPlace]
    ) -> tuple[RegistryItems, list[tuple[int, bytes]]]:
        """Number and content of what is in a block. Any thread. Raises Corrupt."""
        items = cast("RegistryItems", self._reader.unpacked(rows[0]).items)
        return items, [
            (row.first + at, items.entry(row.skip + at)) for row in rows for at in range(row.count)
        ]

    # What new frames may refer to

    async def choices(self) -> Choices | None:
        """What new frames may refer to, None for nothing. Inside ``Ingest.passages``."""
        if self._is_current:
            return self._choices
        async with self._loading:
            while not self._is_current:
                await self.load()
                version = self._version
                substrings = [
                    number
                    for number in self.entries(BlockKind.SUBSTRINGS)
                    if number not in self._withdrawn
                ]
                active = self.active
                choices = None
                if substrings or active is not None:
                    choices = await anyio.to_thread.run_sync(self._make, substrings, active)
                if version == self._version:
                    self._choices, self._is_current = choices, True
        return self._choices

    def _make(self, substrings: Sequence[int], active: int | None) -> Choices | None:
        """A thread's."""
        found = [(number, self._content(BlockKind.SUBSTRINGS, number)) for number in substrings]
        there = tuple((number, content) for number, content in found if content is not None)
        dictionary = None if active is None else self._content(BlockKind.DICTIONARIES, active)
        content = ChoicesContent(
            there, None if active is None or dictionary is None else (active, dictionary)
        )
        try:
            return Choices.of(content) if content else None
        except Corrupt as error:
            log.warning("new frames refer to nothing: %s", error)
            return None

    def _content(self, kind: BlockKind, number: int) -> bytes | None:
        try:
            return self._reader.registry_entry(kind, number)
        except Corrupt as error:
            log.warning("new frames do not refer to it: %s", error)
            return None

    def _changed(self) -> None:
        self._version += 1
        self._is_current = False

    def withdraw(self, substrings: Collection[int]) -> None:
        """Let nothing refer to these that begins to be encoded from now on; none ends it."""
        if self._withdrawn != set(substrings):
            self._withdrawn = set(substrings)
            self._changed()

    def activate(self, number: int | None) -> None:
        """Make a dictionary the one that new frames may refer to; None for no dictionary."""
        self._catalogue.set_setting(ACTIVE_DICTIONARY, number)
        self._changed()

    # Changes

    async def add(self, kind: BlockKind, contents: Sequence[bytes]) -> list[Entry]:
        """Store entries that are not there yet; findable, and durable with the index.

        Raises OSError, and Corrupt where they do not read back; nothing was added then.
        """
        await self.load()
        known = {entry.id for entry in self.entries(kind).values()}
        new = await anyio.to_thread.run_sync(_by_id, kind, contents)
        fresh = [content for name, content in new.items() if name not in known]
        if not fresh:
            return []
        first = self._catalogue.reserve(kind, len(fresh))
        created_ns = self._clock()
        blocks = await anyio.to_thread.run_sync(_packed, kind, created_ns, first, fresh)
        writer = PackWriter(self._catalogue, self._store, Tier.DENSE)
        places = await writer.write(blocks)
        added: dict[int, Entry] = {}
        for place in places:  # from the disk, before anything may refer to them
            added |= await anyio.to_thread.run_sync(self._load_block, kind, [place])
        self._catalogue.add_blocks(places, PackWriter.pack_length(places), writer.tier)
        self._catalogue.refresh()
        self.entries(kind).update(added)
        self._changed()
        return list(added.values())

    async def drop(self, kind: BlockKind, numbers: Collection[int]) -> int:
        """Let go of entries that nothing refers to, nor will; how many bytes fewer there are.

        What else is in their blocks keeps its numbers. Nobody reads frames any more that
        referred to them: the caller has drained both passages. Blocks that are damaged stay.
        """
        gone = set(numbers) - ({self.active} if kind is BlockKind.DICTIONARIES else set())
        thin = await anyio.to_thread.run_sync(self._thinned, kind, gone)
        if not thin:
            return 0
        writer = PackWriter(self._catalogue, self._store, Tier.DENSE)
        blocks = [block for _, block, _ in thin if block is not None]
        places = iter(written := await writer.write(blocks) if blocks else [])
        before = sum(rows[0].stored_bytes for rows, _, _ in thin)
        with self._connection.transaction():
            for rows, block, ranges in thin:
                self._catalogue.drop_blocks(kind, [row.first for row in rows])
                if block is not None:
                    new = rows_of(next(places), ranges)
                    length = PackWriter.pack_length(written)
                    self._catalogue.add_blocks(new, length, writer.tier)
        self._catalogue.refresh()
        self._changed()
        entries = self.entries(kind)
        for number in gone:  # at once: what follows may be cancelled
            entries.pop(number, None)
        self._entries = await anyio.to_thread.run_sync(self._load)
        return before - sum(place.stored_bytes for place in written)

    def _thinned(
        self, kind: BlockKind, gone: Collection[int]
    ) -> list[tuple[list[BlockPlace], PackedBlock | None, list[Range]]]:
        """Rows of each block that holds some of ``gone``, and what takes its place."""
        out: list[tuple[list[BlockPlace], PackedBlock | None, list[Range]]] = []
        for rows in self._blocks(kind):
            if not any(row.first + at in gone for row in rows for at in range(row.count)):
                continue
            try:
                items, numbered = self._entries_in(rows)
            except Corrupt as error:
                log.warning("it stays as it is: %s", error)
                continue
            left = [(number, content) for number, content in numbered if number not in gone]
            if not left:
                out.append((rows, None, []))
                continue
            numbers = [number for number, _ in left]
            ranges = ranges_of(numbers)
            contents = [content for _, content in left]
            head = encode_ranges(ranges)
            block = pack_registry(kind, items.created_ns, numbers, contents, head)
            out.append((rows, block, ranges))
        return out


def rows_of(place: BlockPlace, ranges: Sequence[Range]) -> list[BlockPlace]:
    """The rows of a block at ``place`` that holds ``ranges`` of numbers."""
    rows, skip = [], 0
    for first, count in ranges:
        rows.append(
            BlockPlace(
                place.kind, first, count, place.pack, place.offset_bytes, place.stored_bytes,
                place.raw_bytes, place.content_bytes if not skip else 0, skip, place.layout,
                place.base, place.brings_bytes if not skip else 0,
            )
        )  # fmt: skip
        skip += count
    return rows


def _by_id(kind: BlockKind, contents: Sequence[bytes]) -> dict[str, bytes]:
    return {entry_id(kind, content): content for content in contents}


def _packed(
    kind: BlockKind, created_ns: int, first: int, contents: Sequence[bytes]
) -> list[PackedBlock]:
    blocks = []
    for group in cut_entries(contents):
        numbers = range(first, first + len(group))
        blocks.append(pack_registry(kind, created_ns, numbers, group, b""))
        first += len(group)
    return blocks


def _entry(
    kind: BlockKind, number: int, content: bytes, created_ns: int, stored_bytes: float
) -> Entry:
    found = decode_entry(kind, content)
    about = Entry(number, entry_id(kind, content), created_ns, len(found.content), stored_bytes)
    if isinstance(found, SubstringEntry):
        length = len(found.segment().tokens)
        return replace(about, length=length, occurrences=found.occurrences)
    samples = found.load().sample_count
    gain = 1 - found.heldout_after / found.heldout_before if found.heldout_before else 0.0
    return replace(about, sample_count=samples, gain=gain)


def info_of_substring(entry: Entry) -> SubstringInfo:
    created_at = entry.created_ns / NANOSECONDS
    return SubstringInfo(entry.id, entry.length, created_at, entry.occurrences)


def info_of_dictionary(entry: Entry, active: int | None) -> DictionaryInfo:
    created_at = entry.created_ns / NANOSECONDS
    is_active = entry.number == active
    return DictionaryInfo(entry.id, created_at, entry.sample_count, entry.size_bytes, is_active)
