"""Looking at one document: its segments, what it takes up, what it holds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from stowkenfs.documents.body import References
from stowkenfs.documents.shapes import Turn, parse, turns
from stowkenfs.frames.address import segment_hash
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import RecordNo, SegmentNo, SegmentType, Vocabulary
from stowkenfs.index.catalogue import Extent
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.conversation import ConversationSegment
from stowkenfs.vault.reader import Reader


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """One stored payload of a document, as the tokens view shows it."""

    number: SegmentNo
    segment_type: SegmentType
    vocabulary: Vocabulary
    token_ids: Sequence[int]
    hash: bytes
    kind: str
    stored_bytes: int

    def to_json(self) -> str:
        """One line."""
        return json.dumps(
            {
                "segment": int(self.number),
                "type": self.segment_type.name.lower(),
                "tokenizer": self.vocabulary.name.lower(),
                "hash": self.hash.hex(),
                "frame": self.kind,
                "stored_bytes": self.stored_bytes,
                "token_count": len(self.token_ids),
                "tokens": list(self.token_ids),
            }
        )


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """What ``user.stowken.*`` attributes tell of a file. Sizes in bytes.

    ``stored``: its records and the segments they refer to, each segment once; segments
    that other documents refer to as well are counted in full here and there.
    """

    records: int
    segments: int
    tokens: int
    conversations: int
    stored: int
    length: int
    unsealed: int

    @property
    def ratio(self) -> float:
        """How many times larger the document is than what is stored for it."""
        return self.length / self.stored if self.stored else 0.0


def stored_segments(reader: Reader, extents: Sequence[Extent]) -> Iterator[StoredSegment]:
    """The segments that a document's records refer to, in order. Blocks; any thread."""
    for _, value in _references(reader, extents):
        for segment_type, number in zip(value.types, value.segments, strict=True):
            segment = reader.segment(number)
            yield StoredSegment(
                number,
                segment_type,
                segment.vocabulary,
                segment.tokens.tolist(),
                segment_hash(segment.tokens),
                *reader.segment_storage(number),
            )


def _references(reader: Reader, extents: Sequence[Extent]) -> Iterator[tuple[RecordNo, References]]:
    for extent in extents:
        for at in range(extent.record, extent.record + extent.count):
            number = RecordNo(at)
            for value in reader.body(number).values:
                if isinstance(value, References):
                    yield number, value


def summarize(
    reader: Reader, extents: Sequence[Extent], length_bytes: int, unsealed_bytes: int
) -> DocumentSummary:
    """Count what a document consists of. Blocks; any thread."""
    seen: set[int] = set()
    tokens = stored = records = 0
    for extent in extents:
        for at in range(extent.record, extent.record + extent.count):
            records += 1
            stored += reader.record_cost(RecordNo(at))
    for _, value in _references(reader, extents):
        for number in value.segments:
            segment = reader.segment(number)
            if segment.vocabulary is not Vocabulary.BYTES:
                tokens += len(segment.tokens)
            if number not in seen:
                seen.add(number)
                stored += reader.segment_storage(number)[1]
    head = reader.read_extent(extents[0], 0, min(extents[0].length, HEAD_BYTES)) if extents else b""
    conversations = int(about(head).is_conversation) if head else 0
    return DocumentSummary(
        records,
        len(seen),
        tokens,
        conversations,
        stored + unsealed_bytes,
        length_bytes,
        unsealed_bytes,
    )


def conversation_segments(document: bytes) -> tuple[ConversationSegment, ...]:
    """Every payload of a conversation as tokens, in document order.

    Tokenizing is deterministic, so these are the ids that are stored for long payloads.
    Arrays with numbers that are no ids (uint32) are left out.
    """
    judged = about(document[:HEAD_BYTES])
    return tuple(
        _segment(turn, judged.vocabulary, judged.ids_vocabulary)
        for turn in turns(parse(_text_of(document)))
        if turn.token_ids is None or all(0 <= one < 1 << 32 for one in turn.token_ids)
    )


def _text_of(document: bytes) -> str:
    """JSON may be in UTF-8, UTF-16 or UTF-32."""
    try:
        return document.decode(json.detect_encoding(document), "surrogatepass")
    except UnicodeDecodeError:
        return document.decode("utf-8", "replace")


def _segment(turn: Turn, vocabulary: Vocabulary, ids_vocabulary: Vocabulary) -> ConversationSegment:
    if turn.token_ids is not None:
        ids = np.array(turn.token_ids, np.uint32)
        vocabulary = ids_vocabulary
    else:
        text = turn.text or ""
        found = tokenize(text, vocabulary)
        if found is None:
            raw = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
            ids, vocabulary = raw.astype(np.uint32), Vocabulary.BYTES
        else:
            ids = found
    return ConversationSegment(turn.type, ids, segment_hash(ids), vocabulary)
