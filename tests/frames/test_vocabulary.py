import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames.token_table import NAMES
from stowkenfs.frames.vocabulary import (
    TEXT_BYTES_MAX,
    NoSpelling,
    spell,
    vocabulary_for,
    vocabulary_of_ids,
)
from stowkenfs.ids import Vocabulary
from tests.frames.strategies import array, arrays

CL, O2 = Vocabulary.CL100K_BASE, Vocabulary.O200K_BASE


@pytest.mark.parametrize(
    ("vocabulary", "ids", "text"),
    [
        (CL, [15339, 1917], b"hello world"),  # OpenAI's cookbook example: hello is 15339
        (O2, [24912, 2375], b"hello world"),
        (CL, [100257, 100276], b"<|endoftext|><|endofprompt|>"),
        (O2, [199999, 200018], b"<|endoftext|><|endofprompt|>"),
        (O2, [200006, 200008, 200007, 200012], b"<|start|><|message|><|end|><|call|>"),
        (Vocabulary.BYTES, [0, 104, 255], b"\x00h\xff"),
        *[(vocabulary, [], b"") for vocabulary in (CL, O2, Vocabulary.BYTES)],
    ],
)
def test_spelling(vocabulary, ids, text):
    assert spell(array(ids), vocabulary) == text


@pytest.mark.parametrize(
    ("vocabulary", "token_id"),
    [
        (CL, 100256),  # between the ordinary and the special ones
        (CL, 100261),
        (CL, 100277),
        (CL, 2**32 - 1),
        (O2, 200000),
        (O2, 200019),
        (Vocabulary.BYTES, 256),
    ],
)
def test_unknown_ids_are_named(vocabulary, token_id):
    with pytest.raises(FrameCorrupt, match=f"{vocabulary.name} has no id {token_id}"):
        spell(array([1, 2, token_id, 3]), vocabulary)


def test_foreign_ids_have_no_text():
    with pytest.raises(NoSpelling):
        spell(array([1]), Vocabulary.FOREIGN)


@settings(deadline=None)
@given(arrays, st.sampled_from([CL, O2, Vocabulary.BYTES]))
def test_any_ids_have_a_text_or_are_corrupt(ids, vocabulary):
    try:
        text = spell(ids, vocabulary)
    except FrameCorrupt:
        return
    assert text == b"".join(spell(array([i]), vocabulary) for i in ids.tolist())


@pytest.mark.parametrize("vocabulary", NAMES)
def test_spelling_across_the_gathered_parts(vocabulary):
    ids = np.arange(NAMES[vocabulary].ordinary, dtype=np.uint32)
    cut = len(ids) // 3
    whole = spell(ids, vocabulary)
    assert whole == spell(ids[:cut], vocabulary) + spell(ids[cut:], vocabulary)


def test_a_text_out_of_proportion_is_refused():
    """A frame of 60 bytes can hold 16 million ids of 128 spaces each."""
    from stowkenfs.frames.token_table import token_table

    spaces = token_table(O2).spellings.tolist().index(b" " * 128)
    just = array([spaces] * (TEXT_BYTES_MAX // 128))
    assert len(spell(just, O2)) == TEXT_BYTES_MAX
    with pytest.raises(FrameCorrupt, match="a text of more than"):
        spell(np.append(just, just[:1]), O2)
    with pytest.raises(FrameCorrupt, match="a text of more than"):
        spell(np.zeros(TEXT_BYTES_MAX + 1, np.uint32), Vocabulary.BYTES)


@pytest.mark.parametrize(
    ("tokenizer", "model", "expected"),
    [
        ("cl100k_base", "gpt-4o", CL),
        (" CL100K_Base ", None, CL),
        ("cl100k base", None, CL),
        ("cl100k-base", None, CL),
        ("o200k_base", "gpt-4", O2),
        ("o200k_harmony", None, O2),
        ("claude", "gpt-4", CL),
        ("", "gpt-4", CL),
        (None, None, O2),
        (None, "claude-opus-4", O2),
        (None, "o100", O2),
    ],
)
def test_the_vocabulary_for_text(tokenizer, model, expected):
    assert vocabulary_for(tokenizer, model) is expected


O200K_MODELS = [
    "gpt-4o",
    "gpt-4o-mini-2024-07-18",
    "chatgpt-4o-latest",
    "o1",
    "o1-preview",
    "o3-mini",
    "o4-mini",
    "gpt-4.1-nano",
    "gpt-4.5-preview",
    "gpt-5",
    "gpt-5.1-codex",
    "gpt-oss-120b",
    "openai/gpt-4o",
    "azure/openai/gpt-4o",
    "openai/o1",
    "openai.gpt-oss-20b-1:0",
    "ft:gpt-4o-mini:acme::1",
    "GPT-4O",
]
CL100K_MODELS = [
    "gpt-4",
    "gpt-4-0613",
    "gpt-4-turbo",
    "gpt-4-32k",
    "gpt-3.5-turbo",
    "gpt-35-turbo",
    "text-embedding-ada-002",
    "text-embedding-3-large",
    "openai/gpt-4",
    "azure/gpt-35-turbo",
    "ft:gpt-3.5-turbo:acme::1",
]
UNKNOWN_MODELS = ["o100", "o1x", "gpt-4.7", "gpt-45", "claude-3", "my-gpt-4o", "", "llama/o2"]


@pytest.mark.parametrize("model", O200K_MODELS)
def test_models_of_o200k(model):
    assert vocabulary_of_ids(None, model) is O2
    assert vocabulary_for(None, f" {model} ") is O2


@pytest.mark.parametrize("model", CL100K_MODELS)
def test_models_of_cl100k(model):
    assert vocabulary_of_ids(None, model) is CL
    assert vocabulary_for(None, model) is CL


@pytest.mark.parametrize("model", UNKNOWN_MODELS)
def test_ids_of_unknown_models_are_foreign(model):
    assert vocabulary_of_ids(None, model) is Vocabulary.FOREIGN
    assert vocabulary_for(None, model) is O2


def test_an_unknown_tokenizer_of_ids_is_not_overruled_by_the_model():
    assert vocabulary_of_ids("llama3", "gpt-4o") is Vocabulary.FOREIGN
    assert vocabulary_of_ids("cl100k_base", "llama-3") is CL
    assert vocabulary_of_ids(" ", "gpt-4o") is O2
    assert vocabulary_of_ids(None, None) is Vocabulary.FOREIGN
