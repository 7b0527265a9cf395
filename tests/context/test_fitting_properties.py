"""Budget, pairs and pins are kept, for any conversation and any budget."""

import contextlib
import json
import os
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stowkenfs.context.addresses import parse_spool_name
from stowkenfs.context.contents import spooled_content
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import read_conversation
from stowkenfs.errors import NotAConversation
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.contexts import FittedDocument, fit_document
from tests.context.conversations import anthropic_requests, openai_requests, sessions
from tests.context.validators import (
    anthropic_violations,
    openai_violations,
    session_violations,
    tokens_of_message,
    tokens_of_request,
)

EXAMPLES = int(os.environ.get("STOWKENFS_CONTEXT_EXAMPLES", "25"))
FILE_NO = 0x2A

slowly = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

budgets = st.sampled_from([1, 40, 100, 200, 300, 500, 800, 1200, 2000, 4000, 9000])
configs = st.builds(
    ContextConfig,
    budget_tokens=budgets,
    preserve_turns=st.integers(0, 3),
    pinned=st.frozensets(st.integers(0, 12), max_size=2),
    spool_bytes=st.sampled_from([0, 200, 1024]),
    preview_bytes=st.sampled_from([0, 37, 400]),
    snip_ratio=st.sampled_from([0.02, 0.1, 1.0]),
)


@lru_cache(maxsize=100_000)
def count(text: str) -> int:
    ids = tokenize(text, Vocabulary.O200K_BASE)
    return len(text.encode("utf-8", "surrogatepass")) if ids is None else len(ids)


def fitted(document: bytes, config: ContextConfig) -> FittedDocument:
    found = fit_document(document, config, {}, FILE_NO)
    report = found.report
    if found.content is None:
        assert found.error is not None
        assert found.error.needed > config.budget_tokens
        assert report.failure == str(found.error)
    else:
        assert report.tokens_after <= config.budget_tokens
        assert (found.content == document) == (report.tokens_before <= config.budget_tokens)
    check_steps(found)
    return found


def check_steps(found: FittedDocument) -> None:
    """Each operation takes something away, from where the one before it left off."""
    report = found.report
    tokens = report.tokens_before
    for step in report.steps:
        assert step.tokens_before == tokens
        assert step.messages >= 1
        tokens = step.tokens_after
    assert tokens == report.tokens_after
    firsts = [step.first_message for step in report.steps]
    assert report.cache_lost_from == min(firsts, default=None)


def check_pinned(
    before: list[dict[str, Any]], after: list[dict[str, Any]], wanted: set[int]
) -> None:
    """Each of these messages is there, unchanged but for blocks that were put beside its own."""
    at = 0
    for index in sorted(wanted):
        while at < len(after) and not is_same(before[index], after[at]):
            at += 1
        assert at < len(after), f"message {index} is gone"
        at += 1


def is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one == other:
        return True
    own = one.get("content")
    blocks = own if isinstance(own, list) else [{"type": "text", "text": own}]
    theirs = other.get("content")
    return (
        isinstance(theirs, list)
        and [block for block in theirs if not is_note(block)] == blocks
        and {**one, "content": 0} == {**other, "content": 0}
    )


def is_note(block: Any) -> bool:
    return isinstance(block, dict) and "left out here; whole: .stowken/spool/" in block.get(
        "text", ""
    )


def pinned_of(messages: list[dict[str, Any]], config: ContextConfig) -> set[int]:
    """The least that has to stay: what is marked, the system prompt, the last message."""
    found = {at for at in config.pinned if at < len(messages)}
    found |= {at for at, one in enumerate(messages) if one.get("pinned")}
    for at, one in enumerate(messages):
        if one["role"] != "system":
            break
        found.add(at)
    return found | ({len(messages) - 1} if config.preserve_turns else set())


def check_paths(document: bytes, content: bytes) -> None:
    """Whatever left can be read whole under the path that stands for it."""
    conversation = read_conversation(document)
    text = content.decode()
    originals = document.decode()
    for piece in text.split(".stowken/spool/")[1:]:
        name = piece.split("]")[0].split(" ")[0]
        if (".stowken/spool/" + name) in originals:
            continue
        parsed = parse_spool_name(name)
        assert parsed is not None, name
        assert parsed.document == FILE_NO
        assert spooled_content(conversation, parsed) is not None


@slowly
@given(openai_requests(), configs)
def test_openai_requests(request_, config):
    document = json.dumps(request_).encode()
    assert openai_violations(request_["messages"]) == []
    found = fitted(document, config)
    assert found.report.tokens_before == tokens_of_request(request_, count)
    if found.content is None:
        return
    after = json.loads(found.content)
    assert openai_violations(after["messages"]) == []
    assert tokens_of_request(after, count) == found.report.tokens_after
    assert {**after, "messages": 0} == {**request_, "messages": 0}
    check_pinned(request_["messages"], after["messages"], pinned_of(request_["messages"], config))
    check_paths(document, found.content)


@slowly
@given(anthropic_requests(), configs)
def test_anthropic_requests(request_, config):
    document = json.dumps(request_, ensure_ascii=False, indent=2).encode()
    assert anthropic_violations(request_["messages"]) == []
    found = fitted(document, config)
    assert found.report.tokens_before == tokens_of_request(request_, count)
    if found.content is None:
        return
    after = json.loads(found.content)
    assert anthropic_violations(after["messages"]) == []
    assert tokens_of_request(after, count) == found.report.tokens_after
    assert {**after, "messages": 0} == {**request_, "messages": 0}
    check_pinned(request_["messages"], after["messages"], pinned_of(request_["messages"], config))
    check_paths(document, found.content)


@slowly
@given(sessions(), configs)
def test_sessions(lines, config):
    document = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    spoken = [line for line in lines if "message" in line]
    assert session_violations(lines) == []
    found = fitted(document, config)
    total = 3 + sum(tokens_of_message(line["message"], count) for line in spoken)
    assert found.report.tokens_before == total
    if found.content is None:
        return
    after = [json.loads(line) for line in found.content.splitlines()]
    assert session_violations(after) == []
    left = [line for line in after if "message" in line]
    total = 3 + sum(tokens_of_message(line["message"], count) for line in left)
    assert total == found.report.tokens_after
    before = [line["message"] for line in spoken]
    wanted = pinned_of(before, config)
    check_pinned(before, [line["message"] for line in left], wanted)
    check_paths(document, found.content)


@slowly
@given(openai_requests(), configs)
def test_the_same_again_is_the_same(request_, config):
    document = json.dumps(request_).encode()
    assert fitted(document, config).content == fitted(document, config).content


@pytest.mark.parametrize("budget", [60, 200, 1000])
@slowly
@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_conversation_or_none(budget, content):
    with contextlib.suppress(NotAConversation):
        fit_document(content, ContextConfig(budget), {}, 1)
