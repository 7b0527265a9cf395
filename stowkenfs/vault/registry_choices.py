"""What new frames may refer to, on its way to whoever encodes: a thread or a worker process.

A worker is told the name of the choices. One that does not know them says so, and is given
them once; so a batch costs no more than it did.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio

from stowkenfs.frames.resources import EncodeChoices
from stowkenfs.frames.substrings import SubstringMatcher
from stowkenfs.vault.aside import run_aside
from stowkenfs.vault.registry_blocks import DictionaryEntry, SubstringEntry

LOADED_MAX = 2
"""Choices that a worker process keeps: those of now, and those before."""

T = TypeVar("T")

Numbered = tuple[int, bytes]
"""Number of an entry of the registry, and the entry."""


@dataclass(frozen=True, slots=True)
class ChoicesContent:
    """Entries that new frames may refer to: substrings, and the active dictionary."""

    substrings: tuple[Numbered, ...] = ()
    dictionary: Numbered | None = None

    def __bool__(self) -> bool:
        return bool(self.substrings) or self.dictionary is not None

    @property
    def name(self) -> bytes:
        """SHA-256 of all that is in it, numbers included."""
        digest = hashlib.sha256()
        for number, entry in (*self.substrings, self.dictionary or (0, b"")):
            digest.update(b"%d %d " % (number, len(entry)))
            digest.update(entry)
        return digest.digest()

    def load(self) -> EncodeChoices:
        """Ready for use. Raises Corrupt."""
        matcher = dictionary = None
        if self.substrings:
            matcher = SubstringMatcher(
                {
                    number: SubstringEntry.decode(entry).segment()
                    for number, entry in self.substrings
                }
            )
        if self.dictionary is not None:
            number, entry = self.dictionary
            dictionary = number, DictionaryEntry.decode(entry).load()
        return EncodeChoices(matcher, dictionary)


@dataclass(frozen=True, slots=True)
class Choices:
    """What new frames may refer to: here, and as worker processes are told."""

    here: EncodeChoices
    name: bytes
    content: ChoicesContent

    @classmethod
    def of(cls, content: ChoicesContent) -> "Choices":
        """Some milliseconds to seconds. Raises Corrupt."""
        return cls(content.load(), content.name, content)


_loaded: OrderedDict[bytes, EncodeChoices] = OrderedDict()
"""Of a worker process, which does one thing at a time."""


def _call(
    function: Callable[..., T],
    args: tuple[Any, ...],
    name: bytes | None,
    content: ChoicesContent | None,
) -> tuple[T] | None:
    """What ``function`` returns, or None if the choices are not known here. A worker's."""
    if name is None:
        return (function(*args, None),)
    choices = _loaded.get(name)
    if choices is None:
        if content is None:
            return None
        choices = _loaded[name] = content.load()
        while len(_loaded) > LOADED_MAX:
            _loaded.popitem(last=False)
    _loaded.move_to_end(name)
    return (function(*args, choices),)


async def call_in_worker(
    function: Callable[..., T],
    *args: Any,
    choices: Choices | None,
    limiter: anyio.CapacityLimiter | None = None,
) -> T:
    """``function(*args, choices)`` in a worker process. Raises WorkerDied.

    Cancelling it ends the process.
    """
    name = None if choices is None else choices.name
    for content in (None, None if choices is None else choices.content):
        result = await run_aside(_call, function, args, name, content, limiter=limiter)
        if result is not None:
            return result[0]
    raise AssertionError("it was given the choices")
