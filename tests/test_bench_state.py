"""``tools/bench --state`` measures each format, and updates in each way to save them."""

import json

import pytest
from lib.state import measures
from lib.state.command import run_state

FORMATS = ["binary", "json", "compressed", "npy", "snapshot", "delta"]


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "GRIDS", 2)
    monkeypatch.setattr(measures, "UPDATES", 6)


def test_each_format_and_each_way(capsys: pytest.CaptureFixture[str]) -> None:
    run_state(1, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert list(told["formats"]) == ["sparse", "dense"]
    for rows in told["formats"].values():
        assert list(rows) == FORMATS
        assert all(value is None or value > 0 for row in rows.values() for value in row.values())
        assert rows["binary"]["bytes"] == 20_008
        assert rows["delta"]["bytes"] < 100
    updates = told["updates"]
    assert updates["full files"]["bytes"] == 6 * 20_008
    deltas = updates["in the vault, IncrementalState"]
    assert 0 < deltas["packs"] < updates["in the vault, a file for each"]["packs"]
    assert deltas["bytes"] < 6 * 100


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    run_state(1, as_json=False)
    printed = capsys.readouterr().out
    for name in (*FORMATS, "full files", "in the vault, IncrementalState"):
        assert f"\n| {name} " in printed
