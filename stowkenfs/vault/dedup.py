"""Finding what is stored already: keys in the index, and keys in packs.

A key is found in the index with the number of its thing. Of what was compacted, packs have
keys that are cut short, with the block that the thing may be in: the block is then looked
into, and for segments and templates their content compared.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import anyio.lowlevel
import anyio.to_thread

from stowkenfs.errors import Corrupt
from stowkenfs.index.catalogue import Catalogue
from stowkenfs.index.key_runs import Candidate, KeyRuns
from stowkenfs.store.block import BlockKind
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader

T = TypeVar("T")

ROWS_AT_ONCE = 250
"""Index rows read before the loop gets its turn: about a millisecond."""

TABLES = {
    BlockKind.RECORDS: "record_key",
    BlockKind.SEGMENTS: "segment_key",
    BlockKind.TEMPLATES: "template_key",
}

Ranges = dict[BlockKind, list[tuple[int, int]]]
"""``{kind: [(first, end), ...]}`` of numbers, sorted, without overlaps."""


IsLeaving = Callable[[BlockKind, int], bool]
"""Whether a number of a kind is on its way out."""


class Dedup:
    """Looks up keys. Event loop's thread, which also owns ``_leaving``.

    ``_leaving``: numbers that compaction or a collection is about to take away, which nothing
    new may refer to; None for none.
    """

    def __init__(self, catalogue: Catalogue, runs: KeyRuns, reader: Reader) -> None:
        self._catalogue = catalogue
        self._runs = runs
        self._reader = reader
        self._leaving: IsLeaving | None = None

    def leave_out(self, ranges: Ranges) -> None:
        """Do not find these any more; an empty dictionary ends it."""
        self._leaving = partial(_is_in, ranges) if ranges else None

    def leave_out_what(self, is_leaving: IsLeaving) -> None:
        """Do not find numbers of which this is true, in any thread; see ``leave_out``."""
        self._leaving = is_leaving

    async def records(self, keys: Sequence[int]) -> dict[int, int]:
        """``{key: number}`` of records that are stored."""
        wanted = list(dict.fromkeys(keys))
        return await self._find(
            BlockKind.RECORDS, wanted, lambda key, first: self._reader.find_record(first, key)
        )

    async def segments(self, segments: Sequence[tuple[int, bytes]]) -> dict[int, int]:
        """``{key: number}`` of segments, given as key and frame, that are stored."""
        frames = dict(segments)
        return await self._find(
            BlockKind.SEGMENTS,
            list(frames),
            lambda key, first: self._reader.find_segment(first, key, frames[key]),
        )

    async def templates(self, templates: Sequence[bytes]) -> dict[int, int]:
        """``{key: number}`` of templates that are stored."""
        contents = {content_key(template): template for template in templates}
        return await self._find(
            BlockKind.TEMPLATES,
            list(contents),
            lambda key, first: self._reader.find_template(first, contents[key]),
        )

    async def _find(
        self, kind: BlockKind, keys: Sequence[int], look: Callable[[int, int], int | None]
    ) -> dict[int, int]:
        found: dict[int, int] = {}
        for some in slices(keys, ROWS_AT_ONCE):
            rows = self._catalogue.keys.find(TABLES[kind], some)
            found |= {key: no for key, no in rows.items() if not self.is_leaving(kind, no)}
            await anyio.lowlevel.checkpoint()
        missing = [key for key in keys if key not in found]
        if missing and self._runs.are_any(kind):
            in_packs = await anyio.to_thread.run_sync(self._in_packs, kind, missing, look)
            found |= {key: no for key, no in in_packs.items() if not self.is_leaving(kind, no)}
        return found

    def _in_packs(
        self, kind: BlockKind, keys: Sequence[int], look: Callable[[int, int], int | None]
    ) -> dict[int, int]:
        found: dict[int, int] = {}
        for key, candidates in self._runs.candidates(kind, keys).items():
            number = self._first_that_holds(key, candidates, look)
            if number is not None:
                found[key] = number
        return found

    @staticmethod
    def _first_that_holds(
        key: int, candidates: Sequence[Candidate], look: Callable[[int, int], int | None]
    ) -> int | None:
        for candidate in candidates:
            if candidate.is_exact:
                return candidate.number
            try:
                number = look(key, candidate.number)
            except Corrupt:
                continue  # stored once more, then, beside the damaged copy
            if number is not None:
                return number
        return None

    def is_leaving(self, kind: BlockKind, number: int) -> bool:
        """Whether a number is left out. In a round also from its thread: it stays as it is."""
        test = self._leaving
        return test is not None and test(kind, number)


def _is_in(ranges: Ranges, kind: BlockKind, number: int) -> bool:
    of_kind = ranges.get(kind)
    if not of_kind:
        return False
    at = bisect_right(of_kind, number, key=lambda bounds: bounds[0])
    return bool(at) and number < of_kind[at - 1][1]


def slices(rows: Sequence[T], length: int) -> Iterator[Sequence[T]]:
    """``rows`` in pieces of up to ``length``."""
    for start in range(0, len(rows), length):
        yield rows[start : start + length]
