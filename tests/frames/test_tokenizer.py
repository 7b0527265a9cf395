import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.frames import tokenizer
from stowkenfs.frames.token_table import NAMES
from stowkenfs.frames.tokenizer import tokenize, tokenize_many
from stowkenfs.frames.vocabulary import TEXT_BYTES_MAX, NoSpelling, spell
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import texts

SIZE = 65536
PATHOLOGICAL = {
    "one letter": "a" * SIZE,
    "spaces": " " * SIZE,
    "a million spaces": " " * 1_000_000,
    "spaces before a letter": " " * SIZE + "b",
    "newlines": "\n" * SIZE,
    "crlf": "\r\n" * (SIZE // 2),
    "tabs": "\t" * SIZE,
    "digits": "1" * SIZE,
    "punctuation": "!" * SIZE,
    "case": "aA" * (SIZE // 2),
    "apostrophes": "'s" * (SIZE // 2),
    "CJK without spaces": "".join(chr(0x4E00 + i * 7919 % 20000) for i in range(SIZE // 3)),
    "emoji ZWJ": "\U0001f469\u200d\U0001f469\u200d\U0001f467" * (SIZE // 18),
    "combining marks": "e" + "\u0301" * (SIZE // 2),
    "special tokens": "<|endoftext|><|im_start|><|endofprompt|><|fim_prefix|>" * 1000,
    "NUL": "\0" * SIZE,
    "noncharacters": "\ufffe\uffff\U0010ffff" * 1000,
    "BOM": "\ufeffhello",
    "nothing": "",
}
BOTH = pytest.mark.parametrize("vocabulary", NAMES)


@BOTH
@pytest.mark.parametrize("name", PATHOLOGICAL)
def test_pathological_text_survives(name, vocabulary):
    text = PATHOLOGICAL[name]
    ids = tokenize(text, vocabulary)
    assert ids is not None
    assert spell(ids, vocabulary) == text.encode()
    assert not ids.flags.writeable
    assert ids.dtype == np.uint32


@settings(deadline=None)
@given(texts, st.sampled_from([*NAMES, Vocabulary.BYTES]))
def test_any_text_survives(text, vocabulary):
    ids = tokenize(text, vocabulary)
    assert ids is not None
    assert spell(ids, vocabulary) == text.encode()


@BOTH
def test_special_tokens_are_never_promoted(vocabulary):
    text = PATHOLOGICAL["special tokens"]
    for ids in (tokenize(text, vocabulary), *tokenize_many([text, text], vocabulary)):
        assert ids is not None
        assert ids.max() < NAMES[vocabulary].ordinary


@BOTH
def test_ids_are_those_of_encode_ordinary(vocabulary):
    """splintr's own vocabulary, which is not built from our table, is the oracle."""
    import splintr

    oracle = splintr.Tokenizer.from_pretrained(vocabulary.name.lower())
    for text in ("Hello, world! I've 1234 things.\n\n  x = 1", *PATHOLOGICAL.values()):
        ids = tokenize(text, vocabulary)
        assert ids is not None
        assert ids.tolist() == oracle.encode_ordinary(text)


@settings(max_examples=30, deadline=None)
@given(st.lists(texts, max_size=8), st.sampled_from([*NAMES, Vocabulary.BYTES]))
def test_many_are_the_same_as_each(several, vocabulary):
    many = tokenize_many(several, vocabulary)
    assert len(many) == len(several)
    for text, ids in zip(several, many, strict=True):
        alone = tokenize(text, vocabulary)
        assert ids is not None
        assert alone is not None
        assert ids.tolist() == alone.tolist()


@BOTH
def test_many_over_several_batches(vocabulary):
    several = [f"{number} " * 30_000 for number in range(40)]
    assert sum(map(len, several)) > 2 * tokenizer._BATCH_CHARACTERS
    for text, ids in zip(several, tokenize_many(several, vocabulary), strict=True):
        assert ids is not None
        assert spell(ids, vocabulary) == text.encode()


@pytest.mark.parametrize("vocabulary", [*NAMES, Vocabulary.BYTES])
@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "x" * (TEXT_BYTES_MAX + 1)])
def test_what_does_not_survive_is_none(text, vocabulary):
    assert tokenize(text, vocabulary) is None
    assert [ids is None for ids in tokenize_many(["a", text, "b"], vocabulary)] == [
        False,
        True,
        False,
    ]


def test_text_is_measured_in_utf8():
    text = "\u4e00" * (TEXT_BYTES_MAX // 3 + 1)
    assert tokenize(text, Vocabulary.BYTES) is None


def test_a_tokenizer_that_changes_the_text_is_not_believed(monkeypatch):
    encoder = tokenizer._encoder_of(Vocabulary.O200K_BASE)
    other = tokenize("other", Vocabulary.O200K_BASE)
    monkeypatch.setattr(type(encoder), "encode", lambda *_: other)
    monkeypatch.setattr(type(encoder), "encode_many", lambda *_: [other, other])
    assert tokenize("text", Vocabulary.O200K_BASE) is None
    assert tokenize_many(["text", "other"], Vocabulary.O200K_BASE) == [None, other]


def test_foreign_is_no_vocabulary_for_text():
    with pytest.raises(NoSpelling):
        tokenize("a", Vocabulary.FOREIGN)
    with pytest.raises(NoSpelling):
        tokenize_many(["a"], Vocabulary.FOREIGN)


def test_the_cache_of_splintr_is_bounded(monkeypatch):
    monkeypatch.setattr(tokenizer, "_CACHED_TEXT_BYTES_MAX", 100)
    encoder = tokenizer._Encoder(Vocabulary.CL100K_BASE)
    for number in range(100):
        encoder.encode(f"word{number}", 50)
        assert encoder._splintr.cache_len <= 6


def test_threads_share_one_tokenizer():
    several = [f"text {number} " + "abc" * number for number in range(300)]
    expected = [tokenize(text, Vocabulary.O200K_BASE) for text in several]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda text: tokenize(text, Vocabulary.O200K_BASE), several))
    for one, other in zip(expected, found, strict=True):
        assert one is not None
        assert other is not None
        assert one.tolist() == other.tolist()


WITHOUT_SPLINTR = """
import sys
sys.modules["splintr"] = None  # import splintr now raises ModuleNotFoundError
from stowkenfs.frames.codec import decode_frame
from stowkenfs.frames.tokenizer import TokenizerMissing, tokenize, tokenize_many
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
segment = decode_frame(bytes.fromhex("0102d0c201c712"))
assert spell(segment.tokens, segment.vocabulary) == b"hello world"
assert tokenize("a", Vocabulary.BYTES).tolist() == [97]
for attempt, argument in ((tokenize, "a"), (tokenize_many, ["a"])):
    try:
        attempt(argument, segment.vocabulary)
    except TokenizerMissing as error:
        assert "pip install splintr-rs" in str(error), error
    else:
        raise AssertionError
"""


def test_without_splintr_reading_works_and_writing_says_what_to_install():
    subprocess.run([sys.executable, "-c", WITHOUT_SPLINTR], check=True)
