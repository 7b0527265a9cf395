"""Canonical bytes of models, and what is refused."""

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.ids import Vocabulary
from stowkenfs.predict import planes
from stowkenfs.predict.model import MODEL_BYTES_MAX, Model
from tests.format_vectors import VECTORS
from tests.predict.strategies import SEGMENTS
from tests.predict.test_coder import model_of

CONTENT = bytes.fromhex(VECTORS["model/trained"]["hex"])


@settings(deadline=None, max_examples=40)
@given(SEGMENTS, st.integers(1, 4))
def test_equal_models_have_equal_bytes_and_come_back(segments, depth: int) -> None:
    model, again = model_of(segments, depth), model_of(segments, depth)
    content = model.encode()
    assert again.encode() == content
    assert again.hash == model.hash
    found = Model.decode(content)
    for field in dataclasses.fields(Model):
        if field.compare:
            wanted = getattr(model, field.name)
            assert np.array_equal(getattr(found, field.name), wanted)


@settings(deadline=None)
@given(st.integers(0, len(CONTENT) - 1), st.integers(1, 255), st.booleans())
def test_damage_is_refused_or_is_another_model(at: int, change: int, cut: bool) -> None:
    damaged = bytearray(CONTENT)
    damaged[at] ^= change
    content = bytes(damaged[:at]) if cut else bytes(damaged)
    try:
        model = Model.decode(content)
    except FrameCorrupt:
        return
    assert model.encode() == content
    assert not cut


@settings(deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(FrameCorrupt):
        Model.decode(content)


@pytest.mark.parametrize("at", range(36, 56, 4))
def test_huge_counts_take_no_memory(at: int) -> None:
    content = bytearray(CONTENT)
    content[at : at + 4] = b"\xff" * 4
    with pytest.raises(FrameCorrupt):
        Model.decode(bytes(content))


def test_a_model_that_is_too_long() -> None:
    with pytest.raises(FrameCorrupt, match="at most"):
        Model.decode(bytes(MODEL_BYTES_MAX + 1))


def test_no_array_can_be_changed() -> None:
    model = Model.decode(CONTENT)
    for array in (model.keys, model.tokens, model.arrays.starts, model.arrays.slots):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_it_is_found_in_another_process() -> None:
    assert pickle.loads(pickle.dumps(Model.decode(CONTENT))).encode() == CONTENT


def test_memory_is_counted() -> None:
    model = Model.decode(CONTENT)
    arrays = model.arrays
    assert model.memory_bytes > arrays.tokens.nbytes + arrays.starts.nbytes + arrays.keys.nbytes


@given(st.lists(st.tuples(st.integers(0, 2**24 - 1), st.booleans())))
def test_differences_and_planes_come_back(drawn: list[tuple[int, bool]]) -> None:
    """Ascending between the places where they begin anew."""
    numbers: list[int] = []
    begins: list[bool] = []
    for number, begin in drawn:
        is_begin = begin or not numbers or number < numbers[-1]
        numbers.append(number)
        begins.append(is_begin)
    array, flags = np.array(numbers, np.uint32), np.array(begins, bool)
    written = planes.pack(planes.differences(array, flags))
    assert len(written) == planes.ITEM_BYTES * len(numbers)
    read = planes.unpack(b"x" + written, 1, len(numbers))
    assert planes.summed(read, flags).tolist() == numbers


def test_vocabularies_are_kept() -> None:
    for vocabulary in Vocabulary:
        content = bytearray(CONTENT)
        content[1] = vocabulary
        assert Model.decode(bytes(content)).vocabulary is vocabulary
