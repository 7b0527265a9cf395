"""Doing something as another user, in a process of its own."""

import multiprocessing
import os
from collections.abc import Callable, Iterable
from typing import Any

ALICE, BOB = 23451, 23452
"""Users that no machine has: their groups have the same numbers."""

ACT_SECONDS = 60.0


def acting(
    user: int,
    act: Callable[..., Any],
    *args: object,
    group: int | None = None,
    groups: Iterable[int] = (),
) -> Any:
    """What ``act(*args)`` returns for ``user``, who is in ``group`` (its own) and ``groups``.

    Raises what it raises there. Result and exception are pickled; ``act`` need not be.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)

    def child() -> None:
        own = user if group is None else group
        try:
            os.setgroups(list(groups))
            os.setresgid(own, own, own)
            os.setresuid(user, user, user)
            theirs.send((act(*args), None))
        except Exception as error:  # noqa: BLE001 - raised by the parent
            theirs.send((None, error))

    process = context.Process(target=child)
    process.start()
    theirs.close()
    try:
        assert ours.poll(ACT_SECONDS), f"user {user} has not done it after {ACT_SECONDS} s"
        result, error = ours.recv()
    finally:
        process.join(1)
        process.kill()
        process.join()
    if error is not None:
        raise error
    return result
