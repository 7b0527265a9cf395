"""A run of keys without some of its entries, and with other values."""

import numpy as np
import pytest

from stowkenfs.errors import Corrupt
from stowkenfs.index.key_merge import changed_run, cut_run
from stowkenfs.index.keys import KEYS_MAX, Grain, KeyItems, decode_keys

RANDOM = np.random.default_rng(7)


def run_of(keys: np.ndarray, values: np.ndarray, grain: Grain) -> list[KeyItems]:
    return [decode_keys(block.payload, block.count) for block in cut_run(keys, values, 20, grain)]


@pytest.mark.parametrize("grain", list(Grain))
@pytest.mark.parametrize("total", [1, 50, 3 * KEYS_MAX])
def test_entries_go_and_others_lead_elsewhere(grain: Grain, total: int) -> None:
    keys = RANDOM.integers(-(1 << 63), 1 << 63, total, np.int64)
    values = np.arange(total) // 3 * 2

    def change(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        stays = numbers % 4 != 2
        return stays, numbers[stays] + 1

    before = run_of(keys, values, grain)
    after = [decode_keys(block.payload, block.count) for block in changed_run(iter(before), change)]
    stays = values % 4 != 2
    found = {
        int(at): set(some[positions == at].tolist())
        for items in after
        for positions, some in [items.find(keys)]
        for at in np.unique(positions)
    }
    assert all(items.grain is grain and items.bits == before[0].bits for items in after)
    assert sum(map(len, after)) == stays.sum()
    for at in np.flatnonzero(stays).tolist():
        assert values[at] + 1 in found[at]


def test_nothing_is_left_of_a_run() -> None:
    items = run_of(np.arange(9), np.arange(9), Grain.EXACT)
    nothing = list(changed_run(iter(items), lambda n: (np.zeros(len(n), np.bool_), n[:0])))
    assert nothing == []


def test_blocks_of_two_runs_are_damage() -> None:
    one = run_of(np.arange(9), np.arange(9), Grain.EXACT)
    with pytest.raises(Corrupt):
        list(changed_run(iter(one + one), lambda n: (np.ones(len(n), np.bool_), n)))
