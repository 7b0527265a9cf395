"""Frames of every kind, and what they refer to."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.codebook import Codebook
from stowkenfs.frames.codec import (
    LEVEL_QUICK,
    EncodeChoices,
    decode_frame,
    encode_delta,
    encode_frame,
    encode_referring,
    frame_kind,
    frame_symbols,
    references_of,
    whole_frame,
)
from stowkenfs.frames.dictionary import Dictionary
from stowkenfs.frames.segment import SYMBOLS_BYTES_MAX, Segment, symbols_of
from stowkenfs.frames.substrings import SubstringMatcher, decode_substring, encode_substring
from stowkenfs.frames.token_table import parse_table, render_table
from stowkenfs.frames.vocabulary import NoSpelling, spell
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import Base, compress, decompress
from stowkenfs.varint import append_varint, read_varint
from tests.format_vectors import VECTORS, content_of
from tests.frames.resources import resources_of
from tests.fuzz.frozen import Things, frozen_things
from tests.fuzz.target import Target


def of_vectors(structure: str) -> list[bytes]:
    """The vectors of a structure that decode."""
    return [
        content_of(vector)
        for name, vector in VECTORS.items()
        if name.startswith(f"{structure}/") and "error" not in vector and "hex" in vector
    ]


@cache
def resources() -> Things:
    """The frozen vault's, and those of the vectors, whose numbers are others'."""
    frozen = frozen_things()
    things = Things(
        segments=dict(frozen.segments),
        substrings=dict(frozen.substrings),
        dictionaries=dict(frozen.dictionaries),
    )
    for name, vector in VECTORS.items():
        if name.startswith("frames/"):
            own = resources_of(vector)
            things.segments.update(own.canonicals)
            things.substrings.update(own.substrings)
            things.dictionaries.update(own.dictionaries)
    return things


@cache
def frames() -> Sequence[bytes]:
    """Of all kinds and vocabularies."""
    found = [
        content_of(vector) if "hex" in vector else bytes.fromhex(vector["frame"])
        for name, vector in VECTORS.items()
        if name.startswith("frames/") and "error" not in vector
    ]
    things = resources()
    choices = EncodeChoices(
        SubstringMatcher(things.substrings), next(iter(things.dictionaries.items()))
    )
    segments = list(things.segments.items())
    for (_, segment), (other_no, other) in pairwise(segments[:61]):
        found.append(encode_frame(segment.tokens, segment.vocabulary, choices=choices))
        found.append(encode_frame(segment.tokens, segment.vocabulary))
        referring = encode_referring(segment, choices, level=LEVEL_QUICK)
        delta = encode_delta(segment, other_no, other)
        found += [frame for frame in (referring, delta) if frame is not None]
    return found


def _frame(content: bytes) -> None:
    things = resources()
    failures = 0
    uses: list[Callable[[], object]] = [
        lambda: frame_kind(content),
        lambda: references_of(content),
        lambda: frame_symbols(content),
        lambda: whole_frame(content, things),
        lambda: decode_frame(content),
    ]
    for use in uses:
        try:
            use()
        except FrameCorrupt:
            failures += 1
    segment = decode_frame(content, things)
    assert len(symbols_of(segment)) <= SYMBOLS_BYTES_MAX
    assert not segment.tokens.flags.writeable
    again = decode_frame(encode_frame(segment.tokens, segment.vocabulary))
    assert again.vocabulary is segment.vocabulary
    assert (again.tokens == segment.tokens).all()
    try:
        spell(segment.tokens, segment.vocabulary)
    except NoSpelling:
        assert segment.vocabulary is Vocabulary.FOREIGN or failures >= 0


def _codebook(content: bytes) -> None:
    at = 1 + content[0] if content else 0
    codes, book = content[1:at], Codebook.decode(content[at:])
    assert book.encode() == content[at:]
    for vocabulary in (Vocabulary.CL100K_BASE, Vocabulary.O200K_BASE):
        try:
            ids = book.decode_ids(vocabulary, codes)
        except FrameCorrupt:
            continue
        assert book.encode_ids(vocabulary, ids) == codes
        try:
            book.decode_joined(vocabulary, codes + b"\xff", 7)
        except FrameCorrupt:
            continue


def _codebooks() -> Sequence[bytes]:
    codes = bytes((0, 1, 160, 3, 161, 254, 240, 5, 6))
    books = [*of_vectors("codebook"), *(b.encode() for b in frozen_things().codebooks.values())]
    entries = [book for book in books if _is_codebook(book)]
    return [bytes((len(codes),)) + codes + book for book in [*entries, b"\0"]]


def _is_codebook(content: bytes) -> bool:
    try:
        Codebook.decode(content)
    except FrameCorrupt:
        return False
    return True


def _dictionary(content: bytes) -> None:
    at = 2 + content[0] if content else 0
    packed, dictionary = content[2:at], Dictionary.decode(content[at:])
    form = content[1]
    for vocabulary in Vocabulary:
        try:
            segment = dictionary.decompress(vocabulary, form, packed)
        except FrameCorrupt:
            continue
        assert len(segment.tokens) <= SYMBOLS_BYTES_MAX
    dictionary.codes(Segment(Vocabulary.BYTES, resources().segments[0].tokens[:4]))


@cache
def _dictionaries() -> Sequence[bytes]:
    things, out = resources(), []
    for dictionary in things.dictionaries.values():
        for segment in list(things.segments.values())[:20]:
            found = dictionary.compress(segment)
            if found is not None and len(found[1]) < 250:
                form, packed = found
                out.append(bytes((len(packed), form)) + packed + dictionary.encode())
    return out


def _substring(content: bytes) -> None:
    segment = decode_substring(content)
    assert encode_substring(segment.vocabulary, segment.tokens) == content


def _table(content: bytes) -> None:
    spellings = parse_table(content)
    assert parse_table(render_table(spellings)) == spellings


_BASE = Base(b"what is often said, and said again, is what others refer to; " * 8)


def _zstd(content: bytes) -> None:
    length, at = read_varint(content, 0, bits_max=25)
    assert len(decompress(content[at:], length, window_bytes_max=1 << 24)) == length


def _zstd_on_base(content: bytes) -> None:
    length, at = read_varint(content, 0, bits_max=25)
    assert len(_BASE.decompress(content[at:], length)) == length


def _with_length(content: bytes, packed: bytes) -> bytes:
    out = bytearray()
    append_varint(out, len(content))
    return bytes(out) + packed


def _zstd_seeds() -> Sequence[bytes]:
    contents = [b"abc" * 50, bytes(3000), bytes(range(256)), _BASE.content[7:300]]
    return [_with_length(one, bytes(compress(one, 3))) for one in contents]


def _base_seeds() -> Sequence[bytes]:
    contents = [b"abc" * 50, bytes(3000), _BASE.content[7:300], _BASE.content[::-1]]
    return [_with_length(one, _BASE.compress(one, 3)) for one in contents]


TARGETS = (
    Target("frame", _frame, frames, (FrameCorrupt,)),
    Target("codebook", _codebook, _codebooks, (FrameCorrupt,)),
    Target("dictionary", _dictionary, _dictionaries, (FrameCorrupt,)),
    Target("substring", _substring, lambda: of_vectors("substring"), (FrameCorrupt,)),
    Target("token-table", _table, lambda: of_vectors("token-table"), (FrameCorrupt,)),
    Target("zstd", _zstd, _zstd_seeds),
    Target("zstd-base", _zstd_on_base, _base_seeds),
)
