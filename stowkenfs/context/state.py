"""A conversation on its way into a budget: what is changed, what is gone, and what it takes."""

from enum import Enum
from typing import Any, Final, NamedTuple

from stowkenfs.context.addresses import SpoolName, check_of, check_of_range
from stowkenfs.context.contents import part_content
from stowkenfs.context.handles import RESIDENT, Handle, HandleKind, HandleTable
from stowkenfs.context.messages import (
    MESSAGE_TOKENS,
    REPLY_TOKENS,
    Count,
    Dialogue,
    Message,
    Part,
    PartKind,
    Path,
    replaced_at,
)
from stowkenfs.context.notes import range_note
from stowkenfs.context.planner import LINE_TOKENS
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.turns import (
    Range,
    groups_of,
    opening_messages,
    pinned_messages,
    ranges_of,
)

REMOVED: Final = object()
"""In place of what a message has no more."""

_AGENT_TOOLS: Final = frozenset({"Task", "Agent", "task", "agent", "dispatch_agent"})
_BYTES_A_TOKEN: Final = 3  # of a preview; an estimate, which is measured later


class Place(Enum):
    """Where a placeholder stands."""

    USER = "user"
    ASSISTANT = "assistant"
    """A message of its own, of the user or the assistant."""
    NEXT = "next"
    BEFORE = "before"
    """A block of the message behind it, or of the one before it."""


class Placeholder(NamedTuple):
    """What stands for messages ``first`` to before ``last``. ``tokens``: all that it takes."""

    first: int
    last: int
    text: str
    place: Place
    tokens: int


class State:
    """The messages of a dialogue as they are at the moment, and their handles."""

    def __init__(
        self, dialogue: Dialogue, config: ContextConfig, count: Count, document: int
    ) -> None:
        self.dialogue = dialogue
        self.config = config
        self.messages = dialogue.messages
        self.count = count
        self._document = document
        self.groups = groups_of(self.messages)
        self.pinned = pinned_messages(
            self.messages, self.groups, config.preserve_turns, config.pinned
        )
        self.opening = opening_messages(self.messages, self.groups)
        self.values: dict[int, Any] = {}  # {message: its value, if it was changed}
        self.gone: set[int] = set()  # a placeholder stands for them
        self.hidden: set[int] = set()  # nothing does
        self.placeholders: list[Placeholder] = []
        self.tokens = [message.tokens for message in self.messages]
        self._said = REPLY_TOKENS + dialogue.preamble_tokens + sum(self.tokens)
        self.parts: dict[int, tuple[Message, Part]] = {}  # {handle: of a result or an image}
        self.pages: list[Handle] = []  # by message
        self.table = self._handles()

    @property
    def total(self) -> int:
        """Tokens of all that is there."""
        return self._said + sum(one.tokens for one in self.placeholders)

    # Handles

    def _handles(self) -> HandleTable:
        """A page for each message, and a handle for each result and image in one."""
        agents: set[str | None] = set()  # calls of tools that are agents
        kept = self.config.preview_bytes // _BYTES_A_TOKEN + LINE_TOKENS
        found: list[Handle] = []
        for message in self.messages:
            at = message.index
            pinned = at in self.pinned
            page = Handle(
                len(found), HandleKind.MEMORY_PAGE, RESIDENT, message.tokens, None, at, pinned
            )
            found.append(page)
            self.pages.append(page)
            for part in message.parts:
                if part.kind is PartKind.CALL and part.name in _AGENT_TOOLS:
                    agents.add(part.call_id)
                if not is_apart(message, part):
                    continue
                stays = LINE_TOKENS
                if part.kind is PartKind.RESULT:
                    stays = kept if self._is_large(part) else part.tokens
                self.parts[len(found)] = message, part
                kind = _kind(part, is_agent=part.call_id in agents)
                stays = min(part.tokens, stays)
                found.append(
                    Handle(len(found), kind, RESIDENT, part.tokens, part.call_id, at, pinned, stays)
                )
                page.tokens -= part.tokens
        return HandleTable(found)

    def _is_large(self, part: Part) -> bool:
        """Whether a result is long enough to be spooled."""
        threshold = self.config.spool_bytes
        if not 0 < threshold < 4 * len(part.text):
            return False
        return threshold < len(part.text.encode("utf-8", "surrogatepass"))

    # Names

    def path_of(self, message: Message, part: Part) -> str:
        """Where the whole of a part can be read."""
        check = check_of(part_content(message, part))
        return SpoolName(self._document, message.index, None, check).path

    def path_of_range(self, first: int, last: int) -> str:
        check = check_of_range(self.messages[first:last])
        return SpoolName(self._document, first, last, check).path

    # Changes

    def value_of(self, index: int) -> Any:
        return self.values.get(index, self.messages[index].value)

    def replace(self, message: Message, part: Part, path: Path, new: Any, tokens: int) -> None:
        """Put ``new``, of so many tokens, in the place of a part."""
        self.values[message.index] = replaced_at(self.value_of(message.index), path, new)
        self._said += tokens - part.tokens
        self.tokens[message.index] += tokens - part.tokens
        part.tokens = tokens

    def hide(self, message: Message) -> None:
        """Let a message go that leaves no trace."""
        self._said -= self.tokens[message.index]
        self.tokens[message.index] = 0
        self.hidden.add(message.index)

    def set_gone(self, indexes: set[int]) -> None:
        """Let these messages be those that are gone, with a placeholder for each range."""
        self._said += sum(self.tokens[at] for at in self.gone - indexes)
        self._said -= sum(self.tokens[at] for at in indexes - self.gone)
        self.gone = indexes
        ranges = ranges_of(sorted(indexes))
        texts = [self._note(one) for one in ranges]
        self.placeholders = []
        for one, text, tokens in zip(ranges, texts, self.count(texts), strict=True):
            place = self._place_for(one)
            own = MESSAGE_TOKENS if place in (Place.USER, Place.ASSISTANT) else 0
            self.placeholders.append(Placeholder(*one, text, place, own + tokens))

    def _place_for(self, one: Range) -> Place:
        """Where the placeholder of a range goes, so that roles take turns where they have to."""
        if not self.dialogue.takes_turns:
            return Place.USER
        first, last = one
        before = first > 0 and self.messages[first - 1].role == "user"
        if last < len(self.messages) and self.messages[last].role == "user":
            return Place.ASSISTANT if before else Place.NEXT
        return Place.BEFORE if before else Place.USER

    def _note(self, one: Range) -> str:
        first, last = one
        tokens = sum([message.tokens for message in self.messages[first:last]])
        return range_note(last - first, tokens, self.path_of_range(first, last))


def is_apart(message: Message, part: Part) -> bool:
    """Whether a part has a handle of its own, beside the page of its message."""
    kind = part.kind
    if kind is PartKind.TEXT or kind is PartKind.CALL or kind is PartKind.OTHER:
        return False  # most are
    if kind is PartKind.THINKING:
        # Without it there has to be something left; a line of a log may go as a whole.
        return bool(message.root) or any(one.kind is not kind for one in message.parts)
    return part.is_whole


def _kind(part: Part, *, is_agent: bool) -> HandleKind:
    if part.kind is PartKind.RESULT:
        return HandleKind.SUB_AGENT_JOIN if is_agent else HandleKind.TOOL_RESULT
    return HandleKind.THOUGHT if part.kind is PartKind.THINKING else HandleKind.KNOWLEDGE_ENTRY
