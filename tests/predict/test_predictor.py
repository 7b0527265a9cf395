"""Learning within bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stowkenfs import kernels
from stowkenfs.predict.compressor import NodeCompressor
from stowkenfs.predict.model import END
from stowkenfs.predict.predictor import Predictor
from tests.kernels import using
from tests.predict.strategies import SEGMENTS, columns_of, stream


def test_it_predicts_by_the_longest_context_it_knows() -> None:
    predictor = Predictor(depth=2)
    predictor.observe(stream([[1, 2, 3], [1, 2, 3], [1, 2, 4], [9, 2, 5]]))
    found = predictor.predict((7, 1, 2))
    assert found.context == (1, 2)
    assert found.distribution == {3: 2 / 3, 4: 1 / 3}
    assert predictor.predict((8, 2)).context == (2,)
    unknown = predictor.predict((8,))
    assert unknown.context == ()
    assert sum(unknown.distribution.values()) == pytest.approx(1)


def test_nothing_is_predicted_of_nothing() -> None:
    assert Predictor().predict((1, 2)).distribution == {}


def test_segments_do_not_follow_each_other() -> None:
    predictor = Predictor(depth=3)
    predictor.observe(stream([[1], [2]]))
    assert predictor.predict((1, END)).context == (END,)
    assert predictor.predict((END,)).distribution == {1: 0.5, 2: 0.5}


@pytest.mark.parametrize("compiled", [kernels.built, None])
@pytest.mark.parametrize("nodes", [6, 40, 300])
def test_it_stays_within_its_bound_and_goes_on_learning(compiled, nodes: int) -> None:
    random = np.random.default_rng(5)
    ids = np.minimum(random.zipf(1.4, 3000), 500).astype(np.uint32)
    with using(compiled):
        predictor = Predictor(NodeCompressor(nodes, min_obs=20, stability_ratio=0.3))
        for part in np.array_split(ids[: nodes * 20], 7):
            predictor.observe(part)
            assert predictor.trie.used <= nodes
    if nodes > 6:
        assert predictor.forgotten
        # What is frequent survives.
        assert max(predictor.predict(()).distribution.items(), key=lambda at: at[1])[0] == 1


@settings(deadline=None, max_examples=30)
@given(SEGMENTS, st.integers(8, 60))
def test_compiled_and_python_forget_and_freeze_the_same(segments, nodes: int) -> None:
    def run() -> tuple[object, ...]:
        predictor = Predictor(NodeCompressor(nodes, min_obs=2, stability_ratio=0.1), depth=2)
        predictor.observe(stream(segments * 3))
        frozen = predictor.compressor.frozen
        return columns_of(predictor.trie), frozen.contexts(), predictor.forgotten

    with using(kernels.built):
        compiled = run()
    with using(None):
        assert run() == compiled


def test_what_has_converged_is_frozen_and_thawed_when_it_changes() -> None:
    predictor = Predictor(NodeCompressor(2000, min_obs=20))
    random = np.random.default_rng(7)
    noise = iter(random.permutation(100_000)[:20_000].reshape(-1, 4))
    predictor.observe(stream([[1, 2, 3, 4]] * 100))
    while not len(predictor.compressor.frozen):
        predictor.observe(stream([next(noise).tolist()]))
    assert predictor.predict((1, 2, 3)).is_frozen
    assert predictor.predict((1, 2, 3)).distribution == {4: 1.0}
    for _ in range(3):  # the first is looked at after it was observed
        predictor.observe(stream([[1, 2, 3, 5]]))
    assert predictor.compressor.stats().thawed
    found = predictor.predict((1, 2, 3))
    assert not found.is_frozen
    assert found.distribution[4] > found.distribution[5] > 0
