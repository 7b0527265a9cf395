"""What of a conversation can leave the window, and where it is.

A context is an address space: each tool result, page of text or knowledge entry has a *handle*,
and a handle is resident (it takes up tokens) or somewhere else (a reference takes up few).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, IntEnum


class HandleKind(Enum):
    """What a handle refers to."""

    TOOL_RESULT = "tool_result"
    MEMORY_PAGE = "memory_page"
    """What somebody said: text of a message."""
    THOUGHT = "thought"
    """What the model thought before it spoke; nobody needs it afterwards."""
    KNOWLEDGE_ENTRY = "knowledge_entry"
    """An image, a document: what was brought in from elsewhere."""
    SPOOL_FILE = "spool_file"
    """A result of which only a preview was in the conversation from the start."""
    SUB_AGENT_JOIN = "sub_agent_join"
    """What an agent that was called answered."""


RESULT_KINDS = frozenset({HandleKind.TOOL_RESULT, HandleKind.SUB_AGENT_JOIN})
"""Handles that answer a call."""


class MemoryTier(IntEnum):
    """How far away paged-out content is; a larger one is further."""

    WORKING = 0
    EPISODIC = 1
    SEMANTIC = 2


@dataclass(frozen=True, slots=True)
class Resident:
    """All of it is in the window."""

    label = "resident"
    occupies_context = True


@dataclass(frozen=True, slots=True)
class SpooledOut:
    """A preview is in the window; ``reference`` says where the whole can be read."""

    reference: str
    label = "spooled_out"
    occupies_context = False


@dataclass(frozen=True, slots=True)
class PagedOut:
    """A line is in the window, the content at ``tier``."""

    tier: MemoryTier
    label = "paged_out"
    occupies_context = False


@dataclass(frozen=True, slots=True)
class Collapsed:
    """One placeholder stands for it and its neighbours; the original is where it was."""

    label = "collapsed"
    occupies_context = False


Residency = Resident | SpooledOut | PagedOut | Collapsed
"""Each has ``label`` and ``occupies_context``: whether all of it counts against the budget."""

RESIDENT = Resident()


@dataclass(slots=True)
class Handle:
    """One addressable thing in a conversation.

    ``tokens``: cost of the resident form. ``kept_tokens``: what stays in the window when it is
    spooled, an estimate until it is. ``source``: what it is anchored to, for a result the id of
    its call. ``message``: index of the message that it is in. A ``pinned`` one never leaves.
    """

    id: int
    kind: HandleKind
    residency: Residency
    tokens: int
    source: str | None = None
    message: int | None = None
    pinned: bool = False
    kept_tokens: int = 0

    @classmethod
    def resident(
        cls,
        handle_id: int,
        kind: HandleKind,
        tokens: int,
        *,
        source: str | None = None,
        message: int | None = None,
        pinned: bool = False,
        kept_tokens: int = 0,
    ) -> "Handle":
        """One that is in the window."""
        return cls(handle_id, kind, RESIDENT, tokens, source, message, pinned, kept_tokens)

    @property
    def saving(self) -> int:
        """Tokens that the window gets back if it is spooled; 0 for one that is not there."""
        if self.pinned or not self.residency.occupies_context:
            return 0
        return max(self.tokens - self.kept_tokens, 0)


class HandleTable:
    """The handles of one conversation, in the order in which they came: oldest first."""

    def __init__(self, handles: Sequence[Handle] = ()) -> None:
        self._handles: dict[int, Handle] = {handle.id: handle for handle in handles}

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[Handle]:
        return iter(self._handles.values())

    def insert(self, handle: Handle) -> None:
        """Add ``handle``; it takes the place of one with the same id."""
        self._handles[handle.id] = handle

    def get(self, handle_id: int) -> Handle | None:
        return self._handles.get(handle_id)

    def retain(self, keep: Callable[[Handle], bool]) -> None:
        """Drop the handles that ``keep`` is false for."""
        self._handles = {number: one for number, one in self._handles.items() if keep(one)}

    def residency_for_source(self, source: str) -> Residency | None:
        """Where the first handle is that is anchored to ``source``."""
        return next((one.residency for one in self if one.source == source), None)

    def tool_results(self) -> list[Handle]:
        """Those that answer a call, oldest first."""
        return [one for one in self if one.kind in RESULT_KINDS]

    def resident_tokens(self) -> int:
        """Tokens of all that is in the window."""
        return sum(one.tokens for one in self if one.residency.occupies_context)

    def non_resident_tokens(self) -> int:
        """Tokens of all that has left it, as they were before."""
        return sum(one.tokens for one in self if not one.residency.occupies_context)
