"""What a conversation says about itself: its ids, its tokenizer, its model."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

_ID_FIELDS: Final = (
    "id",
    "conversation_id",
    "conversationId",
    "session_id",
    "sessionId",
    "instance_id",
    "thread_id",
    "request_id",
    "response_id",
    "custom_id",
)


def conversation_ids(value: Any) -> list[str]:
    """The strings by which a document may be asked for, best first, each once.

    All can be written in UTF-8: nobody asks for one with half a surrogate pair.
    """
    if not isinstance(value, dict):
        return []
    ids = (value.get(field) for field in _ID_FIELDS)
    return list(dict.fromkeys(one for one in ids if isinstance(one, str) and one and _is_text(one)))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def tokenizer_hint(value: Any) -> tuple[str | None, str | None]:
    """The tokenizer and the model that a document names, on top or one level down."""
    return _named(value, "tokenizer"), _named(value, "model")


def _named(value: Any, field: str) -> str | None:
    for fields in _levels(value):
        name = fields.get(field)
        if isinstance(name, str) and name:
            return name
    return None


def _levels(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, dict):
        yield value
        yield from (child for child in value.values() if isinstance(child, dict))
