"""Units of documents to frames: the part that needs a processor, free of any state.

It runs in worker processes, so what goes in and comes out is bytes and small tuples.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stowkenfs.documents.body import References, encode_body
from stowkenfs.documents.split import Unit, encode_unit
from stowkenfs.documents.values import Likeness, Part, Payload, Record, Style, TokenList
from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.codec import EncodeChoices, Segment, encode_frame, encode_referring
from stowkenfs.frames.likeness import ids_of_grams, ids_of_places
from stowkenfs.frames.minhash import TOKENS_MIN, bands_of_many, has_bands
from stowkenfs.frames.texts import EncodedText, encode_texts
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import SegmentNo, Vocabulary
from stowkenfs.vault.payloads import content_key


class Job(NamedTuple):
    """One unit to encode, and the vocabulary that its document asks for."""

    unit: Unit
    vocabulary: Vocabulary
    ids_vocabulary: Vocabulary


EncodedRecord = tuple[int, int, bytes]
"""A record: length in bytes, key, and a body (``documents.body``) whose template and segment
numbers are positions in its batch's lists. Bytes travel between processes without holding
up the loop, which trees of small objects would."""


@dataclass(slots=True)
class EncodedBatch:
    """What a list of jobs became. Segments and templates are unique within the batch."""

    segments: list[tuple[int, bytes]] = field(default_factory=list)  # (key, frame)
    bands: dict[int, bytes] = field(default_factory=dict)  # of those to compare, by position
    templates: list[bytes] = field(default_factory=list)
    records: list[list[EncodedRecord]] = field(default_factory=list)  # one list for each job


def encode_batch(
    jobs: Sequence[Job],
    level: int,
    with_bands: bool = False,
    choices: EncodeChoices | None = None,
) -> EncodedBatch:
    """Encode ``jobs``; deterministic, and verified against each unit's bytes.

    ``choices``: what new frames may refer to. ``with_bands``: texts are to be compared, too.
    """
    return _Encoder(level, choices, with_bands=with_bands).run(jobs)


class _Encoder:
    """One batch in the making."""

    def __init__(self, level: int, choices: EncodeChoices | None, *, with_bands: bool) -> None:
        self._level = level
        self._with_bands = with_bands
        self._to_compare: dict[int, TokenArray] = {}  # {position: ids} of those with bands
        self._choices = choices
        self._batch = EncodedBatch()
        self._templates: dict[bytes, int] = {}
        self._segments: dict[int, int] = {}  # {key: position}
        self._texts: dict[Vocabulary, dict[bytes, EncodedText]] = {}  # {vocabulary: {content: …}}

    def run(self, jobs: Sequence[Job]) -> EncodedBatch:
        records = [encode_unit(job.unit) for job in jobs]
        self._encode_texts(jobs, records)
        for job, of_job in zip(jobs, records, strict=True):
            self._batch.records.append([
                self._record(record, content, job)
                for record, content in _with_contents(of_job, job.unit.content)
            ])  # fmt: skip
        bands = bands_of_many(list(self._to_compare.values()))
        for at, of_segment in zip(self._to_compare, bands, strict=True):
            self._batch.bands[at] = of_segment.tobytes()
        return self._batch

    def _encode_texts(self, jobs: Sequence[Job], records: Sequence[Sequence[Record]]) -> None:
        """Fill ``_texts`` with all that occur."""
        wanted: dict[Vocabulary, dict[bytes, None]] = {}
        for job, of_job in zip(jobs, records, strict=True):
            for record in of_job:
                for value in record.values:
                    if isinstance(value, Payload):
                        for part in value.parts:
                            vocabulary = Vocabulary.BYTES if part.binary else job.vocabulary
                            wanted.setdefault(vocabulary, {})[part.content] = None
        for vocabulary, some in wanted.items():
            texts = list(some)
            encoded = encode_texts(texts, vocabulary, level=self._level)
            self._texts[vocabulary] = dict(zip(texts, encoded, strict=True))

    def _record(self, record: Record, content: memoryview, job: Job) -> EncodedRecord:
        find = self._templates.get
        templates = [
            known if (known := find(template)) is not None else self._template(template)
            for template in record.templates
        ]
        values = [
            value if isinstance(value, bytes) else self._value(value, job)
            for value in record.values
        ]
        return record.length_bytes, content_key(content), encode_body(templates, values)

    def _template(self, template: bytes) -> int:
        """The place of a new one."""
        at = self._templates[template] = len(self._batch.templates)
        self._batch.templates.append(template)
        return at

    def _value(self, value: Payload | TokenList, job: Job) -> References:
        if isinstance(value, Payload):
            if len(value.parts) == 1:  # nearly all
                (part,) = value.parts
                segment = SegmentNo(self._part(part, job.vocabulary))
                return References(value.style, (part.type,), (segment,))
            segments = tuple(SegmentNo(self._part(part, job.vocabulary)) for part in value.parts)
            return References(value.style, tuple(p.type for p in value.parts), segments)
        at = self._ids(np.asarray(value.ids, np.uint32), job.ids_vocabulary)
        return References(Style.TOKENS, (value.type,), (SegmentNo(at),), value.separator)

    def _part(self, part: Part, vocabulary: Vocabulary) -> int:
        text = self._texts[Vocabulary.BYTES if part.binary else vocabulary][part.content]
        return self._segment(text.segment, text.key, text.frame, part.likeness)

    def _ids(self, tokens: TokenArray, vocabulary: Vocabulary) -> int:
        key = segment_key(segment_hash(tokens), vocabulary)
        return self._segment(Segment(vocabulary, tokens), key)

    def _segment(
        self,
        segment: Segment,
        key: int,
        frame: bytes | None = None,
        likeness: Likeness = Likeness.TEXT,
    ) -> int:
        at = self._segments.get(key)
        if at is None:
            if frame is None:
                frame = encode_frame(segment.tokens, segment.vocabulary, level=self._level)
            if self._choices is not None:
                frame = self._smaller(frame, segment, self._choices)
            at = self._segments[key] = len(self._batch.segments)
            self._batch.segments.append((key, frame))
            ids = self._ids_to_compare(segment, likeness)
            if ids is not None:
                self._to_compare[at] = ids
        return at

    def _ids_to_compare(self, segment: Segment, likeness: Likeness) -> TokenArray | None:
        """What the bands of a segment are made of; None if it is not looked for."""
        if likeness is Likeness.TEXT:
            is_wanted = self._with_bands and has_bands(len(segment.tokens), segment.vocabulary)
            return segment.tokens if is_wanted else None
        find = ids_of_places if likeness is Likeness.CELLS else ids_of_grams
        ids = find(segment.tokens)
        return ids if len(ids) >= TOKENS_MIN else None

    def _smaller(self, frame: bytes, segment: Segment, choices: EncodeChoices) -> bytes:
        """``frame``, or one that refers to something and is smaller."""
        other = encode_referring(segment, choices, level=self._level)
        return frame if other is None or len(other) >= len(frame) else other


def _with_contents(
    records: Sequence[Record], content: bytes | memoryview
) -> list[tuple[Record, memoryview]]:
    """Each record with its own bytes of the unit."""
    view, at, out = memoryview(content), 0, []
    for record in records:
        out.append((record, view[at : at + record.length_bytes]))
        at += record.length_bytes
    assert at == len(view), "records cover their unit"
    return out
