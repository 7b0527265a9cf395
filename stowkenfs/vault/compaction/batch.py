"""What goes to the process that makes dense blocks, and what comes back.

Few objects, however many things they are of: they are pickled in the event loop's thread.
"""

from array import array
from dataclasses import dataclass, field

from stowkenfs.vault.codebooks import CodebookIn
from stowkenfs.vault.compaction.strings import Strings
from stowkenfs.vault.packs import PackedBlock


@dataclass(frozen=True, slots=True)
class CompactOptions:
    """How dense blocks are made; see docs/DESIGN.md for what was measured. Sizes in bytes.

    Attributes:
        level: zstd level.
        segment_block_bytes, record_block_bytes, template_block_bytes: a block is closed when
            its encoded items reach this; of records twice this where a trial says that it pays,
            of templates up to four times where there are many.
        chunk_bytes: text between two looks at whether a codebook of its own pays.
        batch_bytes, batch_bytes_max: text from which a batch ends where its folder does, and
            where it ends in any case.
        sampled_base_blocks: groups of at least this many blocks have a base of half a block,
            for segments a sample of the whole group instead of its beginning.
        own_codebook_gain: by how much a chunk has to become smaller to get its own codebook.
        threads: blocks compressed side by side.

    """

    level: int = 19
    segment_block_bytes: int = 384_000
    record_block_bytes: int = 128_000
    template_block_bytes: int = 64_000
    chunk_bytes: int = 512_000
    batch_bytes: int = 12 << 20
    batch_bytes_max: int = 32 << 20
    sampled_base_blocks: int = 8
    own_codebook_gain: float = 0.1
    threads: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 22:
            raise ValueError("level is a zstd level from 1 to 22")


def integers() -> "array[int]":
    """No numbers yet; 64 bits each, signed."""
    return array("q")


@dataclass(slots=True)
class RecordsIn:
    """Records to move: number, length and key of each, and its body as stored."""

    numbers: "array[int]" = field(default_factory=integers)
    lengths: "array[int]" = field(default_factory=integers)
    keys: "array[int]" = field(default_factory=integers)
    bodies: Strings = field(default_factory=Strings)

    def append(self, number: int, length: int, key: int, body: bytes) -> None:
        self.numbers.append(number)
        self.lengths.append(length)
        self.keys.append(key)
        self.bodies.append(body)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(slots=True)
class SegmentsIn:
    """Segments to move: number of each, and its frame."""

    numbers: "array[int]" = field(default_factory=integers)
    frames: Strings = field(default_factory=Strings)

    def append(self, number: int, frame: bytes) -> None:
        self.numbers.append(number)
        self.frames.append(frame)

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(slots=True)
class BatchIn:
    """Neighbouring documents to compact together.

    Numbers are those that things have now; ``first_*`` are free ones for what they become.
    ``moved_*``: things that were moved already, ``{old: new}``. ``known_templates``: content
    of templates that stay, by number. ``gauge``: name of a Gauge that is told how many bytes of
    records are encoded, about.
    """

    options: CompactOptions
    records: RecordsIn = field(default_factory=RecordsIn)
    chunk_ends: list[int] = field(default_factory=list)  # positions in ``records``
    segments: SegmentsIn = field(default_factory=SegmentsIn)
    moved_segments: dict[int, int] = field(default_factory=dict)
    templates: dict[int, bytes] = field(default_factory=dict)
    moved_templates: dict[int, int] = field(default_factory=dict)
    known_templates: dict[int, bytes] = field(default_factory=dict)
    codebooks: list[CodebookIn] = field(default_factory=list)
    first_record: int = 0
    first_segment: int = 0
    first_template: int = 0
    first_codebook: int = 0
    gauge: str = ""

    def drop_content(self) -> None:
        """Let go of all but numbers, lengths and keys: it is encoded."""
        self.records.bodies = Strings()
        self.segments.frames = Strings()
        self.templates.clear()
        self.known_templates.clear()
        self.codebooks.clear()


@dataclass(slots=True)
class BatchOut:
    """The blocks of a batch, referred-to things first, and what became of the numbers.

    Record ``i`` of the batch has the number ``first_record + i``. ``segments`` are positions in
    the batch, ``templates`` old numbers, both in the order of their new numbers, without gaps.
    """

    blocks: list[PackedBlock]
    segments: "array[int]"
    templates: list[int]
    codebooks: int
    groups: int
