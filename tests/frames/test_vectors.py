"""The examples of FORMAT.md: one file a frame, checked both ways."""

import pytest

from stowkenfs.frames.codec import (
    LEVEL_QUICK,
    EncodeChoices,
    FrameKind,
    Segment,
    decode_frame,
    depth_of,
    encode_delta,
    encode_frame,
    encode_nested,
    frame_kind,
    references_of,
)
from stowkenfs.frames.edits import read_edits
from stowkenfs.frames.substrings import SubstringMatcher
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from tests import format_vectors
from tests.frames.resources import Resources, resources_of
from tests.frames.strategies import array

VECTORS = {
    name.removeprefix("frames/"): vector
    for name, vector in format_vectors.VECTORS.items()
    if name.startswith("frames/")
}


@pytest.fixture(params=VECTORS)
def vector(request):
    return VECTORS[request.param]


def test_decoding(vector):
    frame = bytes.fromhex(vector["frame"])
    segment = decode_frame(frame, resources_of(vector))
    assert frame_kind(frame) == vector["kind"]
    assert segment.vocabulary is Vocabulary[vector["vocabulary"]]
    assert segment.tokens.tolist() == vector["ids"]
    if "text" in vector:
        assert spell(segment.tokens, segment.vocabulary) == vector["text"].encode()


def encoded(segment: Segment, resources: Resources) -> bytes:
    """The frame of a segment by all that its vector refers to."""
    for number, canonical in resources.canonicals.items():
        delta = encode_delta(segment, number, canonical)
        assert delta is not None
        return delta
    choices = EncodeChoices(
        substrings=SubstringMatcher(resources.substrings) if resources.substrings else None,
        dictionary=next(iter(resources.dictionaries.items()), None),
    )
    return encode_frame(segment.tokens, segment.vocabulary, choices=choices)


def test_encoding(vector):
    """Where zstd writes nothing every byte is given; what it writes may differ by its release."""
    resources = resources_of(vector)
    segment = Segment(Vocabulary[vector["vocabulary"]], array(vector["ids"]))
    if vector["kind"] == FrameKind.DELTA:
        [(number, canonical)] = resources.canonicals.items()
        frame = encode_delta(segment, number, canonical)
        assert frame is not None
    elif vector["kind"] == FrameKind.NESTED:
        [(number, canonical)] = resources.canonicals.items()
        depth = depth_of(bytes.fromhex(vector["frame"]))
        frame = encode_nested(segment, number, canonical, depth, level=LEVEL_QUICK)
        assert frame is not None
    else:
        dictionary = next(iter(resources.dictionaries.items()), None)
        choices = EncodeChoices(SubstringMatcher(resources.substrings), dictionary)
        frame = encode_frame(segment.tokens, segment.vocabulary, choices=choices)
    assert frame_kind(frame) == vector["kind"]
    assert decode_frame(frame, resources).tokens.tolist() == vector["ids"]
    if vector["kind"] == FrameKind.VARINT or is_plain(vector):
        assert frame.hex() == vector["frame"]


def is_plain(vector: format_vectors.Vector) -> bool:
    """Edits whose literals are not compressed."""
    if vector["kind"] not in (FrameKind.DELTA, FrameKind.SUBSTRINGS, FrameKind.NESTED):
        return False
    start = 2 + (vector["kind"] == FrameKind.NESTED)
    return not read_edits(memoryview(bytes.fromhex(vector["frame"]))[start:]).packed


def test_references(vector):
    numbers = references_of(bytes.fromhex(vector["frame"])).numbers
    of_vector = ("substrings", "dictionaries", "canonicals")
    assert set(numbers) == {int(no) for name in of_vector for no in vector.get(name, ())}


def test_each_kind_and_vocabulary_has_a_vector():
    covered = {(vector["kind"], vector["vocabulary"]) for vector in VECTORS.values()}
    kinds = [kind for kind in FrameKind if kind is not FrameKind.MODEL]
    assert covered == {(kind, vocabulary.name) for kind in kinds for vocabulary in Vocabulary}
