"""``tools/bench --requests`` measures each row on each filesystem."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lib.requests.command import NULL, OWN, PLAIN, described, medians

from tests.mount.mounted import skip_without_fuse

BENCH = Path(__file__).parents[1] / "tools" / "bench"


@pytest.mark.mount
def test_each_row_of_each_filesystem(tmp_path: Path) -> None:
    skip_without_fuse()
    words = ["--requests", "--rounds", "1", "--operations", "10", "--beside", f"again={tmp_path}"]
    ran = subprocess.run(
        [sys.executable, BENCH, *words, "--json"], capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout)
    times = told["microseconds"]
    assert list(times) == [PLAIN, NULL, "again", OWN]
    rows = {tuple(of) for of in times.values()}
    assert len(rows) == 1
    assert all(took > 0 for of in times.values() for took in of.values())
    assert not list(tmp_path.iterdir())
    for row in rows.pop():
        assert row in described(times)


def test_medians_are_of_each_row() -> None:
    rounds = [{"a": {"x": took, "y": 1.0}} for took in (9.0, 2.0, 3.0)]
    assert medians(rounds) == {"a": {"x": 3.0, "y": 1.0}}


def test_what_it_does_not_understand() -> None:
    for words in (["--requests", "--beside", "nowhere"], ["--requests", "--density"]):
        ran = subprocess.run(
            [sys.executable, BENCH, *words], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 2
        assert "Traceback" not in ran.stderr
