"""The whole content of what left a window, as its name shows it."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from stowkenfs.context.addresses import SpoolName, check_of, check_of_range
from stowkenfs.context.messages import Message, Part, PartKind, value_at
from stowkenfs.context.parts import compact_json
from stowkenfs.context.reading import Conversation, LinesSource


def part_content(message: Message, part: Part) -> bytes:
    """A text in UTF-8; the bytes of an image that a message holds, else what it says of it."""
    if part.kind is PartKind.MEDIA and not part.text:
        block = value_at(message.value, part.path)
        held = _held_bytes(block)
        return compact_json(block).encode("utf-8", "surrogatepass") if held is None else held
    return part.text.encode("utf-8", "surrogatepass")


def _held_bytes(block: Any) -> bytes | None:
    """What a block has in base64, under the names of Anthropic and OpenAI."""
    source = block.get("source")
    url = block.get("image_url")
    held = source.get("data") if isinstance(source, Mapping) else None
    if isinstance(url, Mapping):
        url = url.get("url")
    if isinstance(url, str) and url.startswith("data:"):
        held = url.partition(";base64,")[2]
    try:
        return base64.b64decode(held, validate=True) if isinstance(held, str) and held else None
    except (binascii.Error, ValueError):
        return None


def spooled_content(conversation: Conversation, name: SpoolName) -> bytes | None:
    """What ``name`` stands for in its document; None if that is there no more."""
    messages = conversation.dialogue.messages
    if name.last is not None:
        if not name.first < name.last <= len(messages):
            return None
        some = messages[name.first : name.last]
        return _range_content(conversation, some) if check_of_range(some) == name.check else None
    if name.first >= len(messages):
        return None
    message = messages[name.first]
    for part in message.parts:
        content = part_content(message, part)
        if check_of(content) == name.check:
            return content
    return None


def _range_content(conversation: Conversation, messages: Sequence[Message]) -> bytes:
    """Messages in the format that they are in: lines of a log, or a JSON array."""
    if isinstance(conversation.source, LinesSource):
        text = "".join(f"{one.line}\n" for one in messages)
        return text.encode("utf-8", "surrogatepass")
    values = [one.value for one in messages]
    try:
        return (json.dumps(values, ensure_ascii=False, indent=1) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return (json.dumps(values, indent=1) + "\n").encode()
