"""Conversations as programs hand them over, and their one canonical rendering as a file.

The rendering is a JSON object in UTF-8: known fields first, in the order of the classes
below, then unknown ones as they came; absent ones left out; one line for each field and
one for each message; a final newline. Text that UTF-8 cannot hold (lone surrogates) makes
the whole file ASCII with escapes.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stowkenfs.errors import InvalidId, NotAConversation
from stowkenfs.ids import SegmentType, Vocabulary
from stowkenfs.vault.names import NAME_BYTES_MAX

ID_BYTES_MAX = 1024
SUFFIX = ".json"


@dataclass(slots=True)
class Message:
    """One message. Give ``content`` (text, parts, or None) or ``tokens`` (ids, kept exactly).

    ``extra`` holds fields that this class has no name for; they come back too.
    """

    role: str
    content: str | list[Any] | None = None
    tokens: Sequence[int] | npt.NDArray[np.integer[Any]] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    tool_calls: list[Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"role": self.role}
        if self.tokens is not None:
            fields["tokens"] = [int(token) for token in self.tokens]
        if self.content is not None or (self.tokens is None and "content" not in self.extra):
            fields["content"] = self.content
        for name in ("name", "tool_call_id", "tool_calls"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        return fields | self.extra

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Message":
        known = {name: fields[name] for name in _MESSAGE_FIELDS if name in fields}
        if not _are_ids(known.get("tokens")):
            known.pop("tokens")  # a count, say: some logs have that in a field of this name
        extra = {name: value for name, value in fields.items() if name not in known}
        return cls(**{"role": "", **known}, extra=extra)


@dataclass(frozen=True, slots=True)
class ConversationSegment:
    """One payload of a conversation as tokens.

    ``tokens``: uint32, shape (n,); ``hash``: SHA-256 of the little-endian ids.
    """

    segment_type: SegmentType
    tokens: npt.NDArray[np.uint32]
    hash: bytes
    vocabulary: Vocabulary


@dataclass(slots=True)
class Conversation:
    """A conversation. ``id`` is also its place: ``app/chat-7`` is the file /app/chat-7.json.

    ``segments`` is filled by ``Vault.retrieve``. ``extra`` holds unknown fields.
    """

    id: str | None = None
    application: str | None = None
    model: str | None = None
    tokenizer: str | None = None
    messages: list[Message] = field(default_factory=list)
    metadata: dict[str, Any] | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    segments: tuple[ConversationSegment, ...] = field(default=(), compare=False)

    def to_dict(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        for name in ("id", "application", "model", "tokenizer"):
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        fields["messages"] = [message.to_dict() for message in self.messages]
        if self.metadata is not None:
            fields["metadata"] = self.metadata
        return fields | self.extra

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Conversation":
        """Inverse of ``to_dict``; raises NotAConversation for messages that are no objects."""
        messages = fields.get("messages", [])
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise NotAConversation('"messages" is not a list of objects')
        known = {n: fields[n] for n in _CONVERSATION_FIELDS if n in fields}
        extra = {n: v for n, v in fields.items() if n not in (*_CONVERSATION_FIELDS, "messages")}
        return cls(**known, messages=[Message.from_dict(m) for m in messages], extra=extra)


def _are_ids(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(type(one) is int for one in value))


_MESSAGE_FIELDS = ("role", "content", "tokens", "name", "tool_call_id", "tool_calls")
_CONVERSATION_FIELDS = ("id", "application", "model", "tokenizer", "metadata")


def render_conversation(conversation: Conversation) -> bytes:
    """The canonical file of a conversation; see the module's docstring."""
    fields = conversation.to_dict()
    try:
        return _render(fields, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _render(fields, ensure_ascii=True).encode()


def _render(fields: Mapping[str, Any], *, ensure_ascii: bool) -> str:
    def dump(value: object) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii)

    lines = []
    for name, value in fields.items():
        if name == "messages" and value and isinstance(value, list):
            messages = ",\n".join(f"    {dump(message)}" for message in value)
            lines.append(f"  {dump(name)}: [\n{messages}\n  ]")
        else:
            lines.append(f"  {dump(name)}: {dump(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def parse_conversation(document: bytes) -> Conversation:
    """The conversation in a file that anything wrote. Raises NotAConversation.

    A JSON object with ``messages`` comes back field by field. Any other JSON object keeps
    all its fields in ``extra``; a log of JSON lines, or an array, has its entries there.
    """
    try:
        value = json.loads(document)
    except RecursionError as error:
        raise NotAConversation("the file is nested too deeply") from error
    except ValueError:
        value = _parse_lines(document)
    if isinstance(value, dict):
        if isinstance(value.get("messages", []), list):
            return Conversation.from_dict(value)
        return Conversation(extra=value)
    if isinstance(value, list):
        return Conversation(extra={"entries": value})
    raise NotAConversation("the file holds a single JSON value, not a conversation")


def _parse_lines(document: bytes) -> list[Any]:
    try:
        return [json.loads(line) for line in document.splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise NotAConversation(f"the file is not JSON: {error}") from error


def path_of_id(conversation_id: str) -> bytes:
    """The path from the root of the conversation's file. Raises InvalidId."""
    if not isinstance(conversation_id, str) or not conversation_id:
        raise InvalidId(str(conversation_id), "is empty; give it a name")
    if "\0" in conversation_id:
        raise InvalidId(conversation_id, "contains a NUL character")
    if conversation_id.startswith("/"):
        raise InvalidId(conversation_id, "starts with a slash; ids are relative to the vault")
    try:
        encoded = conversation_id.encode()
    except UnicodeEncodeError:
        raise InvalidId(conversation_id, "is not valid Unicode text") from None
    if len(encoded) > ID_BYTES_MAX:
        raise InvalidId(conversation_id, f"is longer than {ID_BYTES_MAX} bytes")
    parts = encoded.split(b"/")
    for part in parts:
        if part in (b"", b".", b".."):
            raise InvalidId(conversation_id, f"has {part.decode()!r} as a path component")
        if len(part) > NAME_BYTES_MAX - len(SUFFIX):
            raise InvalidId(
                conversation_id, f"has a component longer than {NAME_BYTES_MAX - len(SUFFIX)} bytes"
            )
    if parts[0] == b".stowken":
        raise InvalidId(conversation_id, "starts with .stowken, where the control files are")
    return encoded + SUFFIX.encode()
