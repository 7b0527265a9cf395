"""Records of a batch as payloads of dense blocks: how many go into one, and what it says."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from stowkenfs.documents.body import Body, BodyValue, References, decode_body
from stowkenfs.documents.dense import DenseRecord, encode_dense_records
from stowkenfs.documents.dense_layout import TemplateLayout, layout_of_template
from stowkenfs.ids import SegmentNo, TemplateNo
from stowkenfs.minimal_zstd import Base, compress
from stowkenfs.vault.compaction.batch import BatchIn
from stowkenfs.vault.compaction.groups import TRIAL_LEVEL
from stowkenfs.vault.unpacked import record_check

LAYOUTS_KEPT = 2000

LARGER_BLOCK_GAIN = 0.06
"""By how much larger blocks have to be smaller, since reading one takes longer."""

RECORD_BYTES = 12
"""What a record takes in a payload beside its body: check and length, about."""

NEVER = 1 << 30


class RecordPayloads:
    """``segment_of`` and ``template_of`` give new numbers for old ones.

    ``contents``: ``{new template: content}``, which grows meanwhile.
    """

    def __init__(
        self,
        batch: BatchIn,
        segment_of: Callable[[int], int],
        template_of: Callable[[int], int],
        contents: Mapping[int, bytes],
    ) -> None:
        self._batch = batch
        self._options = batch.options
        self._segment_of = segment_of
        self._template_of = template_of
        self._contents = contents
        self._layouts: dict[int, TemplateLayout] = {}

    def cut(self, records: range, *, has_base: bool) -> list[range]:
        """Positions in the batch, cut into blocks; the first is a base unless there is one."""
        bodies = self._batch.records.bodies
        sizes = [bodies.size(at) + RECORD_BYTES for at in records]
        halved_from = NEVER if has_base else self._options.sampled_base_blocks
        return [
            records[some.start : some.stop]
            for some in cut_records(sizes, self._block_bytes(sizes, records), halved_from)
        ]

    def _block_bytes(self, sizes: Sequence[int], records: range) -> int:
        """What blocks are cut at: twice the usual where a trial comes out much smaller."""
        usual = self._options.record_block_bytes
        total = sum(sizes)
        if total <= 2 * usual + usual // 4:
            return total  # one block, hardly longer than a block and its base
        tried = cut_records(sizes, 2 * usual, NEVER)[:2]
        costs = [
            trial_bytes(
                self.payload(records[some.start : some.stop])
                for some in cut_records(sizes[: tried[-1].stop], block_bytes, NEVER)
            )
            for block_bytes in (usual, 2 * usual)
        ]
        return 2 * usual if costs[1] < costs[0] * (1 - LARGER_BLOCK_GAIN) else usual

    def payload(self, records: range) -> bytes:
        """The payload, without ranges, of the records at these positions."""
        return encode_dense_records(list(map(self._record, records)), self._layout_of)

    def _record(self, at: int) -> DenseRecord:
        records = self._batch.records
        body = decode_body(records.bodies[at])
        values: list[BodyValue] = [
            value._replace(segments=tuple(SegmentNo(self._segment_of(s)) for s in value.segments))
            if isinstance(value, References)
            else value
            for value in body.values
        ]
        templates = tuple(TemplateNo(self._template_of(number)) for number in body.templates)
        check = record_check(records.keys[at])
        return DenseRecord(records.lengths[at], check, Body(templates, tuple(values)))

    def _layout_of(self, number: TemplateNo) -> TemplateLayout:
        layout = self._layouts.get(number)
        if layout is None:
            if len(self._layouts) >= LAYOUTS_KEPT:
                self._layouts.clear()
            layout = self._layouts[number] = layout_of_template(self._contents[number])
        return layout


def cut_records(sizes: Sequence[int], block_bytes: int, halved_from: int) -> list[range]:
    """Positions in ``sizes`` cut where they reach ``block_bytes``.

    Where that makes ``halved_from`` blocks, the first, their base, is half as long.
    """
    is_halved = sum(sizes) >= block_bytes * halved_from
    ranges: list[range] = []
    start = reached = 0
    for at, size in enumerate(sizes):
        reached += size
        if reached >= (block_bytes // 2 if is_halved and not ranges else block_bytes):
            ranges.append(range(start, at + 1))
            start, reached = at + 1, 0
    if start < len(sizes):
        ranges.append(range(start, len(sizes)))
    return ranges


def trial_bytes(payloads: Iterable[bytes]) -> int:
    """What blocks come to, about, when all are compressed against the first."""
    base: Base | None = None
    total = 0
    for payload in payloads:
        if base is None:
            base = Base(payload)
            total += len(compress(payload, TRIAL_LEVEL))
        else:
            total += len(base.compress(payload, TRIAL_LEVEL))
    return total
