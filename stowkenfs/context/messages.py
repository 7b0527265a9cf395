"""Conversations as lists of messages, whatever format they came in.

A *message* keeps the JSON value that it was read from, and lists its *parts*: the texts that the
model is given, each with its place in that value. Counting is handed in: ``Count`` tells how many
tokens texts have.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

MESSAGE_TOKENS: Final = 4
"""What a message takes beside its texts: marks where it begins and ends, and its role."""
REPLY_TOKENS: Final = 3
"""What the beginning of the answer takes."""
CALL_TOKENS: Final = 8
"""What a call, or what answers it, takes beside its texts: ids and marks."""
MEDIA_TOKENS: Final = 1600
"""An image, at most: those who sell models scale larger ones down to what takes about as much."""

Count = Callable[[Sequence[str]], Sequence[int]]
"""The number of tokens of each text."""

Path = tuple[str | int, ...]
"""Keys and indexes that lead from a value to one inside."""


class Api(Enum):
    """What a conversation is valid input for."""

    OPENAI = "OpenAI chat"
    ANTHROPIC = "Anthropic messages"


class PartKind(Enum):
    """What a part is."""

    TEXT = "text"
    THINKING = "thinking"
    CALL = "call"
    RESULT = "result"
    MEDIA = "media"
    OTHER = "other"


@dataclass(slots=True)
class Part:
    """One text of a message, or an image.

    ``path``: its place in the message's value. ``is_whole``: the value there is that text, and
    another may take its place. ``call_id``: of a call,
    and of what answers it. ``name``: the tool's. ``fixed``: tokens beside those of the text.
    """

    kind: PartKind
    text: str
    path: Path
    call_id: str | None = None
    name: str | None = None
    is_whole: bool = True
    fixed: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Message:
    """One message. ``given`` is what was read, None for a ``line`` of a log, which is shorter.

    ``at``: its place in the document, an index or the number of a line. ``root`` leads to the
    message in its value.
    """

    index: int
    at: int
    role: str
    given: Any
    parts: list[Part]
    root: Path = ()
    content_key: str = "content"
    is_marked: bool = False
    line: str = ""
    tokens: int = MESSAGE_TOKENS
    """Of the whole message as it was read, once it is measured."""

    @property
    def value(self) -> Any:
        """What was read, from which the paths of its parts lead."""
        return json.loads(self.line) if self.given is None else self.given


@dataclass(slots=True)
class Dialogue:
    """A conversation: ``preamble`` is what every request begins with beside its messages.

    ``idle_seconds``: how long it rested before its last message, as far as it tells.
    """

    api: Api
    messages: list[Message]
    preamble: list[str] = field(default_factory=list)
    preamble_tokens: int = 0
    idle_seconds: float = 0.0
    takes_turns: bool = False
    """Whether no message may follow one of the same role."""
    left_out: int = 0
    """Messages that are no part of the conversation itself: those of side chains."""

    @property
    def tokens(self) -> int:
        """Of a request with all of it."""
        return REPLY_TOKENS + self.preamble_tokens + sum([one.tokens for one in self.messages])


def measure(dialogue: Dialogue, count: Count) -> None:
    """Fill in all ``tokens``."""
    parts = [part for message in dialogue.messages for part in message.parts]
    counts = iter(count([*dialogue.preamble, *[part.text for part in parts]]))
    dialogue.preamble_tokens = sum([next(counts) for _ in dialogue.preamble])
    for message in dialogue.messages:
        tokens = MESSAGE_TOKENS
        for part in message.parts:
            part.tokens = part.fixed + next(counts)
            tokens += part.tokens
        message.tokens = tokens


def value_at(value: Any, path: Path) -> Any:
    """What is inside of ``value`` at ``path``."""
    for key in path:
        value = value[key]
    return value


def replaced_at(value: Any, path: Path, new: Any) -> Any:
    """``value`` with ``new`` at ``path``; what is on the way is copied, the rest shared."""
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced_at(copy[path[0]], path[1:], new)
    return copy
