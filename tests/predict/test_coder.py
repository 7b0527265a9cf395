"""Round trips, damage and limits, in C and in Python, which must agree.

``STOWKENFS_CODER_EXAMPLES`` says how many examples of each to try (40).
"""

import os
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.ids import Vocabulary
from stowkenfs.predict import coder
from stowkenfs.predict.freezing import Worth, freeze
from stowkenfs.predict.model import END, Model
from tests import second_reader_model
from tests.format_vectors import VECTORS
from tests.kernels import both, using
from tests.predict.strategies import IDS, SEGMENTS, learned

THOROUGH = settings(
    deadline=None,
    max_examples=int(os.environ.get("STOWKENFS_CODER_EXAMPLES", "40")),
    suppress_health_check=[HealthCheck.too_slow],
)
ALL = Worth((1, 1, 1, 1), (1, 1, 1, 1))
TRAINED = Model.decode(bytes.fromhex(VECTORS["model/trained"]["hex"]))


def model_of(segments: list[list[int]], depth: int = 3, worth: Worth = ALL) -> Model:
    rows = [np.array(ids, np.uint32) for ids in segments]
    return freeze(learned(segments, depth), Vocabulary.O200K_BASE, rows, worth)


def array(ids: list[int]) -> Any:
    return np.array(ids, np.uint32)


@THOROUGH
@given(SEGMENTS, st.integers(1, 4), st.lists(IDS, max_size=40))
def test_any_ids_come_back_under_any_model(segments, depth: int, ids: list[int]) -> None:
    model = model_of(segments, depth)
    for one in [ids, *segments[:1]]:
        coded = both(partial(coder.encode, array(one), model))
        assert both(partial(coder.decode, coded, model)) == one


@THOROUGH
@given(st.lists(st.integers(0, 40) | st.integers(0, END - 1), max_size=60))
def test_the_second_reader_reads_the_same(ids: list[int]) -> None:
    content = bytes.fromhex(VECTORS["model/trained"]["hex"])
    coded = coder.encode(array(ids), TRAINED)
    assert second_reader_model.read_ids(coded, second_reader_model.read_model(content)) == ids


@THOROUGH
@given(st.binary(max_size=40))
def test_of_any_bytes_only_what_is_encoded_like_this_is_decoded(content: bytes) -> None:
    found = both(lambda: coder.decode(content, TRAINED, 1000))
    if found is not FrameCorrupt:
        assert coder.encode(array(found), TRAINED) == content


@THOROUGH
@given(st.lists(st.integers(0, 40), max_size=40), st.data())
def test_damage_is_seen_or_is_other_ids(ids: list[int], data: st.DataObject) -> None:
    coded = bytearray(coder.encode(array(ids), TRAINED))
    at = data.draw(st.integers(0, len(coded) - 1))
    coded[at] ^= data.draw(st.integers(1, 255))
    found = both(lambda: coder.decode(bytes(coded), TRAINED, 1000))
    assert found != ids
    cut = bytes(coder.encode(array(ids), TRAINED)[:at])
    assert both(lambda: coder.decode(cut, TRAINED, 1000)) != ids


@pytest.mark.parametrize("compiled", [kernels.built, None])
def test_more_ids_than_are_allowed(compiled) -> None:
    """A few bytes may stand for a long run: the limit ends it."""
    with using(compiled):
        coded = coder.encode(array([1, 2] * 3000), TRAINED)
        assert len(coded) < 1000
        assert len(coder.decode(coded, TRAINED, 6000)) == 6000
        with pytest.raises(FrameCorrupt):
            coder.decode(coded, TRAINED, 5999)
        with pytest.raises(FrameCorrupt):
            coder.decode(b"\x7f" * 50, TRAINED, 0)


@pytest.mark.parametrize("compiled", [kernels.built, None])
@pytest.mark.parametrize("odd", [END, END + 1, 2**32 - 1])
def test_ids_that_no_model_has(compiled, odd: int) -> None:
    with using(compiled), pytest.raises(Unstorable):
        coder.encode(array([1, odd]), TRAINED)


def test_many_at_a_time_are_as_one_by_one() -> None:
    rows = [array([]), array([1, 2, 3]), array([3] * 500), array([200_000])]
    coded = coder.encode_many(rows, TRAINED)
    assert coded == [coder.encode(ids, TRAINED) for ids in rows]
    assert [ids.tolist() for ids in coder.decode_many(coded, TRAINED)] == [
        ids.tolist() for ids in rows
    ]
    assert coder.encode_many([], TRAINED) == coder.decode_many([], TRAINED) == []


def test_decoded_ids_are_read_only() -> None:
    for compiled in (kernels.built, None):
        with using(compiled):
            ids = coder.decode(coder.encode(array([1, 2]), TRAINED), TRAINED)
            assert not ids.flags.writeable
            assert ids.dtype == np.uint32


def arguments() -> list[Any]:
    return list(coder._arguments(TRAINED))


@pytest.mark.parametrize(
    ("at", "wrong", "error"),
    [
        (0, 4, ValueError),
        (0, -1, ValueError),
        (0, "3", TypeError),
        (1, np.zeros(15, np.uint32), ValueError),
        (1, np.zeros(16, np.uint16), TypeError),
        (3, np.zeros(100, np.uint32), ValueError),
        (3, np.zeros(2, np.uint32), ValueError),
        (4, np.zeros(9, np.uint32), ValueError),
        (6, np.zeros(9, np.uint32), ValueError),
        (7, np.zeros(9, np.uint32), ValueError),
    ],
)
def test_arrays_that_are_no_model_are_refused(at: int, wrong: object, error) -> None:
    assert kernels.built is not None
    given = arguments()
    given[at] = wrong
    one = np.array([1])
    with pytest.raises(error):
        kernels.built.model_encode(array([1]), one, *given)
    with pytest.raises(error):
        kernels.built.model_decode(b"\1", one * 0, one, 9, *given)


@pytest.mark.parametrize("at", [3, 4, 5, 6, 7])
def test_arrays_with_wrong_numbers_end_without_harm(at: int) -> None:
    """Places are checked where they are used: no answer, or another one, but no crash."""
    assert kernels.built is not None
    random = np.random.default_rng(at)
    one = np.array([1])
    for high in (2, 1 << 12, 1 << 32):
        given = arguments()
        given[at] = random.integers(0, high, len(given[at]), np.uint32)
        if at == 3:
            given[at][::2] = 0  # a table without a free place has no end
        kernels.built.model_encode(array([1, 2, 3]), one * 3, *given)
        kernels.built.model_decode(random.bytes(64), one * 0, one * 64, 99, *given)
