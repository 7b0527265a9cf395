"""Texts by number: passages of real conversations, put together anew. Seeded."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.peer.generated import text_conversations

POOL_BYTES_MAX = 24 << 20
"""Text that passages are taken from; what is put together of it hardly ever comes twice."""

TEXT_BYTES_MIN = 48
PARTS = (2, 4)
"""A text consists of so many runs of neighbouring sentences, each from another place."""

GENERATED_CONVERSATIONS = 3000
_SENTENCES = re.compile(r"[^.!?。！？\n]{1,400}[.!?。！？\n]*")  # noqa: RUF001 - of Chinese


class Passages:
    """Texts made of the sentences of corpora, or of generated ones without corpora.

    The same corpora and seed give the same text for a number.
    """

    def __init__(self, corpora: Sequence[Path], seed: int) -> None:
        self._seed = seed
        self._sentences = list(_sentences(_texts(corpora) if corpora else _generated()))

    def text(self, number: int, length: int) -> str:
        """Of about ``length`` characters."""
        chance = random.Random(self._seed << 64 | number)
        parts = chance.randint(*PARTS)
        pieces: list[str] = []
        left = float(length)
        for part in range(parts):
            at = chance.randrange(len(self._sentences))
            share = left / (parts - part)
            while share > 0:
                sentence = self._sentences[at % len(self._sentences)]
                pieces.append(sentence)
                share -= len(sentence)
                left -= len(sentence)
                at += 1
        return "".join(pieces)


def _sentences(texts: Iterator[str]) -> Iterator[str]:
    size = 0
    for text in texts:
        for found in _SENTENCES.finditer(text):
            size += len(found[0])
            yield found[0]
        if size > POOL_BYTES_MAX:
            return


def _generated() -> Iterator[str]:
    for messages in text_conversations(GENERATED_CONVERSATIONS):
        yield from (message["content"] for message in messages)


def _texts(corpora: Sequence[Path]) -> Iterator[str]:
    """Long strings of all files, a file of each corpus in turn."""
    waiting = [iter(sorted(path for path in one.rglob("*.json*"))) for one in corpora]
    while waiting:
        for files in list(waiting):
            path = next(files, None)
            if path is None:
                waiting.remove(files)
                continue
            yield from _strings(path)


def _strings(path: Path) -> Iterator[str]:
    content = path.read_text(encoding="utf-8", errors="replace")
    try:
        wholes = [json.loads(content)]
    except ValueError:
        wholes = list(_lines(content))
    for whole in wholes:
        yield from _within(whole)


def _lines(content: str) -> Iterator[Any]:
    for line in content.splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            continue


def _within(value: Any) -> Iterator[str]:
    match value:
        case str() if len(value) >= TEXT_BYTES_MIN:
            # Half of a surrogate pair is no text that JSON of another writer would have.
            yield value.encode("utf-8", "replace").decode()
        case list():
            for one in value:
                yield from _within(one)
        case dict():
            for one in value.values():
                yield from _within(one)
