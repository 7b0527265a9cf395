"""What a model has not seen surprises it."""

import numpy as np
import pytest

from stowkenfs.errors import Unstorable
from stowkenfs.predict import coder
from stowkenfs.predict.model import END
from stowkenfs.predict.surprise import Surprise, bits_of, strangest, surprise_of
from tests.predict.test_coder import TRAINED, array, model_of

USUAL = [[n, n + 1, n + 2, n + 3] * 5 for n in range(30)]


def test_bits_are_those_of_the_coded_ids() -> None:
    rows = [array([]), array([1, 2, 3]), array([5] * 100)]
    wanted = [8 * len(coder.encode(ids, TRAINED)) for ids in rows]
    assert bits_of(rows, TRAINED).tolist() == wanted
    assert surprise_of(rows, TRAINED) == Surprise(103, sum(wanted))
    assert bits_of([], TRAINED).tolist() == []


def test_the_strangest_come_first() -> None:
    model = model_of(USUAL * 3)
    odd = np.random.default_rng(3).integers(1000, END, 20).tolist()
    rows = [array(ids) for ids in [*USUAL, odd, USUAL[0][:8]]]
    order = strangest(rows, model).tolist()
    assert order[0] == len(USUAL)
    assert len(USUAL) + 1 not in order  # too short
    assert sorted(order) == list(range(len(USUAL) + 1))


def test_a_model_is_stale_when_what_comes_surprises_it_more() -> None:
    model = model_of(USUAL * 3)
    learned = surprise_of([array(ids) for ids in USUAL], model)
    assert not learned.is_stale(learned, ids_min=1)
    other = surprise_of([array([(n * 7 + 5000) % 9000 for n in range(400)])], model)
    assert other.is_stale(learned, ids_min=400)
    assert not other.is_stale(learned, ids_min=401)
    assert not (learned + learned).is_stale(learned, ids_min=1)
    assert (learned + other).bits == learned.bits + other.bits


def test_nothing_surprises_by_nothing() -> None:
    assert Surprise().mean == 0
    assert not Surprise().is_stale(Surprise())


def test_what_cannot_be_coded_is_refused() -> None:
    with pytest.raises(Unstorable):
        bits_of([array([END])], TRAINED)
