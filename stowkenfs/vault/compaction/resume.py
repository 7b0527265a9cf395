"""Going on with a compaction that was interrupted.

From its first batch until all keys are written, the index remembers from which numbers on it
wrote dense blocks. What is in them was read back before anything referred to it, or is read
now: each thing tells its key, by the key it is found which thing it was made of, and what was
made once is not made again.
"""

import logging
from collections.abc import Sequence

import anyio.lowlevel
import anyio.to_thread
import numpy as np

from stowkenfs.errors import Corrupt
from stowkenfs.ids import RecordNo, SegmentNo, TemplateNo
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.key_runs import KeyRuns
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.compaction.gather import Moves
from stowkenfs.vault.compaction.keys import KEYED_KINDS, KeyCollector
from stowkenfs.vault.compaction.rekey import keys_of
from stowkenfs.vault.dedup import ROWS_AT_ONCE, TABLES, slices
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader

log = logging.getLogger(__name__)


class Resumption:
    """Notes where a compaction begins, and finds what one without an end left behind.

    Event loop's thread.
    """

    def __init__(
        self, catalogue: Catalogue, runs: KeyRuns, reader: Reader, keys: KeyCollector
    ) -> None:
        self._catalogue = catalogue
        self._runs = runs
        self._reader = reader
        self._keys = keys

    def begin(self) -> None:
        """Note the numbers from which on there may be dense blocks without keys."""
        if self._catalogue.unfinished() is None:
            self._catalogue.set_unfinished(
                {kind: self._catalogue.next_number(kind) for kind in KEYED_KINDS}
            )

    def end(self) -> None:
        """All keys are in runs, and what was moved is gone."""
        self._catalogue.set_unfinished(None)

    async def resume(self, moves: Moves) -> int:
        """Note keys and places of what an interrupted compaction made; how many things."""
        since = self._catalogue.unfinished()
        if since is None:
            return 0
        found = 0
        for kind, numbers in (
            (BlockKind.TEMPLATES, moves.templates),
            (BlockKind.SEGMENTS, moves.segments),
            (BlockKind.RECORDS, moves.records),
        ):
            for place in self._catalogue.dense_from(kind, since[kind]):
                try:
                    keys = await anyio.to_thread.run_sync(keys_of, self._reader, kind, place)
                except Corrupt as error:
                    log.warning("what was compacted is not used, and made again: %s", error)
                    continue
                self._keys.note(kind, keys, np.full(len(keys), place.first, np.int64))
                old = await self._old_numbers(kind, keys.tolist())
                made = [
                    (old[key], number)
                    for number, key in enumerate(keys.tolist(), place.first)
                    if key in old and old[key] in numbers
                ]
                if kind is BlockKind.RECORDS:
                    # Keys can be made to collide. Segments and templates are compared with the
                    # records that refer to them.
                    made = await anyio.to_thread.run_sync(self._alike, made)
                numbers.set_many(*np.array(made, np.int64).reshape(-1, 2).T)
                found += len(keys)
        return found

    def _alike(self, made: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        """Those records, old and new numbers, whose content is the same. A thread's."""
        return [pair for pair in made if self._is_same(*map(RecordNo, pair))]

    def _is_same(self, old: RecordNo, new: RecordNo) -> bool:
        try:
            return self._reader.record(old) == self._reader.record(new)
        except Corrupt:
            return False

    async def _old_numbers(self, kind: BlockKind, keys: Sequence[int]) -> dict[int, int]:
        """``{key: number}`` of what is not compacted, from tables and exact runs."""
        old: dict[int, int] = {}
        for some in slices(keys, ROWS_AT_ONCE):
            old |= self._catalogue.keys.find(TABLES[kind], some)
            await anyio.lowlevel.checkpoint()
        missing = [key for key in keys if key not in old]
        return old | await anyio.to_thread.run_sync(self._in_runs, kind, missing)

    def _in_runs(self, kind: BlockKind, keys: Sequence[int]) -> dict[int, int]:
        if not keys:
            return {}
        candidates = self._runs.candidates(kind, keys)
        return {
            key: candidate.number
            for key, some in candidates.items()
            for candidate in some
            if candidate.is_exact and self._has_key(kind, candidate.number, key)
        }

    def _has_key(self, kind: BlockKind, number: int, key: int) -> bool:
        try:
            if kind is BlockKind.RECORDS:
                return self._reader.stored_record(RecordNo(number))[1] == key
            if kind is BlockKind.SEGMENTS:
                return self._reader.stored_segment(SegmentNo(number))[0] == key
            return content_key(self._reader.template(TemplateNo(number))) == key
        except Corrupt:
            return False
