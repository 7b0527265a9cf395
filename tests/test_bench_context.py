"""``tools/bench --context`` measures each step, hot and compacted, and through a mount."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lib.context.command import BUDGETS, STEPS, described
from lib.context.generate import session_log

from tests.context.validators import session_violations
from tests.mount.mounted import skip_without_fuse

BENCH = Path(__file__).parents[1] / "tools" / "bench"


@pytest.mark.mount
def test_each_step_is_measured() -> None:
    skip_without_fuse()
    words = ["--context", "--rounds", "1", "--messages", "600", "--json"]
    ran = subprocess.run(
        [sys.executable, BENCH, *words], capture_output=True, text=True, check=True
    )
    told = json.loads(ran.stdout)
    assert set(told["tiers"]) == {"hot", "compacted"}
    for budgets in told["tiers"].values():
        assert list(budgets) == [str(budget) for budget in BUDGETS]
        assert all(set(times) == set(STEPS) for times in budgets.values())
    assert all(took > 0 for took in told["mount"].values())
    assert "600 messages" in described(told)


def test_the_log_is_a_session() -> None:
    log = session_log(100)
    assert log == session_log(100)
    lines = [json.loads(line) for line in log.splitlines()]
    assert len(lines) == 100
    assert session_violations(lines) == []
