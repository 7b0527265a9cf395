"""Training; what its figures say is measured again with frames, as a vault would write them."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from stowkenfs.frames import dictionary_training as module
from stowkenfs.frames.codebook import CODED_IDS
from stowkenfs.frames.codec import LEVEL_DENSE, EncodeChoices, decode_frame, encode_frame
from stowkenfs.frames.dictionary_training import (
    LONG_IDS,
    SAMPLES_MIN,
    SIZES_BYTES,
    DictionaryTraining,
    train_dictionary,
)
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.tokenizer import tokenize_many
from stowkenfs.ids import Vocabulary
from tests.documents.corpora import unpacked
from tests.frames.resources import Resources
from tests.frames.strategies import array

O200K = Vocabulary.O200K_BASE


def phrases(count: int, seed: int = 1, vocabulary: Vocabulary = O200K) -> list[Segment]:
    """Segments of some phrases, drawn again and again, and a few ids of their own."""
    random = np.random.default_rng(seed)
    ids_max = 256 if vocabulary is Vocabulary.BYTES else 60_000
    known = [np.random.default_rng(k).integers(0, ids_max, 7 + k % 9) for k in range(50)]
    segments = []
    for _ in range(count):
        parts = [known[k] for k in random.integers(0, len(known), 4)]
        parts.append(random.integers(0, ids_max, 2))
        segments.append(Segment(vocabulary, np.concatenate(parts).astype(np.uint32)))
    return segments


def noise(count: int, ids: int = 30) -> list[Segment]:
    random = np.random.default_rng(2)
    tokens = random.integers(0, 200_000, (count, ids), np.uint32)
    return [Segment(O200K, one) for one in tokens]


def bytes_of(segments: list[Segment], training: DictionaryTraining) -> int:
    """Length of the frames, each read again."""
    choices, resources = EncodeChoices(), Resources()
    if training.dictionary is not None:
        choices = EncodeChoices(dictionary=(0, training.dictionary))
        resources = Resources(dictionaries={0: training.dictionary})
    total = 0
    for one in segments:
        frame = encode_frame(one.tokens, one.vocabulary, level=LEVEL_DENSE, choices=choices)
        assert np.array_equal(decode_frame(frame, resources).tokens, one.tokens)
        total += len(frame)
    return total


NOTHING = DictionaryTraining(None, 0, 0, 0, 0, 0, 0, ())


@pytest.mark.parametrize("vocabulary", Vocabulary)
def test_the_figures_are_those_of_the_frames(vocabulary):
    samples = phrases(400, vocabulary=vocabulary)
    training = train_dictionary(samples)
    heldout = samples[3::4]
    assert training.dictionary is not None
    assert (training.sample_count, training.heldout_count) == (400, 100)
    assert training.dictionary.sample_count == 300
    assert training.heldout_before == bytes_of(heldout, NOTHING)
    assert training.heldout_after == bytes_of(heldout, training)
    assert training.heldout_after < 0.6 * training.heldout_before


def test_the_best_of_all_tried_is_taken():
    training = train_dictionary(phrases(400), stored_bytes=200_000)
    best = min(training.tried, key=lambda one: one.total_bytes)
    dictionary = training.dictionary
    assert dictionary is not None
    assert best.total_bytes == training.total_bytes < training.stored_bytes == 200_000
    assert best.size_bytes == dictionary.size_bytes == len(dictionary.encode())
    assert best.trained_bytes == len(dictionary.trained)
    for one in training.tried:
        share = one.heldout_after / training.heldout_before
        assert one.total_bytes == pytest.approx(one.size_bytes + 200_000 * share, abs=1)
    assert [one.trained_bytes for one in training.tried][:3] == list(SIZES_BYTES[:3])


def test_more_is_spent_for_more_frames():
    samples = phrases(400)
    few, many = (train_dictionary(samples, stored_bytes=size).dictionary for size in (3000, 10**8))
    assert few is not None
    assert many is not None
    assert few.size_bytes < many.size_bytes


def test_it_is_deterministic():
    samples = phrases(300)
    first, second = train_dictionary(samples), train_dictionary(list(samples))
    assert first.dictionary is not None
    assert second.dictionary is not None
    assert first.dictionary.encode() == second.dictionary.encode()
    assert first.tried == second.tried


def test_what_does_not_pay_is_not_returned():
    training = train_dictionary(noise(200))
    assert training.dictionary is None
    assert training.heldout_after == training.heldout_before > 0
    assert training.total_bytes == training.stored_bytes > 0
    assert training.tried
    assert min(one.total_bytes for one in training.tried) >= training.stored_bytes


def test_what_pays_for_many_frames_does_not_for_few():
    samples = phrases(400)
    assert train_dictionary(samples, stored_bytes=100).dictionary is None
    assert train_dictionary(samples, stored_bytes=0).dictionary is None


@pytest.mark.parametrize("count", range(SAMPLES_MIN + 3))
def test_few_samples(count):
    training = train_dictionary(phrases(count) + [Segment(O200K, array([]))] * 9)
    assert training.sample_count == count
    assert bool(training.tried) == (count >= SAMPLES_MIN)
    if not training.tried:
        assert training.dictionary is None
        assert training.total_bytes == training.stored_bytes


def test_the_shortest_samples():
    """zstd has nothing to train on, the codebook has."""
    training = train_dictionary([Segment(O200K, array([30_000]))] * 100, stored_bytes=10_000)
    assert training.dictionary is not None
    assert [one.trained_bytes for one in training.tried] == [0]


def test_samples_that_have_no_code_are_left_out():
    samples = [Segment(Vocabulary.FOREIGN, array([CODED_IDS]))] * 20
    assert train_dictionary(samples).sample_count == 0


def test_long_samples_count_as_they_are():
    samples = phrases(39)
    samples.append(Segment(O200K, np.resize(samples[0].tokens, LONG_IDS + 1)))
    random = np.random.default_rng(3).integers(0, 60_000, LONG_IDS + 1).astype(np.uint32)
    without = train_dictionary(samples)
    samples[-1] = Segment(O200K, random)
    training = train_dictionary(samples, stored_bytes=10**6)
    long_bytes = training.heldout_before - without.heldout_before
    assert long_bytes > 2 * LONG_IDS
    assert all(one.heldout_after > long_bytes for one in training.tried)
    samples[0] = samples[-1]  # not among the held-out ones: not trained on
    again = train_dictionary(samples, stored_bytes=10**6)
    assert again.tried[0].codebook_ids <= training.tried[0].codebook_ids


def test_no_more_is_trained_on_than_the_bound(monkeypatch):
    monkeypatch.setattr(module, "TRAINING_IDS_MAX", 2000)
    samples = phrases(400)
    training = train_dictionary(samples)
    used = sum(len(one.tokens) for one in samples[: training.sample_count])
    assert 1900 < used <= 2000
    assert train_dictionary(samples[: training.sample_count]).tried == training.tried


# Real text


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split("\n\n")
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def texts_of(name: str, content: str) -> list[str]:
    """Each text of 48 characters and more once, as a vault stores them."""
    records = (
        json.loads(content) if name.endswith(".json") else map(json.loads, content.split("\n"))
    )
    return list(dict.fromkeys(text for text in strings(list(records)) if len(text) >= 48))


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("corpus", "file", "share_max"),
    [
        ("hh-harmless", "harmless-base/test.jsonl", 0.75),
        ("tau-airline", "historical_trajectories/gpt-4o-airline.json", 0.55),
    ],
)
def test_real_text_shrinks(corpus, file, share_max, tmp_path):
    content = (unpacked(corpus, tmp_path) / file).read_text().strip()
    found = tokenize_many(texts_of(file, content)[:4000], O200K)
    samples = [Segment(O200K, tokens) for tokens in found if tokens is not None]
    training = train_dictionary(samples)
    assert training.heldout_after <= share_max * training.heldout_before
    assert training.total_bytes < 0.9 * training.stored_bytes
    assert training.heldout_after == bytes_of(samples[3::4], training)
