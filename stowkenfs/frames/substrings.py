"""The registry of substrings: runs of ids that many segments share, and frames of them.

    0x05   body: edits, whose sources are entries of the registry, by their numbers

An entry's content is its vocabulary, one byte, and its symbols.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.edits import Copy, apply_edits, encode_edits, read_edits
from stowkenfs.frames.kinds import FrameKind, VarintCodec
from stowkenfs.frames.matching import GramIndex
from stowkenfs.frames.resources import EncodeChoices, FrameResources
from stowkenfs.frames.segment import Segment, segment_of, symbols_of
from stowkenfs.frames.varints import TokenArray
from stowkenfs.ids import Vocabulary

SUBSTRING_IDS_MIN = 16
"""Shorter runs are not promoted."""

_VARINT = VarintCodec()


@dataclass(frozen=True, slots=True)
class Substring:
    """A run of ids that recurs: uint32, shape (n,), read-only."""

    vocabulary: Vocabulary
    tokens: TokenArray
    occurrences: int
    """Of the whole run, in what it was found in."""


def encode_substring(vocabulary: Vocabulary, tokens: TokenArray) -> bytes:
    """The content of a registry entry, which its block compresses. Deterministic.

    Raises Unstorable as ``symbols_of``.
    """
    return bytes((vocabulary,)) + symbols_of(Segment(vocabulary, tokens))


def decode_substring(content: bytes) -> Segment:
    """Inverse of ``encode_substring``. Raises FrameCorrupt."""
    if len(content) < 2:
        raise FrameCorrupt("a substring of no ids")
    try:
        vocabulary = Vocabulary(content[0])
    except ValueError:
        raise FrameCorrupt(f"vocabulary {content[0]:#04x} is unknown") from None
    return segment_of(vocabulary, _VARINT.symbols(memoryview(content)[1:]))


class SubstringMatcher:
    """Entries of the registry, found in segments. Immutable, for any number of threads.

    Takes about 30 bytes for each id of an entry.
    """

    def __init__(self, entries: Mapping[int, Segment]) -> None:
        self.entries: Mapping[int, Segment] = dict(entries)
        """{number: entry}."""
        sources: dict[Vocabulary, dict[int, TokenArray]] = defaultdict(dict)
        for number, entry in self.entries.items():
            sources[entry.vocabulary][number] = entry.tokens
        self._indexes = {vocabulary: GramIndex(some) for vocabulary, some in sources.items()}

    def __reduce__(self) -> tuple[object, tuple[Mapping[int, Segment]]]:
        return SubstringMatcher, (self.entries,)

    def copies(self, segment: Segment) -> list[Copy]:
        """What ``segment`` has in common with entries; their numbers are the sources."""
        index = self._indexes.get(segment.vocabulary)
        return [] if index is None else index.copies(segment.tokens)

    def encode(self, segment: Segment, copies: Sequence[Copy], level: int) -> bytes | None:
        """The body of a 0x05 frame with ``copies``, one or more. Raises Unstorable."""
        return encode_edits(segment, copies, self._length_of, level)

    def body(self, segment: Segment, level: int) -> bytes | None:
        """``segment`` by entries; None where it has nothing in common with any.

        Raises Unstorable as ``symbols_of``. Deterministic.
        """
        copies = self.copies(segment)
        return self.encode(segment, copies, level) if copies else None

    def _length_of(self, number: int) -> int:
        return len(self.entries[number].tokens)


@dataclass(frozen=True, slots=True)
class SubstringCodec:
    """0x05: edits of entries of the registry."""

    kind: Literal[FrameKind.SUBSTRINGS] = FrameKind.SUBSTRINGS

    def encode(
        self,
        segment: Segment,
        symbols: bytes,  # noqa: ARG002
        level: int,
        choices: EncodeChoices | None,
    ) -> bytes | None:
        if choices is None or choices.substrings is None:
            return None
        return choices.substrings.body(segment, level)

    def decode(
        self, vocabulary: Vocabulary, body: memoryview, resources: FrameResources | None
    ) -> Segment:
        return apply_edits(
            vocabulary, read_edits(body), lambda number: _ids(resources, number, vocabulary)
        )


def _ids(resources: FrameResources | None, number: int, vocabulary: Vocabulary) -> TokenArray:
    if resources is None:
        raise FrameCorrupt(f"the frame needs substring {number}, and none were given")
    entry = resources.substring(number)
    if entry.vocabulary is not vocabulary:
        raise FrameCorrupt(f"substring {number} is of {entry.vocabulary.name}")
    return entry.tokens
