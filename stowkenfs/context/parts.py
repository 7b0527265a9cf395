"""The parts of one message, in any of the shapes that chat APIs give messages.

Text or blocks under ``content``; calls as blocks (Anthropic), under ``tool_calls`` or
``function_call`` (OpenAI); what answers them as blocks or as messages of their own.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from stowkenfs.context.messages import CALL_TOKENS, MEDIA_TOKENS, Part, PartKind, Path

_TEXT_BLOCKS: Final = frozenset({"text", "input_text", "output_text"})
_THINKING: Final = {"thinking": "thinking", "redacted_thinking": "data"}
_MEDIA: Final = frozenset({"image", "image_url", "input_image", "input_audio", "document", "file"})
_REASONING_FIELDS: Final = ("reasoning_content", "reasoning")
_FILE_TOKEN_CHARACTERS: Final = 8
"""Of a file in base64, what one token is taken for: what it becomes only its reader knows."""


def compact_json(value: Any) -> str:
    """``value`` as it is counted."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def parts_of(message: Mapping[str, Any], role: str, content_key: str, at: Path) -> list[Part]:
    """The parts of ``message``, whose ``role`` is plain; ``at``: where it lies in its value."""
    call_id = _answered(message) if role == "tool" else None
    content = message.get(content_key)
    parts = list(_content(content, role, call_id, (*at, content_key)))
    name = message.get("name")
    if isinstance(name, str):
        parts.append(Part(PartKind.OTHER, name, (*at, "name"), is_whole=False))
    for field in _REASONING_FIELDS:
        thought = message.get(field)
        if isinstance(thought, str) and thought:
            parts.append(Part(PartKind.THINKING, thought, (*at, field), is_whole=False))
    refusal = message.get("refusal")
    if isinstance(refusal, str):
        parts.append(Part(PartKind.TEXT, refusal, (*at, "refusal")))
    parts += _calls(message, at)
    return parts


def _answered(message: Mapping[str, Any]) -> str | None:
    """The id of the call that a message of a tool answers."""
    one = message.get("tool_call_id")
    several = message.get("tool_call_ids")
    if one is None and isinstance(several, list) and several:
        one = several[0]
    return one if isinstance(one, str) else None


# Content


def _content(content: Any, role: str, call_id: str | None, path: Path) -> Iterator[Part]:
    if role == "tool":
        yield from _result(content, call_id, path)
    elif isinstance(content, str):
        yield Part(PartKind.TEXT, content, path)
    elif isinstance(content, list):
        for at, block in enumerate(content):
            yield from _block(block, (*path, at))
    elif content is not None:
        yield Part(PartKind.OTHER, compact_json(content), path, is_whole=False)


def _block(block: Any, path: Path) -> Iterator[Part]:
    kind = block.get("type") if isinstance(block, dict) else None
    if isinstance(block, str):
        yield Part(PartKind.TEXT, block, path)
    elif kind in _TEXT_BLOCKS and isinstance(block.get("text"), str):
        yield Part(PartKind.TEXT, block["text"], (*path, "text"))
    elif kind in _THINKING:
        text = block.get(_THINKING[kind])
        text = text if isinstance(text, str) else ""
        yield Part(PartKind.THINKING, text, path, is_whole=False)
    elif kind == "tool_use":
        name, given = _text(block.get("name")), block.get("input")
        yield Part(PartKind.OTHER, name, (*path, "name"), is_whole=False)
        yield Part(
            PartKind.CALL,
            compact_json(given),
            (*path, "input"),
            call_id=_id(block.get("id")),
            name=name,
            fixed=CALL_TOKENS,
        )
    elif kind == "tool_result":
        yield from _result(block.get("content"), _id(block.get("tool_use_id")), (*path, "content"))
    elif kind in _MEDIA:
        yield _media(block, path)
    else:
        yield Part(PartKind.OTHER, compact_json(block), path, is_whole=False)


def _result(content: Any, call_id: str | None, path: Path) -> Iterator[Part]:
    """What answers a call: its text, or each of its blocks."""
    kind = PartKind.RESULT
    if isinstance(content, str):
        yield Part(kind, content, path, call_id, fixed=CALL_TOKENS)
        return
    # Its marks, also where it has no text; then block by block.
    yield Part(kind, "", path, call_id, is_whole=False, fixed=CALL_TOKENS)
    for at, block in enumerate(content if isinstance(content, list) else ()):
        for part in _block(block, (*path, at)):
            if part.kind is PartKind.TEXT:
                part.kind, part.call_id = kind, call_id
            yield part


def _media(block: Mapping[str, Any], path: Path) -> Part:
    """An image, or a file: a document in text counts as what it says."""
    source = block.get("source")
    held = source.get("data") if isinstance(source, dict) else None
    if block.get("type") in ("document", "file", "input_audio"):
        if isinstance(source, dict) and source.get("type") == "text" and isinstance(held, str):
            return Part(PartKind.MEDIA, held, path)
        tokens = max(MEDIA_TOKENS, len(compact_json(block)) // _FILE_TOKEN_CHARACTERS)
        return Part(PartKind.MEDIA, "", path, fixed=tokens)
    return Part(PartKind.MEDIA, "", path, fixed=MEDIA_TOKENS)


# Calls


def _calls(message: Mapping[str, Any], at: Path) -> Iterator[Part]:
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        for number, call in enumerate(calls):
            if isinstance(call, dict):
                yield from _call(call, _id(call.get("id")), (*at, "tool_calls", number))
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        call_id = f"function {_text(legacy.get('name'))}"
        yield from _function(legacy, "arguments", call_id, (*at, "function_call"))


def _call(call: Mapping[str, Any], call_id: str | None, path: Path) -> Iterator[Part]:
    for kind, field in (("function", "arguments"), ("custom", "input")):
        asked = call.get(kind)
        if isinstance(asked, dict):
            yield from _function(asked, field, call_id, (*path, kind))
            return
    yield Part(PartKind.CALL, compact_json(call), path, call_id, is_whole=False, fixed=CALL_TOKENS)


def _function(
    asked: Mapping[str, Any], field: str, call_id: str | None, path: Path
) -> Iterator[Part]:
    name, given = _text(asked.get("name")), asked.get(field)
    text = given if isinstance(given, str) else compact_json(given)
    yield Part(PartKind.OTHER, name, (*path, "name"), is_whole=False)
    yield Part(PartKind.CALL, text, (*path, field), call_id, name, fixed=CALL_TOKENS)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(value: Any) -> str | None:
    return value if isinstance(value, str) else None
