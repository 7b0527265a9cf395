"""The conversations that both store, as messages that both take: a role, and text or ids.

Names, tool calls and every other field of the JSON are left out, because the wheel does not
keep them, but for ``tau-text``, where they are part of the text.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.peer.generated import Messages

TURN = re.compile(r"\n\n(Human|Assistant):")
CALLS_AS_TEXT = {"tau-airline": ("tau-text", "historical_trajectories")}
"""``{corpus: (name, folder)}`` of those whose calls are made part of the text."""


@dataclass(frozen=True, slots=True)
class ConversationSet:
    """Conversations under one name; ``make`` begins them anew."""

    name: str
    make: Callable[[], Iterator[Messages]]


def set_of_corpus(name: str, path: Path) -> ConversationSet | None:
    """The conversations of a corpus; None where there are none."""
    label, folder = CALLS_AS_TEXT.get(name, (name, "."))
    found = ConversationSet(label, lambda: of_corpus(path / folder, calls_as_text=label != name))
    return found if next(found.make(), None) is not None else None


def write_conversations(conversations: Iterable[Messages], path: Path) -> tuple[int, int]:
    """One a line, with the fields that both want; how many, and bytes of what they say.

    Ids count as four bytes each.
    """
    count = size = 0
    with path.open("w", encoding="utf-8") as file:
        for messages in conversations:
            conversation = {
                "id": f"conversation-{count:06}",
                "model": "gpt-4",
                "tokenizer": "cl100k_base",
                "messages": messages,
            }
            file.write(json.dumps(conversation, ensure_ascii=True) + "\n")
            count += 1
            size += sum(map(_content_bytes, messages))
    return count, size


def _content_bytes(message: dict[str, Any]) -> int:
    if "tokens" in message:
        return 4 * len(message["tokens"])
    return len(message["content"].encode("utf-8", "surrogatepass"))


def of_corpus(corpus: Path, *, calls_as_text: bool = False) -> Iterator[Messages]:
    """The conversations in the JSON files below a directory, in the order of their names."""
    for path in sorted(corpus.rglob("*.json*")):
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".jsonl":
                records = [json.loads(line) for line in text.split("\n") if line.strip()]
            else:
                whole = json.loads(text)
                records = whole if isinstance(whole, list) else [whole]
        except ValueError:
            continue  # a log that the corpus has beside its conversations
        for record in records:
            if isinstance(record, dict):
                yield from _of_record(record, calls_as_text=calls_as_text)


def _of_record(record: dict[str, Any], *, calls_as_text: bool) -> Iterator[Messages]:
    """The conversations in one record of any of the corpora that are compared."""
    for side in ("chosen", "rejected"):
        if isinstance(record.get(side), str):
            parts = TURN.split(record[side])
            yield [
                _message("user" if who == "Human" else "assistant", text.strip())
                for who, text in zip(parts[1::2], parts[2::2], strict=True)
            ]
    for side in ("output", "output_1", "output_2"):
        if isinstance(record.get("instruction"), str) and isinstance(record.get(side), str):
            yield [_message("user", record["instruction"]), _message("assistant", record[side])]
    for name in ("traj", "messages"):
        if isinstance(record.get(name), list) and all(isinstance(o, dict) for o in record[name]):
            yield [_turn(one, calls_as_text=calls_as_text) for one in record[name]]
    if isinstance(record.get("messages_display"), str):
        yield [_message("user", record["messages_display"])]


def _turn(turn: dict[str, Any], *, calls_as_text: bool) -> dict[str, Any]:
    """A turn with a text; where it also has calls, they and the text are JSON in a text."""
    role = str(turn.get("role", "user"))
    if isinstance(turn.get("tokens"), list):
        return {"role": role, "tokens": turn["tokens"]}
    content = turn.get("content")
    others = {name: value for name, value in turn.items() if name not in ("role", "content")}
    if calls_as_text and others:
        content = {"content": content, **others}
    if content is None or isinstance(content, str):
        return _message(role, content or "")
    return _message(role, json.dumps(content, ensure_ascii=False, separators=(",", ":")))


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
