"""Many texts at once are the segments that each would be alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.frames.address import segment_hash, segment_key
from stowkenfs.frames.codec import LEVEL_QUICK, decode_frame, encode_frame
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.texts import encode_texts
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import Vocabulary
from stowkenfs.minimal_zstd import compress, compress_many
from tests.frames.strategies import texts
from tests.kernels import both

WORDS = [f"a text of words {n} " * n for n in range(1, 30)]
CHINESE = ["\u6211\u4eec\u5728\u8fd9\u91cc\u8bf4\u8bdd\uff0c" * n for n in range(1, 9)]
NOISE = [np.random.default_rng(n).bytes(40 * n).hex() for n in range(1, 9)]


def alone(text: str, vocabulary: Vocabulary) -> tuple[Segment, bytes]:
    """As tokens, unless bytes are smaller and tokens more than 0.6 of the text."""
    utf8 = text.encode()
    tokens = None if vocabulary is Vocabulary.BYTES else tokenize(text, vocabulary)
    plain = np.frombuffer(utf8, np.uint8).astype(np.uint32)
    as_bytes = encode_frame(plain, Vocabulary.BYTES)
    if tokens is None:
        return Segment(Vocabulary.BYTES, plain), as_bytes
    frame = encode_frame(tokens, vocabulary)
    if len(frame) > 0.6 * len(utf8) and len(as_bytes) < len(frame):
        return Segment(Vocabulary.BYTES, plain), as_bytes
    return Segment(vocabulary, tokens), frame


def check(some: list[str], vocabulary: Vocabulary) -> None:
    contents = [text.encode() for text in some]
    for text, found in zip(
        some, encode_texts(contents, vocabulary, level=LEVEL_QUICK), strict=True
    ):
        segment, frame = alone(text, vocabulary)
        assert found.frame == frame
        assert found.segment.vocabulary is segment.vocabulary
        assert found.segment.tokens.tolist() == segment.tokens.tolist()
        assert found.key == segment_key(segment_hash(segment.tokens), segment.vocabulary)
        assert decode_frame(frame).tokens.tolist() == segment.tokens.tolist()


@pytest.mark.parametrize(
    "vocabulary", [Vocabulary.O200K_BASE, Vocabulary.CL100K_BASE, Vocabulary.BYTES]
)
def test_many_are_as_each_alone(vocabulary: Vocabulary) -> None:
    check([*WORDS, *CHINESE, *NOISE, "", "short"], vocabulary)
    check([], vocabulary)


@settings(deadline=None)
@given(st.lists(texts, max_size=12))
def test_any_texts(some: list[str]) -> None:
    check(some, Vocabulary.O200K_BASE)


@given(st.lists(st.sampled_from([*WORDS, *NOISE]), max_size=20))
def test_the_same_without_compiled_code(some: list[str]) -> None:
    contents = [text.encode() for text in some]
    both(lambda: [one.frame for one in encode_texts(contents, Vocabulary.O200K_BASE, level=6)])


def test_any_bytes() -> None:
    (found,) = encode_texts([bytes(range(256))], Vocabulary.BYTES, level=6)
    assert found.segment.tokens.tolist() == list(range(256))


@pytest.mark.parametrize("count", [0, 1, 8, 30, 5000])
@pytest.mark.parametrize("level", [1, 6, 15])
def test_zstd_makes_the_same_of_many(count: int, level: int) -> None:
    contents = [f"{n} and {n * n} ".encode() * (n % 50 + 1) for n in range(count)]
    assert compress_many(contents, level) == [compress(content, level) for content in contents]
