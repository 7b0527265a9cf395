"""Documents changed over to what their records became, where they still are what they were."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stowkenfs.errors import Corrupt
from stowkenfs.ids import InodeNo, RecordNo
from stowkenfs.index.catalogue import Catalogue, Extent
from stowkenfs.vault.assembly import RUN_BYTES_MAX, RUN_RECORDS_MAX, Run, join_runs
from stowkenfs.vault.compaction.batch import BatchIn
from stowkenfs.vault.compaction.gather import Document
from stowkenfs.vault.compaction.numbers import Renumbering
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.sealer import Sealer


@dataclass(slots=True)
class Tally:
    """Files of which something was changed over, and of which something could not be."""

    documents: int = 0
    postponed: int = 0
    content_bytes: int = 0  # of what was changed over


class ChangeOver:
    """The last step for each document. ``tally`` counts files, whose parts follow each other."""

    def __init__(
        self,
        catalogue: Catalogue,
        reader: Reader,
        sealer: Sealer,
        records: Renumbering,
    ) -> None:
        self._catalogue = catalogue
        self._reader = reader
        self._sealer = sealer
        self._records = records
        self.tally = Tally()
        self._last_changed: InodeNo | None = None
        self._last_postponed: InodeNo | None = None

    def plan(self, documents: Sequence[Document], batch: BatchIn) -> list[Sequence[Extent]]:
        """The extents that documents get; ``batch``: the one just written. A thread's."""
        return [self._moved(document.extents, batch) for document in documents]

    def carry_out(self, document: Document, planned: Sequence[Extent]) -> None:
        """Let a document consist of what was planned. Event loop's thread, in a transaction."""
        if planned == document.extents:
            return
        start, end = document.extents[0].start, document.extents[-1].end
        now = self._catalogue.extents(document.ino, start, end)
        if self._sealer.is_sealing(document.ino) or now != document.extents:
            self.tally.postponed += document.ino != self._last_postponed
            self._last_postponed = document.ino
            return
        self._catalogue.replace_extents(document.ino, start, end, planned)
        self.tally.documents += document.ino != self._last_changed
        self.tally.content_bytes += sum(extent.length for extent in planned)
        self._last_changed = document.ino

    def _moved(self, extents: Sequence[Extent], batch: BatchIn) -> Sequence[Extent]:
        """``extents`` with the new numbers of their records, neighbours made one."""
        moved: list[Extent] = []
        has_changed = False
        is_cut = False  # whether the last one ends inside of its last record
        for extent in extents:
            try:
                runs = list(self._runs(extent, batch))
            except Corrupt:  # it stays where it is
                runs = []
            has_changed |= any(run.record != old for old, run in enumerate(runs, extent.record))
            if not runs:
                moved.append(extent)
                is_cut = True
                continue
            start, left = extent.start, extent.length
            for run in join_runs(runs):
                if not left:
                    break  # the file was cut before this one
                length = min(run.length_bytes, left)  # the file may have been cut in the last
                new = Extent(start, length, run.record, run.count)
                if moved and not is_cut and _go_together(moved[-1], new):
                    moved[-1] = _together(moved[-1], new)
                else:
                    moved.append(new)
                is_cut = length < run.length_bytes
                start, left = start + length, left - length
        return moved if has_changed else extents

    def _runs(self, extent: Extent, batch: BatchIn) -> Iterator[Run]:
        """Its records, each by itself, as they are numbered now. Raises Corrupt."""
        lengths, first = batch.records.lengths, batch.first_record
        for old in range(extent.record, extent.record + extent.count):
            new = self._records.get(old)
            number = old if new is None else new
            if new is not None and 0 <= new - first < len(lengths):
                yield Run(number, 1, lengths[new - first])
            else:
                yield Run(number, 1, self._reader.record_length(RecordNo(number)))


def _go_together(one: Extent, next_one: Extent) -> bool:
    """Whether two extents, of which the first is whole, can be one."""
    return (
        one.end == next_one.start
        and one.record + one.count == next_one.record
        and one.length + next_one.length <= RUN_BYTES_MAX
        and one.count + next_one.count <= RUN_RECORDS_MAX
    )


def _together(one: Extent, next_one: Extent) -> Extent:
    return Extent(one.start, one.length + next_one.length, one.record, one.count + next_one.count)
