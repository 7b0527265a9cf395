"""The event loops that the library runs under."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BACKENDS = ["trio", "asyncio"]


def backend_options(backend: str) -> dict[str, Any]:
    """trio-asyncio, once imported, gives asyncio a loop of its own: ask for the real one."""
    return {"loop_factory": asyncio.SelectorEventLoop} if backend == "asyncio" else {}


def run(backend: str, main: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
    """``main`` in a new loop of ``backend``."""
    return anyio.run(main, *args, backend=backend, backend_options=backend_options(backend))


def names_in(directory: Path) -> list[str]:
    """What is in a directory, sorted."""
    return sorted(path.name for path in directory.iterdir())
