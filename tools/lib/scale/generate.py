"""The files of both ladders, by number: what one has does not depend on where a step begins.

New texts and repeated ones come in the same proportion at every size, so that what a unit
costs can be compared: whoever has ten times as many files has ten times as many new texts.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.scale.passages import Passages

FILES, BYTES = "files", "bytes"
FOLDER_FILES = 1000
QUESTION_CHARACTERS, ANSWER_CHARACTERS = (150, 500), (400, 1000)
LOG_BYTES = 4_000_000
CHAT_BYTES = 100_000
LOG_EVERY = 4
"""Of the ladder of bytes, one file in so many is a log, the others are chats."""

REPEATED = 0.25
"""Share of questions that were asked before, anywhere."""

SYSTEM_PROMPTS = 40
TURNS_KEPT = 4
"""A line of a log repeats so many turns of its conversation, as requests to a model do."""

CONVERSATION_TURNS = 8

_SYSTEM, _QUESTION, _ANSWER = 1, 2, 3
_KINDS = 4
_TURNS_OF_FILE = 1 << 20
DELETED_SHARE = {FILES: 100, BYTES: 20}
"""What a collection finds: the first of the step's files were removed, one in so many."""


def deleted(ladder: str, first: int, end: int) -> range:
    """Files that go before the collection of the step that brought ``first`` to ``end`` - 1."""
    return range(first, first + (end - first) // DELETED_SHARE[ladder])


def path_of(ladder: str, number: int) -> str:
    """Where a file lies, below the source and in the vault."""
    if ladder == FILES:
        return f"files/{number // FOLDER_FILES:05}/{number:07}.json"
    kind, suffix = ("logs", "jsonl") if number % LOG_EVERY == 0 else ("chats", "json")
    return f"bytes/{kind}/{number // FOLDER_FILES:03}/{number:06}.{suffix}"


@dataclass(frozen=True, slots=True)
class Generator:
    """Makes files of one ladder. ``log_bytes`` is what a log is long at least."""

    passages: Passages
    ladder: str
    seed: int
    log_bytes: int = LOG_BYTES

    def write(self, target: Path, first: int, enough: Callable[[int, int], bool]) -> Iterator[int]:
        """Write files from number ``first`` on until ``enough(number, bytes)``; sizes."""
        number, size = first, 0
        while not enough(number, size):
            path = target / path_of(self.ladder, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            wrote = path.write_bytes(self.content(number))
            size += wrote
            number += 1
            yield wrote

    def content(self, number: int) -> bytes:
        """Of the file with this number."""
        if self.ladder == FILES:
            return self._small(number)
        if number % LOG_EVERY == 0:
            return self._log(number)
        return self._chat(number)

    def _small(self, number: int) -> bytes:
        messages = [self._system(number), *self._turn(number, 0)]
        return _encoded({"id": f"small-{number:07}", "model": "gpt-4", "messages": messages})

    def _chat(self, number: int) -> bytes:
        messages, size, turn = [self._system(number)], 0, 0
        while size < min(CHAT_BYTES, self.log_bytes):
            both = self._turn(number, turn)
            messages += both
            size += sum(len(one["content"]) for one in both)
            turn += 1
        return _encoded({"id": f"chat-{number:06}", "model": "gpt-4", "messages": messages})

    def _log(self, number: int) -> bytes:
        lines: list[bytes] = []
        size = turn = 0
        said: list[dict[str, str]] = []
        while size < self.log_bytes:
            if turn % CONVERSATION_TURNS == 0:
                said = []
            said += self._turn(number, turn)
            line = {
                "request": f"{number:06}-{turn:06}",
                "model": "gpt-4",
                "messages": [self._system(number + turn), *said[-2 * TURNS_KEPT :]],
                "usage": {"prompt_tokens": size % 4096, "completion_tokens": turn % 512},
            }
            lines.append(_encoded(line))
            size += len(lines[-1])
            turn += 1
        return b"".join(lines)

    def _system(self, number: int) -> dict[str, str]:
        text = self.passages.text(number % SYSTEM_PROMPTS * _KINDS + _SYSTEM, 300)
        return {"role": "system", "content": text}

    def _turn(self, number: int, turn: int) -> list[dict[str, str]]:
        place = number * _TURNS_OF_FILE + turn
        chance = random.Random(self.seed << 80 | place)
        asked = place
        if chance.random() < REPEATED:
            asked = chance.randint(0, number) * _TURNS_OF_FILE
        return [
            {"role": role, "content": self.passages.text(which * _KINDS + kind, length)}
            for role, which, kind, length in (
                ("user", asked, _QUESTION, _length(asked, QUESTION_CHARACTERS)),
                ("assistant", place, _ANSWER, chance.randint(*ANSWER_CHARACTERS)),
            )
        ]


def _length(place: int, limits: tuple[int, int]) -> int:
    """The same whenever the same text is asked for."""
    low, high = limits
    return low + place * 7919 % (high - low)


def _encoded(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
