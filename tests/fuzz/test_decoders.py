"""Each decoder on what nobody wrote: its own errors, and nothing else.

``STOWKENFS_FUZZ`` is how many inputs each gets; ``tools/fuzz`` goes on for as long as one likes.
"""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

INPUTS = int(os.environ.get("STOWKENFS_FUZZ", "80"))
SLOW_INPUTS = max(INPUTS // 50, 1)
ENTROPY_BYTES = 42
QUICK = [target for target in TARGETS.values() if not target.slow]
SLOW = [target for target in TARGETS.values() if target.slow]


def named(targets: list[Target]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("target", targets, ids=[target.name for target in targets])


@named(QUICK)
def test_its_seeds_do_no_harm(target: Target) -> None:
    assert target.seeds()
    for content in target.seeds():
        target.check(content)


@named(QUICK)
def test_it_answers_with_its_own_errors(target: Target) -> None:
    @settings(
        max_examples=INPUTS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data: st.DataObject) -> None:
        target.check(data.draw(target.cases()))

    run()


@named(SLOW)
def test_a_whole_vault_of_it(target: Target) -> None:
    choose = random.Random(5)
    for _ in range(SLOW_INPUTS):
        target.check(target.case(choose.randbytes(ENTROPY_BYTES)))


def test_what_is_wrong_is_found() -> None:
    """A target that never fails would prove nothing."""

    def run(content: bytes) -> int:
        return content.index(b"\0")

    target = Target("wrong", run, lambda: [b"a\0"], ())
    choose = random.Random(1)
    cases = [target.case(choose.randbytes(ENTROPY_BYTES)) for _ in range(1000)]
    with pytest.raises(ValueError):
        all(target.check(case) for case in cases)
