"""Documents to conversations: JSON with a list of messages, and logs with one a line.

What is read is kept beside the messages, so that ``writing`` can give the same format back.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from stowkenfs.context.messages import Api, Dialogue, Message, Part, PartKind, Path, value_at
from stowkenfs.context.parts import compact_json, parts_of
from stowkenfs.errors import NotAConversation

DOCUMENT_BYTES_MAX: Final = 32 << 20
"""Longer ones are refused: all of a conversation is in memory while it is fitted."""

_PLAIN_ROLES: Final = {
    **dict.fromkeys(("user", "human", "client", "prompter"), "user"),
    **dict.fromkeys(
        ("assistant", "gpt", "model", "ai", "chatbot", "bot", "counselor", "chatgpt"), "assistant"
    ),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "tool_response"), "tool"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_LIST_FIELDS: Final = ("messages", "history", "traj", "conversations", "conversation")
_BLOCKS_OF_ANTHROPIC: Final = frozenset(
    {"tool_use", "tool_result", "thinking", "redacted_thinking", "document"}
)
_PREAMBLE_FIELDS: Final = ("tools", "functions", "response_format")
_SPOKEN_LINES: Final = ("user", "assistant", "system")


@dataclass(frozen=True, slots=True)
class JsonSource:
    """A JSON text. ``place`` leads to its list of messages; ``is_request`` if that is on top."""

    value: Any
    place: Path
    is_request: bool
    text: str


@dataclass(frozen=True, slots=True)
class LinesSource:
    """A log. Lines of one that ``is_session`` have the message inside."""

    links: Sequence[tuple[Any, Any]]
    """Of each message the id of its line, and of the line before it, if it tells them."""
    is_session: bool


@dataclass(frozen=True, slots=True)
class Conversation:
    """A document as a conversation, with what is needed to write it again."""

    source: JsonSource | LinesSource
    dialogue: Dialogue
    keys: tuple[str, str] = ("role", "content")
    """What messages call role and content."""
    roles: Mapping[str, str] = field(default_factory=dict)
    """``{plain role: the first name that the document has for it}``."""


def read_conversation(document: bytes) -> Conversation:
    """The conversation that ``document`` is. Raises NotAConversation, which says what it is not."""
    if len(document) > DOCUMENT_BYTES_MAX:
        raise NotAConversation(
            f"the file has {len(document)} bytes; up to {DOCUMENT_BYTES_MAX} can be fitted"
        )
    try:
        text = document.decode(json.detect_encoding(document))
    except UnicodeDecodeError as error:
        raise NotAConversation("the file is no JSON: it is not in UTF-8") from error
    text = text.removeprefix("\ufeff")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise NotAConversation("the file is nested too deeply") from error
    except ValueError:
        return _read_lines(text)
    if isinstance(value, dict) and _place_of(value) is None and _spoken(value) is not None:
        return _read_lines(text)  # a log of one line
    return _read_json(value, text)


# JSON texts


def _read_json(value: Any, text: str) -> Conversation:
    place = _place_of(value)
    if place is None:
        raise NotAConversation(
            "the file has no single list of messages: what can be fitted is a chat request "
            "(OpenAI, Anthropic), a list of messages, or a session log with one a line"
        )
    items: Any = value
    for key in place:
        items = items[key]
    role_key, content_key = _keys_of(items)
    is_request = place == ("messages",)
    around = value if is_request else {}
    messages = [_message(at, at, item, (), role_key, content_key) for at, item in enumerate(items)]
    api = _api_of(around, messages)
    dialogue = Dialogue(
        api, messages, _preamble(around), takes_turns=api is Api.ANTHROPIC and role_key == "role"
    )
    _finish(dialogue)
    return Conversation(
        JsonSource(value, place, is_request, text),
        dialogue,
        (role_key, content_key),
        _roles([item.get(role_key) for item in items]),
    )


def _place_of(value: Any) -> Path | None:
    """Where the one list of messages is; None if there is none, or several."""
    if isinstance(value, list):
        if _are_messages(value):
            return ()
        return _inside(value, 0) if len(value) == 1 else None
    if isinstance(value, dict):
        for name in _LIST_FIELDS:
            if _are_messages(value.get(name)):
                return (name,)
        if isinstance(value.get("samples"), list) and len(value["samples"]) == 1:
            return _inside(value["samples"], 0, "samples")
    return None


def _inside(items: list[Any], at: int, *before: str) -> Path | None:
    found = _place_of(items[at])
    return None if found is None else (*before, at, *found)


def _are_messages(items: Any) -> bool:
    return (
        isinstance(items, list)
        and bool(items)
        and all(isinstance(one, dict) for one in items)
        and all(isinstance(one.get(_keys_of(items)[0]), str) for one in items)
    )


def _keys_of(items: list[Any]) -> tuple[str, str]:
    first = items[0]
    return ("from", "value") if "role" not in first and "from" in first else ("role", "content")


def _api_of(around: Mapping[str, Any], messages: list[Message]) -> Api:
    if "system" in around or "anthropic_version" in around:
        return Api.ANTHROPIC
    if any(one.role in ("system", "tool") or "tool_calls" in one.value for one in messages):
        return Api.OPENAI
    for one in messages:
        content = one.value.get("content")
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and (
                block.get("type") in _BLOCKS_OF_ANTHROPIC or isinstance(block.get("source"), dict)
            ):
                return Api.ANTHROPIC
    model = around.get("model")
    is_claude = isinstance(model, str) and ("claude" in model or "anthropic" in model)
    return Api.ANTHROPIC if is_claude else Api.OPENAI


def _preamble(around: Mapping[str, Any]) -> list[str]:
    """The texts of a request beside its messages."""
    system = around.get("system")
    texts = [system] if isinstance(system, str) else []
    if isinstance(system, list):
        texts += [block["text"] if _has_text(block) else compact_json(block) for block in system]
    return texts + [compact_json(around[name]) for name in _PREAMBLE_FIELDS if around.get(name)]


def _has_text(block: Any) -> bool:
    return isinstance(block, dict) and isinstance(block.get("text"), str)


# Logs


def _read_lines(text: str) -> Conversation:
    messages: list[Message] = []
    links: list[tuple[Any, Any]] = []
    names: list[Any] = []
    is_session, side = False, 0
    for number, line, value in _values(text):
        inner = _spoken(value)
        if inner is None:
            continue
        if value.get("isSidechain") is True:
            side += 1
            continue
        is_session = is_session or inner is not value
        at: Path = () if inner is value else ("message",)
        message = _message(len(messages), number, value, at, "role", "content")
        message.given, message.line = None, line  # of which little is looked at again
        names.append(inner.get("role"))
        links.append((value.get("uuid"), value.get("parentUuid")))
        messages.append(message)
    if not messages:
        raise NotAConversation("no line of the file is a message of a session")
    api = Api.ANTHROPIC if is_session else _api_of({}, messages)
    dialogue = Dialogue(api, messages, left_out=side)
    _finish(dialogue)
    return Conversation(LinesSource(links, is_session), dialogue, roles=_roles(names))


def _values(text: str) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Number, text and value of each line that is a JSON object."""
    for number, line in enumerate(text.split("\n")):
        if not line.startswith("{"):
            continue  # empty, or the rest of what was cut off
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        yield number, line, value


def _spoken(value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The message of a line, if it has one."""
    inner = value.get("message")
    if isinstance(inner, dict):
        if value.get("type") in _SPOKEN_LINES and isinstance(inner.get("role"), str):
            return inner
        return None
    if isinstance(value.get("role"), str) and ("content" in value or "tool_calls" in value):
        return value
    return None


# Messages


def _message(
    index: int, at: int, value: dict[str, Any], root: Path, role_key: str, content_key: str
) -> Message:
    inner: dict[str, Any] = value_at(value, root)
    role = inner[role_key]
    plain = _PLAIN_ROLES.get(role.lower(), "user")
    parts = parts_of(inner, plain, content_key, root)
    metadata = value.get("metadata")
    marked = value.get("pinned") is True or (
        isinstance(metadata, dict) and metadata.get("pinned") is True
    )
    return Message(index, at, plain, value, parts, root, content_key, is_marked=marked)


def _finish(dialogue: Dialogue) -> None:
    """What takes looking at several messages: whose answer one is, and how long a pause was."""
    last_call: str | None = None
    for message in dialogue.messages:
        for part in message.parts:
            if part.kind is PartKind.CALL:
                _name_call(message, part)
                last_call = part.call_id
            elif part.kind is PartKind.RESULT and part.call_id is None:
                part.call_id = last_call  # a log without ids: it answers what was asked last
    times = [_time_of(one.value) for one in dialogue.messages[-2:]]
    if len(times) == 2 and times[0] is not None and times[1] is not None:
        dialogue.idle_seconds = max(times[1] - times[0], 0.0)


def _name_call(message: Message, part: Part) -> None:
    if part.call_id is None:
        part.call_id = f"message {message.index}"


def _roles(names: list[Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        if isinstance(name, str):
            found.setdefault(_PLAIN_ROLES.get(name.lower(), "user"), name)
    return found


_ZULU: Final = re.compile(r"Z$")


def _time_of(value: Mapping[str, Any]) -> float | None:
    """When a message was said, in seconds, if it tells."""
    told = value.get("timestamp")
    if isinstance(told, str):
        try:
            return datetime.fromisoformat(_ZULU.sub("+00:00", told)).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
    if isinstance(told, (int, float)) and not isinstance(told, bool) and 0 <= told < 1e11:
        return float(told)
    return None
