"""Units of documents to verified records: look up, encode, store, read back, compare."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import anyio
import anyio.to_thread

from stowkenfs.documents.split import Unit, UnitKind
from stowkenfs.errors import Corrupt, RecordCorrupt, WorkerDied
from stowkenfs.ids import RecordNo, Vocabulary
from stowkenfs.vault.assembly import Run, Tally
from stowkenfs.vault.committer import Committer
from stowkenfs.vault.dedup import Dedup
from stowkenfs.vault.encode import EncodedBatch, Job, encode_batch
from stowkenfs.vault.leader import Turn, Turns
from stowkenfs.vault.passages import Passages
from stowkenfs.vault.payloads import content_key
from stowkenfs.vault.reader import Reader
from stowkenfs.vault.registry_choices import Choices, call_in_worker

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Piece:
    """A unit on its way in, with the vocabularies that its document asks for."""

    unit: Unit
    vocabulary: Vocabulary
    ids_vocabulary: Vocabulary


class Ingest:
    """Stores units; several callers at once encode side by side and commit together.

    ``_encoders`` bounds how many batches are being encoded; ``_turns`` lines them up again.
    ``passages``: who calls ``store`` is inside until its runs are extents of a document.
    ``choices`` gives what new frames may refer to, as long as one is inside.
    """

    def __init__(
        self,
        dedup: Dedup,
        committer: Committer,
        reader: Reader,
        *,
        workers: int,
        level: int,
        choices: Callable[[], Awaitable[Choices | None]],
        with_bands: bool = False,
    ) -> None:
        self._dedup = dedup
        self._committer = committer
        self._reader = reader
        self._workers = workers
        self._level = level
        self._with_bands = with_bands
        self._choices = choices
        self._encoders = anyio.CapacityLimiter(max(workers, 1))
        self._turns = Turns()
        self.passages = Passages()

    async def store(self, pieces: Sequence[Piece], tally: Tally | None = None) -> list[list[Run]]:
        """Runs of records for each piece, in order: read back and compared with its bytes.

        ``tally`` is added what is new.

        A copy that does not read back is stored again, without looking at what is there;
        then as plain bytes. Raises RecordCorrupt when even that does not read back: the
        medium returns other bytes than were written.
        """
        tally = tally or Tally()
        runs = await self._store(pieces, tally, fresh=False)
        for kind in (None, UnitKind.RAW):
            bad = await anyio.to_thread.run_sync(self._differing, pieces, runs)
            if not bad:
                return runs
            again = [pieces[at] if kind is None else _as_kind(pieces[at], kind) for at in bad]
            for at, new in zip(bad, await self._store(again, tally, fresh=True), strict=True):
                runs[at] = new
        if await anyio.to_thread.run_sync(self._differing, pieces, runs):
            raise RecordCorrupt("records that were just written do not read back")
        return runs

    async def _store(
        self, pieces: Sequence[Piece], tally: Tally, *, fresh: bool
    ) -> list[list[Run]]:
        turn = self._turns.take()
        try:
            return await self._store_in_turn(pieces, tally, turn, fresh=fresh)
        finally:
            turn.over()

    async def _store_in_turn(
        self, pieces: Sequence[Piece], tally: Tally, turn: Turn, *, fresh: bool
    ) -> list[list[Run]]:
        keys = await anyio.to_thread.run_sync(_keys, pieces)
        known = {} if fresh else await self._dedup.records(keys)
        jobs: dict[int, Job] = {}  # {key: job}: each content once
        for key, piece in zip(keys, pieces, strict=True):
            if key not in known and key not in jobs:
                jobs[key] = Job(piece.unit, piece.vocabulary, piece.ids_vocabulary)
        stored: dict[int, list[Run]] = {}
        if jobs:
            batch = await self._encode(list(jobs.values()))
            await turn.wait()  # numbers in the order of the calls: the same packs each time
            result = await self._committer.store(batch, fresh=fresh, on_queued=turn.over)
            tally.add(result.added)
            stored = dict(zip(jobs, result.runs, strict=True))
        return [
            stored[key] if key in stored else [Run(known[key], 1, len(piece.unit.content))]
            for key, piece in zip(keys, pieces, strict=True)
        ]

    async def _encode(self, jobs: list[Job]) -> EncodedBatch:
        choices = await self._choices()
        if self._workers:
            try:
                return await call_in_worker(
                    encode_batch,
                    jobs,
                    self._level,
                    self._with_bands,
                    choices=choices,
                    limiter=self._encoders,
                )
            except WorkerDied:
                log.warning("two worker processes died; their batch is encoded in this one")
        here = None if choices is None else choices.here
        return await anyio.to_thread.run_sync(
            encode_batch, jobs, self._level, self._with_bands, here, limiter=self._encoders
        )

    def _differing(self, pieces: Sequence[Piece], runs: Sequence[Sequence[Run]]) -> list[int]:
        """Positions of pieces whose records do not give their bytes back."""
        numbers = list(dict.fromkeys(no for of_piece in runs for no in _numbers(of_piece)))
        try:
            contents: Callable[[RecordNo], bytes] = self._reader.contents(numbers).__getitem__
        except Corrupt:  # which of them, is found out one by one
            contents = self._reader.record
        return [
            at
            for at, (piece, of_piece) in enumerate(zip(pieces, runs, strict=True))
            if not _reads_back(piece.unit.content, of_piece, contents)
        ]


def _numbers(runs: Sequence[Run]) -> list[int]:
    return [number for run in runs for number in range(run.record, run.record + run.count)]


def _reads_back(content: bytes, runs: Sequence[Run], contents: Callable[[RecordNo], bytes]) -> bool:
    try:
        return b"".join([contents(RecordNo(number)) for number in _numbers(runs)]) == content
    except Corrupt:
        return False


def _keys(pieces: Sequence[Piece]) -> list[int]:
    return [content_key(piece.unit.content) for piece in pieces]


def _as_kind(piece: Piece, kind: UnitKind) -> Piece:
    return replace(piece, unit=piece.unit._replace(kind=kind))
