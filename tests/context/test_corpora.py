"""Real conversations fitted into budgets.

``STOWKENFS_CONTEXT_FILES``: files of each corpus, 0 for all.
"""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stowkenfs.context.addresses import parse_spool_name
from stowkenfs.context.contents import spooled_content
from stowkenfs.context.messages import Api
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import Conversation, JsonSource, read_conversation
from stowkenfs.errors import NotAConversation
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.about import about
from stowkenfs.vault.contexts import fit_document
from tests.context.validators import (
    anthropic_violations,
    openai_violations,
    session_violations,
    tokens_of_message,
    tokens_of_request,
)
from tests.documents.corpora import unpacked
from tests.documents.test_corpora import NAMES

FILES = int(os.environ.get("STOWKENFS_CONTEXT_FILES", "6"))
FILE_BYTES_MAX = 8 << 20
SHARES = (0.7, 0.4, 0.15, 0.05)
"""Of all its tokens: what a conversation is fitted into."""
NONE_IN = {"alpaca-eval", "alpaca-eval-split", "bfcl", "gpteacher", "gpteacher-split"} | {
    "hh-harmless",
    "hh-harmless-split",
    "reflexion-jsonl",
    "tau-airline",
}
"""Corpora without conversations in messages: tables of questions, many conversations a file."""


def count_in(vocabulary: Vocabulary) -> Any:
    def count(text: str) -> int:
        ids = tokenize(text, vocabulary)
        return len(text.encode("utf-8", "surrogatepass")) if ids is None else len(ids)

    return count


def lines_in(document: bytes) -> list[dict[str, Any]]:
    """The objects of a log; a line may have been cut off."""
    found = []
    for line in document.split(b"\n"):
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return [one for one in found if isinstance(one, dict)]


def messages_in(document: bytes, like: Conversation) -> list[dict[str, Any]]:
    """The messages of a document in the format of ``like``, as that document's API has them."""
    if not isinstance(like.source, JsonSource):
        return [one for one in lines_in(document) if "message" in one or "role" in one]
    value = json.loads(document)
    for key in like.source.place:
        value = value[key]
    return value  # type: ignore[no-any-return]


def violations(document: bytes, like: Conversation) -> Counter[str]:
    if not isinstance(like.source, JsonSource) and like.source.is_session:
        return Counter(set(session_violations(lines_in(document))))
    messages = messages_in(document, like)
    if like.dialogue.api is Api.ANTHROPIC:
        return Counter(set(anthropic_violations(messages)))
    if like.keys[0] == "from":
        messages = [{"role": one["from"], "content": one["value"]} for one in messages]
    return Counter(set(openai_violations(messages)))


def tokens_in(document: bytes, like: Conversation) -> int:
    count = count_in(about(document[: 64 << 10]).vocabulary)
    messages = messages_in(document, like)
    if isinstance(like.source, JsonSource):
        if like.source.is_request:
            return tokens_of_request(json.loads(document), count)
        return 3 + sum(tokens_of_message(one, count) for one in messages)
    return 3 + sum(tokens_of_message(one.get("message", one), count) for one in messages)


def files_of(name: str, tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    found = sorted(path for path in unpacked(name, tmp_path).rglob("*") if path.is_file())
    step = max(1, len(found) // FILES) if FILES else 1
    for number, path in enumerate(found[::step]):
        if path.stat().st_size <= FILE_BYTES_MAX:
            yield number, path.read_bytes()


def check_paths(document: bytes, content: bytes, like: Conversation) -> int:
    """How many paths stand in a fitted document, all of which lead to what left."""
    found = 0
    for piece in content.split(b".stowken/spool/")[1:]:
        name = parse_spool_name(piece.split(b"]")[0].split(b" ")[0].decode("utf-8", "replace"))
        if name is not None and name.document == 7:
            found += 1
            assert spooled_content(like, name) is not None, name
    return found


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", NAMES)
def test_real_conversations(name: str, tmp_path: Path, record_property: Any) -> None:
    told: Counter[str] = Counter()
    for number, document in files_of(name, tmp_path):
        told["files"] += 1
        try:
            like = read_conversation(document)
        except NotAConversation:
            continue
        told["conversations"] += 1
        whole = fit_document(document, ContextConfig(1 << 30), {}, 7)
        assert whole.content == document
        tokens = whole.report.tokens_before
        told["messages"] += whole.report.messages_before
        told["tokens"] += tokens
        budget = max(int(tokens * SHARES[number % len(SHARES)]), 50)
        fitted = fit_document(document, ContextConfig(budget), {}, 7)
        told[f"api {whole.report.api}"] += 1
        for step in fitted.report.steps:
            told[step.operation] += 1
        if fitted.content is None:
            told["too small"] += 1
            assert fitted.error is not None
            assert fitted.error.needed > budget
            continue
        told["fitted"] += 1
        assert fitted.report.tokens_after <= budget or tokens <= budget
        if fitted.content != document:
            told["changed"] += 1
            assert tokens_in(fitted.content, like) == fitted.report.tokens_after
            told["paths"] += check_paths(document, fitted.content, like)
        before = violations(document, like)
        told["invalid before"] += bool(before)
        added = violations(fitted.content, like) - before
        assert not added, added
        check_last(like, fitted.content)
    record_property("counts", dict(told))
    print(name, dict(told))  # noqa: T201 - for who asks for the figures, with -s
    assert (told["conversations"] > 0) != (name in NONE_IN)


def check_last(like: Conversation, content: bytes) -> None:
    """What was said last is said last, unchanged."""
    last = messages_in(content, like)[-1]
    was = like.dialogue.messages[-1].value
    assert last.get("message", last) == was.get("message", was)
