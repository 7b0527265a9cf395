"""Values that are made once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from stowkenfs.once import made_once


def test_threads_wait_for_the_one_that_makes_it() -> None:
    made: list[int] = []
    started = threading.Barrier(8)

    @made_once
    def make(number: int) -> list[int]:
        made.append(number)
        return [number]

    def ask(at: int) -> list[int]:
        started.wait()
        return make(at % 2)

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(ask, range(8)))
    assert sorted(made) == [0, 1]
    assert all(one is found[at % 2] for at, one in enumerate(found))


def test_what_failed_is_tried_again() -> None:
    attempts: list[int] = []

    @made_once
    def make(number: int) -> int:
        attempts.append(number)
        if len(attempts) == 1:
            raise ValueError
        return number

    with pytest.raises(ValueError, match=r"^$"):
        make(3)
    assert [make(3), make(3), len(attempts)] == [3, 3, 2]
