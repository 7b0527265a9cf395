"""What goes to the process that makes dense blocks, and what comes back: bytes and tuples."""

from dataclasses import dataclass, field
from typing import NamedTuple

from stowkenfs.vault.codebooks import CodebookIn
from stowkenfs.vault.packs import PackedBlock


@dataclass(frozen=True, slots=True)
class CompactOptions:
    """How dense blocks are made; see docs/DESIGN.md for what was measured. Sizes in bytes.

    Attributes:
        level: zstd level.
        segment_block_bytes, record_block_bytes, template_block_bytes: a block is closed when
            its encoded items reach this.
        chunk_bytes: text between two looks at whether a codebook of its own pays.
        batch_bytes, batch_bytes_max: text from which a batch ends where its folder does, and
            where it ends in any case.
        sampled_base_blocks: groups of at least this many blocks have a base that is a sample
            of the whole group, not its beginning.
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


class RecordIn(NamedTuple):
    """A record to move: its number, length and key, and its body as stored."""

    number: int
    length: int
    key: int
    body: bytes


@dataclass(slots=True)
class BatchIn:
    """Neighbouring documents to compact together.

    Numbers are those that things have now; ``first_*`` are free ones for what they become.
    ``moved_*``: things that were moved already, ``{old: new}``. ``known_templates``: content
    of templates that stay, by number.
    """

    options: CompactOptions
    records: list[RecordIn] = field(default_factory=list)
    chunk_ends: list[int] = field(default_factory=list)  # positions in ``records``
    segments: dict[int, bytes] = field(default_factory=dict)  # {number: frame}
    moved_segments: dict[int, int] = field(default_factory=dict)
    templates: dict[int, bytes] = field(default_factory=dict)
    moved_templates: dict[int, int] = field(default_factory=dict)
    known_templates: dict[int, bytes] = field(default_factory=dict)
    codebooks: list[CodebookIn] = field(default_factory=list)
    first_record: int = 0
    first_segment: int = 0
    first_template: int = 0
    first_codebook: int = 0


@dataclass(slots=True)
class BatchOut:
    """The blocks of a batch, referred-to things first, and what became of the numbers.

    Record ``i`` of the batch has the number ``first_record + i``. ``segments`` and
    ``templates`` are old numbers in the order of their new ones, without gaps.
    """

    blocks: list[PackedBlock]
    segments: list[int]
    templates: list[int]
    codebooks: list[bytes]  # entries, in the order of their numbers
    groups: int
