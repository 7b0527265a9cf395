"""Values that take long to make, made once, whichever thread asks first."""

import threading
from collections.abc import Callable
from functools import wraps
from typing import TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def made_once(make: Callable[[*Ts], T]) -> Callable[[*Ts], T]:
    """As ``functools.cache``, but who asks for a value in the making waits for it.

    For functions of few hashable arguments; one that raises is called again the next time.
    """
    known: dict[tuple[*Ts], T] = {}
    lock = threading.Lock()

    @wraps(make)
    def find(*key: *Ts) -> T:
        if key not in known:
            with lock:
                if key not in known:
                    known[key] = make(*key)
        return known[key]

    return find
