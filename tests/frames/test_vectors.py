"""The examples of FORMAT.md: one file a frame, checked both ways."""

import json
from pathlib import Path

import pytest

from stowkenfs.frames.codec import FrameKind, decode_frame, encode_frame, frame_kind
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array

FOLDER = Path(__file__).parent.parent / "vectors" / "frames"
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


@pytest.fixture(params=VECTORS)
def vector(request):
    return VECTORS[request.param]


def test_decoding(vector):
    frame = bytes.fromhex(vector["frame"])
    segment = decode_frame(frame)
    assert frame_kind(frame) == vector["kind"]
    assert segment.vocabulary is Vocabulary[vector["vocabulary"]]
    assert segment.tokens.tolist() == vector["ids"]
    if "text" in vector:
        assert spell(segment.tokens, segment.vocabulary) == vector["text"].encode()


def test_encoding(vector):
    """Of 0x01 every byte is given; what zstd writes may differ by its release."""
    frame = encode_frame(array(vector["ids"]), Vocabulary[vector["vocabulary"]])
    assert frame_kind(frame) == vector["kind"]
    assert decode_frame(frame).tokens.tolist() == vector["ids"]
    if vector["kind"] == FrameKind.VARINT:
        assert frame.hex() == vector["frame"]


def test_each_kind_and_vocabulary_has_a_vector():
    covered = {(vector["kind"], vector["vocabulary"]) for vector in VECTORS.values()}
    kinds = (FrameKind.VARINT, FrameKind.ZSTD)
    assert covered == {(kind, vocabulary.name) for kind in kinds for vocabulary in Vocabulary}
