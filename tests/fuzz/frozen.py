"""What the frozen vaults hold, as seeds, and as what decoders may refer to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.errors import Corrupt, FrameCorrupt
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import Segment
from stowkenfs.ids import PackNo
from stowkenfs.minimal_zstd import Base
from stowkenfs.store.block import Block, BlockKind, Layout, decode_block
from stowkenfs.store.local import LocalStore
from stowkenfs.vault.codebooks import decode_entry
from stowkenfs.vault.registry_blocks import DictionaryEntry, RegistryItems, SubstringEntry
from stowkenfs.vault.reindex.scan import Whole, walk
from stowkenfs.vault.unpacked import Segments, Templates, Unpacked, decode_ranges, unpack

T = TypeVar("T")

VAULTS = Path(__file__).parent.parent / "vaults"


@dataclass
class Things:
    """What blocks refer to by number; the FrameResources of a test, too."""

    templates: dict[int, bytes] = field(default_factory=dict)
    codebooks: dict[int, Codebook] = field(default_factory=dict)
    segments: dict[int, Segment] = field(default_factory=dict)
    substrings: dict[int, Segment] = field(default_factory=dict)
    dictionaries: dict[int, Dictionary] = field(default_factory=dict)

    def template(self, number: int) -> bytes:
        return _found(self.templates, number)

    def layout(self, number: int) -> TemplateLayout:
        return layout_of_template(self.template(number))

    def codebook(self, number: int) -> Codebook:
        return _found(self.codebooks, number)

    def canonical(self, number: int, below: int = 1) -> Segment:
        return _found(self.segments, number)

    def substring(self, number: int) -> Segment:
        return _found(self.substrings, number)

    def dictionary(self, number: int) -> Dictionary:
        return _found(self.dictionaries, number)

    def unpack(self, block: Block) -> Unpacked:
        return unpack(block, self.layout, self.codebook, self)


def _found(numbered: dict[int, T], number: int) -> T:
    if number not in numbered:
        raise FrameCorrupt(f"{number} is not there")
    return numbered[number]


@cache
def frozen_packs(version: str = "v4") -> dict[PackNo, list[bytes]]:
    """The blocks of each pack as they lie there."""
    store = LocalStore(VAULTS / version / "vault" / "packs", read_only=True)
    return {
        pack: [found.content for found in walk(store, pack, length) if isinstance(found, Whole)]
        for pack, length in store.packs()
    }


@cache
def frozen_blocks(version: str = "v4") -> tuple[Block, ...]:
    """All blocks, unpacked, in the order in which they lie."""
    bases: dict[tuple[BlockKind, int], bytes] = {}
    contents = [content for pack in frozen_packs(version).values() for content in pack]

    def base_for(kind: BlockKind, number: int) -> Base:
        if (kind, number) not in bases:
            raise Corrupt("no base")
        return Base(bases[kind, number])

    blocks: dict[int, Block] = {}
    for _ in range(2):  # a base may lie behind what refers to it
        for place, content in enumerate(contents):
            try:
                block = blocks[place] = decode_block(content, PackNo(1), 0, base_for)
            except Corrupt:
                continue
            for first, count in _ranges(block):
                bases.update({(block.kind, first + at): block.payload for at in range(count)})
    return tuple(block for _, block in sorted(blocks.items()))


def _ranges(block: Block) -> list[tuple[int, int]]:
    return decode_ranges(block)[0] if block.layout is Layout.DENSE else []


@cache
def frozen_things(version: str = "v4") -> Things:
    """What the blocks of a frozen vault hold, what lies last where numbers come twice."""
    things = Things()
    for kind, take in _TAKERS:
        for block in frozen_blocks(version):
            if block.kind is kind:
                unpacked = things.unpack(block)
                numbers = [
                    n for first, count in unpacked.ranges for n in range(first, first + count)
                ]
                for at, number in enumerate(numbers):
                    take(things, unpacked, at, number)
    return things


def _take_template(things: Things, unpacked: Unpacked, at: int, number: int) -> None:
    assert isinstance(unpacked.items, Templates)
    things.templates[number] = unpacked.items.items.templates[at]


def _take_codebook(things: Things, unpacked: Unpacked, at: int, number: int) -> None:
    assert isinstance(unpacked.items, Templates)
    things.codebooks[number] = decode_entry(unpacked.items.items.templates[at]).codebook


def _take_substring(things: Things, unpacked: Unpacked, at: int, number: int) -> None:
    assert isinstance(unpacked.items, RegistryItems)
    things.substrings[number] = SubstringEntry.decode(unpacked.items.entry(at)).segment()


def _take_dictionary(things: Things, unpacked: Unpacked, at: int, number: int) -> None:
    assert isinstance(unpacked.items, RegistryItems)
    things.dictionaries[number] = DictionaryEntry.decode(unpacked.items.entry(at)).load()


def _take_segment(things: Things, unpacked: Unpacked, at: int, number: int) -> None:
    items: Segments = unpacked.items  # type: ignore[assignment]
    try:
        things.segments[number] = items.segment(at)
    except FrameCorrupt:  # a delta against one that lies behind it
        things.segments.pop(number, None)


Taker = Callable[[Things, Unpacked, int, int], None]
_TAKERS: tuple[tuple[BlockKind, Taker], ...] = (
    (BlockKind.TEMPLATES, _take_template),
    (BlockKind.CODEBOOKS, _take_codebook),
    (BlockKind.SUBSTRINGS, _take_substring),
    (BlockKind.DICTIONARIES, _take_dictionary),
    (BlockKind.SEGMENTS, _take_segment),
)
