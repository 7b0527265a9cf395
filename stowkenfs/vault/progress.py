"""How a job tells how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Told what is done and what there is to do, mostly in bytes.

Called in the event loop's thread; of rebuilding, in its own.
"""


def untold(_done: int, _total: int) -> None:
    """For who does not ask."""
