"""Fitted conversations to documents, in the format that they came in."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

from stowkenfs.context.messages import Message
from stowkenfs.context.reading import Conversation, JsonSource, LinesSource
from stowkenfs.context.state import REMOVED, Place, Placeholder, State

_INDENT: Final = re.compile(r"\s*[\[{]\r?\n([ \t]+)")
_ID_SPACE: Final = uuid.UUID("6f1d3c52-2c5c-5a38-9a51-3d6e0b0d9f7a")
"""Of the ids that lines get which stand for others. Any would do; it never changes."""
_SESSION_FIELDS: Final = ("userType", "cwd", "sessionId", "version", "gitBranch", "timestamp")


def write_conversation(conversation: Conversation, state: State) -> bytes:
    """The document of what is left. Lone surrogates are written as escapes."""
    source = conversation.source
    if isinstance(source, LinesSource):
        return _encoded("".join(f"{line}\n" for line in _lines(source, conversation, state)))
    values = list(_values(conversation, state))
    return _encoded(_json(source, values))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")  # \\udc80 is JSON's escape, too


def _entries(state: State) -> Iterator[Message | Placeholder]:
    """What is there, in order."""
    at = 0
    waiting = iter(state.placeholders)
    placeholder = next(waiting, None)
    while at < len(state.messages):
        if placeholder is not None and at == placeholder.first:
            yield placeholder
            at = placeholder.last
            placeholder = next(waiting, None)
            continue
        if at not in state.hidden:
            yield state.messages[at]
        at += 1


def _clean(value: Any) -> Any:
    """``value`` without what was removed; only what was changed is looked through."""
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if v is not REMOVED}
    if isinstance(value, list):
        return [_clean(one) for one in value if one is not REMOVED]
    return value


# JSON texts


def _values(conversation: Conversation, state: State) -> Iterator[Any]:
    """The values of messages and placeholders."""
    role_key, content_key = conversation.keys
    default = {"user": "human", "assistant": "gpt"} if role_key == "from" else {}
    front: list[str] = []
    before: Any = None
    for entry in _entries(state):
        if isinstance(entry, Placeholder) and entry.place is Place.NEXT:
            front.append(entry.text)
        elif isinstance(entry, Placeholder) and entry.place is Place.BEFORE:
            before = _with_text(before, content_key, entry.text, at_front=False)
        else:
            if before is not None:
                yield before
            if isinstance(entry, Placeholder):
                role = entry.place.value
                name = conversation.roles.get(role, default.get(role, role))
                before = {role_key: name, content_key: entry.text}
            else:
                before = state.value_of(entry.index)
                if entry.index in state.values:
                    before = _clean(before)
            for text in front:
                before = _with_text(before, content_key, text, at_front=True)
            front = []
    if before is not None:
        yield before


def _with_text(value: dict[str, Any], key: str, text: str, *, at_front: bool) -> dict[str, Any]:
    """A message with one more block; its own content stays as it is."""
    content = value.get(key)
    blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
    note = {"type": "text", "text": text}
    return {**value, key: [note, *blocks] if at_front else [*blocks, note]}


def _json(source: JsonSource, values: list[Any]) -> str:
    """The document around its messages: all of a request, else only what leads to them."""
    whole: Any = values
    if source.is_request:
        whole = {**source.value, "messages": values}
    else:
        for key in reversed(source.place):
            whole = [whole] if isinstance(key, int) else {key: whole}
    text = source.text
    indent = _INDENT.match(text)
    separators = (",", ": ") if indent else (", ", ": ")
    if not indent and '":"' in text[:4096] and '": "' not in text[:4096]:
        separators = (",", ":")
    written = json.dumps(
        whole,
        ensure_ascii=text.isascii() and "\\u" in text,
        indent=indent[1] if indent else None,
        separators=separators,
    )
    return written + ("\n" if text.endswith("\n") else "")


# Logs


def _lines(source: LinesSource, conversation: Conversation, state: State) -> Iterator[str]:
    """Lines with messages. Each line of a session names the one before it."""
    told: set[str] = set()
    before: str | None = None
    for entry in _entries(state):
        if isinstance(entry, Placeholder):
            line = _line_for(source, conversation, state, entry, before)
            own = line.get("uuid")
            yield _dumped(line)
        else:
            own, parent = source.links[entry.index]
            value = state.values.get(entry.index)
            if isinstance(parent, str) and parent not in told:
                value = {**state.value_of(entry.index), "parentUuid": before}
            yield entry.line if value is None else _dumped(_clean(value))
        if isinstance(own, str):
            told.add(own)
            before = own


def _line_for(
    source: LinesSource,
    conversation: Conversation,
    state: State,
    placeholder: Placeholder,
    before: str | None,
) -> dict[str, Any]:
    """The line of a placeholder, with what lines of its session say of themselves."""
    message = {"role": conversation.roles.get("user", "user"), "content": placeholder.text}
    if not source.is_session:
        return message
    like = state.messages[placeholder.last - 1].value
    fields = {name: like[name] for name in _SESSION_FIELDS if name in like}
    name = f"{like.get('sessionId')} {placeholder.text}"
    return {
        "parentUuid": before,
        "isSidechain": False,
        **fields,
        "type": "user",
        "message": {"role": "user", "content": placeholder.text},
        "uuid": str(uuid.uuid5(_ID_SPACE, name.encode("utf-8", "replace").decode())),
    }


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
