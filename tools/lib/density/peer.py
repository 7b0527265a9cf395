"""Stores the conversations of a corpus with the stowken wheel; told as JSON on stdout.

    PYTHON peer.py STORE CORPUS

PYTHON is that of an environment with the wheel; this needs nothing else. The wheel keeps the
texts of turns; names, tool calls and every other field of the JSON are left out by it.
"""

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import stowken

TURN = re.compile(r"\n\n(Human|Assistant):")
SAMPLES = 3


def main() -> None:
    store = stowken.Stowken.open(sys.argv[1], True)
    refused: list[str] = []
    stored = 0
    begin = time.perf_counter()
    for number, messages in enumerate(conversations(Path(sys.argv[2]))):
        conversation = {
            "id": f"conversation-{number:06}",
            "model": "gpt-4",
            "tokenizer": "cl100k_base",
            "messages": messages,
        }
        try:
            store.store(conversation)
            stored += 1
        except Exception as error:  # noqa: BLE001 - whatever it raises is told
            refused.append(str(error)[:200])
    print(
        json.dumps(
            {
                "conversations": stored,
                "refused": len(refused),
                "reasons": refused[:SAMPLES],
                "seconds": time.perf_counter() - begin,
            }
        )
    )


def conversations(corpus: Path) -> Iterator[list[dict[str, str]]]:
    for path in sorted(corpus.rglob("*.json*")):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".jsonl":
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
        else:
            whole = json.loads(text)
            records = whole if isinstance(whole, list) else [whole]
        for record in records:
            yield from of_record(record)


def of_record(record: dict[str, Any]) -> Iterator[list[dict[str, str]]]:
    """The conversations in one record of any of the corpora that are compared."""
    for side in ("chosen", "rejected"):
        if side in record:
            parts = TURN.split(record[side])
            yield [
                message("user" if who == "Human" else "assistant", text.strip())
                for who, text in zip(parts[1::2], parts[2::2], strict=True)
            ]
    for side in ("output", "output_1", "output_2"):
        if side in record:
            yield [message("user", record["instruction"]), message("assistant", record[side])]
    if "traj" in record:
        yield [message(one["role"], one.get("content") or "") for one in record["traj"]]
    if "messages_display" in record:
        yield [message("user", record["messages_display"])]


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


if __name__ == "__main__":
    main()
