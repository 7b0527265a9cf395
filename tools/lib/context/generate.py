"""Conversations of any length, the same each time."""

import json
import random
from collections.abc import Iterator

_TEXT = (
    "the agent reads a file and writes what it found in another one so that tests pass again "
    "def return import self value error line path index block record token budget window"
)
WORDS = _TEXT.split(" ")

_RESULT_WORDS = (10, 20, 40, 120, 600)


def session_log(messages: int, seed: int = 5) -> bytes:
    """A session log as coding agents write it: a message a line, and its surroundings."""
    return "".join(f"{json.dumps(line)}\n" for line in _lines(messages, seed)).encode()


def _lines(messages: int, seed: int) -> Iterator[dict[str, object]]:
    chance = random.Random(seed)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    for at in range(messages):
        clock = f"2026-01-01T{at // 3600 % 24:02}:{at // 60 % 60:02}:{at % 60:02}.000Z"
        line: dict[str, object] = {
            "parentUuid": f"u{at - 1}" if at else None,
            "isSidechain": False,
            "cwd": "/home/ada/harbour",
            "sessionId": "s",
            "uuid": f"u{at}",
            "timestamp": clock,
        }
        role, content = "assistant", dict[str, object]()
        if at % 48 == 0:
            role, content = "user", {"type": "text", "text": text(60)}
        elif at % 4 == 1:
            content = {"type": "thinking", "thinking": text(40), "signature": "c2ln"}
        elif at % 4 == 2:
            given = {"path": "/".join(chance.choices(WORDS, k=4))}
            content = {"type": "tool_use", "id": f"t{at}", "name": "Read", "input": given}
        elif at % 4 == 3:
            role, said = "user", text(chance.choice(_RESULT_WORDS))
            content = {"type": "tool_result", "tool_use_id": f"t{at - 1}", "content": said}
        else:
            content = {"type": "text", "text": text(30)}
        yield line | {"type": role, "message": {"role": role, "content": [content]}}
