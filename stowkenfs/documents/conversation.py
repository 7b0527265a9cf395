"""Finding the turns in a parsed document, whichever of the known shapes it has.

One walk knows all shapes: an object with a role is a message, an object with a known
``type`` is a block, a field with a known name in any other object is a turn; everything
else is searched for those.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from stowkenfs.documents.transcripts import transcript_turns
from stowkenfs.documents.vocabulary import (
    ARGUMENT_FIELDS,
    CALL_BLOCK_ENDS,
    CALL_BLOCK_FIELDS,
    CALL_FIELDS,
    CONTENT_FIELDS,
    KNOWN_BLOCK_ENDS,
    RESULT_BLOCK_ENDS,
    RESULT_BLOCK_FIELDS,
    ROLES,
    TEXT_BLOCKS,
    THINKING_BLOCKS,
    THINKING_FIELDS,
    TOKEN_FIELDS,
    TURN_FIELDS,
    UNSPOKEN_FIELDS,
)
from stowkenfs.ids import SegmentType

DEPTH_MAX: Final = 64
"""Of objects and arrays; the walk takes up to three calls a level, and Python allows 1,000."""


_CONTEXTUAL_FIELDS: Final = ("message", "text", "delta")
_SPOKEN_FIELDS: Final = frozenset((*TURN_FIELDS, *_CONTEXTUAL_FIELDS))


class Turn(NamedTuple):
    """One text, or one array of token ids, of a conversation."""

    type: SegmentType
    role: str
    text: str | None
    token_ids: tuple[int, ...] | None
    name: str | None


class TurnFinder:
    """Collects in ``found`` the turns of the values it is given, in document order."""

    def __init__(self) -> None:
        self.found: list[Turn] = []

    def search(self, value: Any, depth: int = 0) -> None:
        """Add the turns anywhere in ``value``; text outside them is none."""
        if depth > DEPTH_MAX:
            return
        if isinstance(value, list):
            for item in value:
                if isinstance(item, (dict, list)):
                    self.search(item, depth + 1)
        elif isinstance(value, dict):
            role = _role_of(value)
            if role is not None:
                self._message(value, role, depth)
            elif _is_block(value):
                self._block(value, SegmentType.OTHER, "assistant", depth)
            else:
                self._fields(value, depth)

    def _fields(self, fields: Mapping[str, Any], depth: int) -> None:
        for key, child in fields.items():
            if isinstance(child, str):
                if key in _SPOKEN_FIELDS:  # few are
                    known = TURN_FIELDS.get(key) or _contextual(key, fields)
                    if known:
                        self._text(child, *known)
            elif isinstance(child, (dict, list)) and key not in UNSPOKEN_FIELDS:
                self._field(key, child, depth + 1)

    def _field(self, key: str, child: Any, depth: int) -> None:
        if key == "choices" and isinstance(child, list):
            for choice in child:
                self._choice(choice, depth + 1)
        elif key in ("delta", "content_block") and isinstance(child, dict):
            self._delta(child, depth)
        elif key in CALL_FIELDS:
            self._call(child, depth)
        elif key in ("toolUseResult", "tool_results"):
            self._leaves(child, SegmentType.TOOL_RESULT, "tool", None, depth)
        elif key in TOKEN_FIELDS:
            self._tokens(child, SegmentType.OTHER, "")
        elif key in TURN_FIELDS:
            self._turn_field(child, *TURN_FIELDS[key], depth)
        else:
            self.search(child, depth)

    def _turn_field(self, child: Any, type_: SegmentType, role: str, depth: int) -> None:
        """A list of texts or blocks, messages among them, or an object around them."""
        if depth > DEPTH_MAX:
            return
        for item in child if isinstance(child, list) else [child]:
            if isinstance(item, str):
                self._text(item, type_, role)
            elif isinstance(item, dict) and _role_of(item) is None and _is_content(item):
                self._block(item, type_, role, depth)
            else:
                self.search(item, depth + 1)

    def _choice(self, choice: Any, depth: int) -> None:
        if not isinstance(choice, dict):
            return
        for key, child in choice.items():
            if key == "text" and isinstance(child, str):
                self._text(child, SegmentType.ASSISTANT_TURN, "assistant")
            elif key in ("message", "delta") and isinstance(child, dict):
                self._message(child, _role_of(child) or "assistant", depth)
            elif key not in UNSPOKEN_FIELDS:
                self.search(child, depth + 1)

    def _delta(self, delta: Mapping[str, Any], depth: int) -> None:
        """A piece of a streamed message; Cohere's has the message inside."""
        message = delta.get("message")
        if isinstance(message, dict):
            self._message(message, _role_of(message) or "assistant", depth)
        else:
            self._block(delta, SegmentType.ASSISTANT_TURN, _role_of(delta) or "assistant", depth)

    def _message(self, message: Mapping[str, Any], role: str, depth: int) -> None:
        type_ = ROLES.get(role.lower(), SegmentType.OTHER)
        kind = message.get("type")
        if isinstance(kind, str) and kind.endswith(RESULT_BLOCK_ENDS):
            type_ = SegmentType.TOOL_RESULT
        for key, child in message.items():
            if key in CONTENT_FIELDS:
                self._content(child, type_, role, depth + 1)
            elif key in THINKING_FIELDS:
                self._content(child, SegmentType.THINKING, role, depth + 1)
            elif key in CALL_FIELDS:
                self._call(child, depth + 1)
            elif key == "action" and isinstance(child, str):
                self._text(child, SegmentType.TOOL_CALL, role)
            elif key in TOKEN_FIELDS:
                self._tokens(child, type_, role)
            elif isinstance(child, (dict, list)) and key not in UNSPOKEN_FIELDS:
                self.search(child, depth + 1)

    def _content(self, content: Any, type_: SegmentType, role: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            return
        if isinstance(content, str):
            self._text(content, type_, role)
        elif isinstance(content, list):
            for item in content:
                self._content(item, type_, role, depth + 1)
        elif isinstance(content, dict):
            self._block(content, type_, role, depth)

    def _block(self, block: Mapping[str, Any], type_: SegmentType, role: str, depth: int) -> None:
        if depth > DEPTH_MAX:
            return
        kind = block.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind.endswith(CALL_BLOCK_ENDS):
            self._call(block, depth)
        elif kind.endswith(RESULT_BLOCK_ENDS):
            for key in ("content", "output"):
                self._result(block.get(key), _string_or_none(block.get("name")), depth + 1)
        elif kind in THINKING_BLOCKS:
            for key in ("thinking", "reasoning", "text", "data", "summary", "content"):
                self._content(block.get(key), SegmentType.THINKING, role, depth + 1)
        else:
            if block.get("thought") is True:
                type_ = SegmentType.THINKING
            elif kind in TEXT_BLOCKS and type_ is SegmentType.OTHER:
                type_ = ROLES.get(role, type_)
            self._block_fields(block, type_, role, depth)

    def _block_fields(
        self, block: Mapping[str, Any], type_: SegmentType, role: str, depth: int
    ) -> None:
        for key, child in block.items():
            if key in CONTENT_FIELDS:
                self._content(child, type_, role, depth + 1)
            elif key in CALL_BLOCK_FIELDS or key in CALL_FIELDS:
                self._call(child, depth + 1)
            elif key in RESULT_BLOCK_FIELDS and isinstance(child, dict):
                name = _string_or_none(child.get("name"))
                for field in ("content", "response"):
                    self._result(child.get(field), name, depth + 1)
            elif key == "json":
                self._leaves(child, type_, role, None, depth + 1)
            elif key in THINKING_FIELDS or key in ("reasoningContent", "reasoningText"):
                self._content(child, SegmentType.THINKING, role, depth + 1)

    def _call(self, call: Any, depth: int) -> None:
        """One call or several: an OpenAI function, an Anthropic block, Cohere, Gemini, Ollama."""
        if depth > DEPTH_MAX:
            return
        if isinstance(call, list):
            for one in call:
                self._call(one, depth + 1)
            return
        if not isinstance(call, dict):
            return
        nested = call.get("function") or call.get("custom")
        if isinstance(nested, dict):
            self._call(nested, depth + 1)
            return
        name = _string_or_none(call.get("name")) or _string_or_none(nested)
        for key, child in call.items():
            if key in ARGUMENT_FIELDS:
                self._leaves(child, SegmentType.TOOL_CALL, "assistant", name, depth + 1)

    def _result(self, result: Any, name: str | None, depth: int) -> None:
        if isinstance(result, dict) and not _is_content(result):
            self._leaves(result, SegmentType.TOOL_RESULT, "tool", name, depth)
        elif isinstance(result, str):
            self._text(result, SegmentType.TOOL_RESULT, "tool", name)
        else:
            self._content(result, SegmentType.TOOL_RESULT, "tool", depth)

    def _leaves(
        self, value: Any, type_: SegmentType, role: str, name: str | None, depth: int
    ) -> None:
        if depth > DEPTH_MAX:
            return
        if isinstance(value, str):
            self._text(value, type_, role, name)
        elif isinstance(value, (dict, list)):
            for child in value.values() if isinstance(value, dict) else value:
                self._leaves(child, type_, role, name, depth + 1)

    def _tokens(self, ids: Any, type_: SegmentType, role: str) -> None:
        if isinstance(ids, list) and ids and all(type(one) is int for one in ids):
            self.found.append(Turn(type_, role, None, tuple(ids), None))

    def _text(self, text: str, type_: SegmentType, role: str, name: str | None = None) -> None:
        transcript = transcript_turns(text, type_)
        if not transcript:
            self.found.append(Turn(type_, role, text, None, name))
        for turn_type, turn in transcript:
            turn_role = "user" if turn_type is SegmentType.USER_TURN else "assistant"
            self.found.append(Turn(turn_type, turn_role, turn, None, name))


def _string_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _role_of(fields: Mapping[str, Any]) -> str | None:
    """The role of a message; None if ``fields`` is none."""
    role = fields.get("role")
    if role is None:
        author = fields.get("author")
        if isinstance(author, dict):
            role = author.get("role")
        elif "value" in fields:
            role = fields.get("from")
        elif "content" in fields and fields.get("type") in ("user", "assistant", "system"):
            role = fields["type"]
    return role if isinstance(role, str) else None


def _is_block(fields: Mapping[str, Any]) -> bool:
    kind = fields.get("type")
    return isinstance(kind, str) and (
        kind in TEXT_BLOCKS or kind in THINKING_BLOCKS or kind.endswith(KNOWN_BLOCK_ENDS)
    )


def _is_content(fields: Mapping[str, Any]) -> bool:
    return _is_block(fields) or "text" in fields or "parts" in fields


def _contextual(key: str, fields: Mapping[str, Any]) -> tuple[SegmentType, str] | None:
    """What a field of _CONTEXTUAL_FIELDS is: too common a name to mean something by itself."""
    if key == "message" and ("chat_history" in fields or "model" in fields):
        return SegmentType.USER_TURN, "user"
    if key == "text" and ("generation_id" in fields or "event_type" in fields):
        return SegmentType.ASSISTANT_TURN, "assistant"
    if key == "delta":
        kind = str(fields.get("type"))
        return (
            SegmentType.THINKING if "reasoning" in kind else SegmentType.ASSISTANT_TURN,
            "assistant",
        )
    return None
