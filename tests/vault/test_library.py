"""The library as a program uses it, under trio and asyncio alike."""

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import numpy as np
import pytest

from stowkenfs import Conversation, Message, SegmentType, Vault, VaultConfig
from stowkenfs.errors import (
    ConversationNotFound,
    InvalidId,
    IsADirectory,
    NotAConversation,
    StowkenError,
)
from stowkenfs.frames.address import segment_hash
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from tests.running import BACKENDS
from tests.running import run as run_under

Main = Callable[[Vault], Awaitable[None]]
Run = Callable[[Main], None]

SYSTEM = "You are a careful assistant. Answer in plain words, and say so when you do not know."
QUESTION = "What is the difference between a frame and a segment in a vault like this one?"
ANSWER = "A segment is one payload as token ids; a frame is how such a segment is written down."


@pytest.fixture(params=[(backend, kind) for backend in BACKENDS for kind in ("open", "memory")],
                ids="-".join)  # fmt: skip
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a function with a new vault, on disk or in memory, under either library."""
    backend, kind = request.param

    def run_it(main: Main) -> None:
        async def with_vault() -> None:
            config = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
            make = Vault.memory(config) if kind == "memory" else Vault.open(tmp_path / "v", config)
            async with make as vault:
                await main(vault)
                report = await vault.verify()
                assert report.clean, report

        run_under(backend, with_vault)

    return run_it


def conversation(name: str | None = "app/chat-7", **fields: Any) -> Conversation:
    messages = [Message("system", SYSTEM), Message("user", QUESTION), Message("assistant", ANSWER)]
    return Conversation(**({"id": name, "messages": messages} | fields))


FULL = Conversation(
    id="app/full",
    application="app",
    model="gpt-4o",
    tokenizer="o200k_base",
    metadata={"user": "é", "nested": {"list": [1, 2.5, None, True]}, "": "empty key"},
    messages=[
        Message("system", SYSTEM, name="operator"),
        Message("developer", "short"),
        Message("user", [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {
            "url": "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYA" * 3}}]),
        Message("assistant", None, tool_calls=[{
            "id": "call_1", "type": "function",
            "function": {"name": "look_up", "arguments": json.dumps({"query": QUESTION})}}]),
        Message("tool", json.dumps([QUESTION] * 3), tool_call_id="call_1", name="look_up"),
        Message("assistant", "", extra={"refusal": None, "logprobs": [0.1, -1e-05]}),
        Message("a role of its own", "lone \ud800 surrogate, " * 4, extra={"weight": 0}),
        Message("user", tokens=[1, 2**31 + 5, 2**32 - 1, 0] * 8),
        Message("user", tokens=[]),
        Message("", ""),
    ],
    extra={"temperature": 0.7, "created": 12345678901234567890, "tags": []},
)  # fmt: skip


def test_every_field_comes_back(run: Run) -> None:
    async def main(vault: Vault) -> None:
        result = await vault.store(FULL)
        assert result.id == "app/full"
        found = await vault.retrieve("app/full")
        assert found == FULL
        assert found.to_dict() == FULL.to_dict()

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        Message("user", "x"),
        Message("user", None),
        Message("user", []),
        Message("user", ["part", {"type": "text", "text": "part"}]),
        Message("user", "lone \udfff"),
        Message("user", "\0\x01\u2028\U0001f600"),
        Message("user", "content", tool_calls=[]),
        Message("user", "content", name=""),
        Message("user", tokens=[5]),
        Message("user", tokens=[]),
        Message("user", tokens=list(range(300))),
        Message("user", "both", tokens=[7, 8, 9]),
        Message("user", "x", extra={"content_filter": {"a": [None]}, "\ud800": 1}),
        Message("рассказчик", "any role"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("backend", BACKENDS)
def test_one_message(message: Message, backend: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            stored = Conversation(id="x", messages=[message])
            await vault.store(stored)
            assert await vault.retrieve("x") == stored

    run_under(backend, main)


def test_tokens_of_any_sequence_come_back_as_a_list(run: Run) -> None:
    async def main(vault: Vault) -> None:
        ids = np.array([3, 2**32 - 1, 7] * 9, np.uint32)
        await vault.store(Conversation(id="x", messages=[Message("user", tokens=cast("Any", ids))]))
        found = await vault.retrieve("x")
        assert found.messages[0].tokens == ids.tolist()
        (segment,) = found.segments
        assert np.array_equal(segment.tokens, ids)
        assert segment.tokens.dtype == np.uint32

    run(main)


# Segments


@pytest.mark.parametrize(
    ("fields", "vocabulary"),
    [
        ({"tokenizer": "cl100k_base"}, Vocabulary.CL100K_BASE),
        ({"tokenizer": "o200k_base"}, Vocabulary.O200K_BASE),
        ({"model": "gpt-4"}, Vocabulary.CL100K_BASE),
        ({"model": "gpt-4o"}, Vocabulary.O200K_BASE),
        ({"tokenizer": "someone's own"}, Vocabulary.O200K_BASE),
        ({}, Vocabulary.O200K_BASE),
    ],
)
def test_the_conversation_names_its_tokenizer(
    run: Run, fields: dict[str, str], vocabulary: Vocabulary
) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(conversation(**fields))
        found = await vault.retrieve("app/chat-7")
        for segment, text in zip(found.segments, (SYSTEM, QUESTION, ANSWER), strict=True):
            assert segment.vocabulary is vocabulary
            assert spell(segment.tokens, vocabulary) == text.encode()
            assert segment.hash == segment_hash(segment.tokens)
            assert len(segment.tokens) < len(text) / 2

    run(main)


def test_segments_have_types(run: Run) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(
            Conversation(
                id="typed",
                messages=[
                    Message("system", SYSTEM),
                    Message("user", QUESTION),
                    Message(
                        "assistant",
                        [
                            {"type": "thinking", "thinking": "Let me think."},
                            {"type": "text", "text": ANSWER},
                        ],
                        tool_calls=[{"function": {"name": "f", "arguments": '{"a": 1}'}}],
                    ),
                    Message("tool", "a result", tool_call_id="1"),
                    Message("narrator", "else"),
                    Message("user", tokens=[5, 6, 7]),
                ],
            )
        )
        found = await vault.retrieve("typed")
        assert [segment.segment_type for segment in found.segments] == [
            SegmentType.SYSTEM_PROMPT,
            SegmentType.USER_TURN,
            SegmentType.THINKING,
            SegmentType.ASSISTANT_TURN,
            SegmentType.TOOL_CALL,
            SegmentType.TOOL_RESULT,
            SegmentType.OTHER,
            SegmentType.USER_TURN,
        ]

    run(main)


def test_text_that_no_tokenizer_keeps_is_bytes(run: Run) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(Conversation(id="x", messages=[Message("user", "lone \ud800 here")]))
        (segment,) = (await vault.retrieve("x")).segments
        assert segment.vocabulary is Vocabulary.BYTES

    run(main)


# Results, deduplication, statistics


def test_what_is_shared_is_stored_once(run: Run) -> None:
    async def main(vault: Vault) -> None:
        first = await vault.store(conversation("one"))
        assert (first.segments, first.deduplicated_segments) == (3, 0)
        assert first.stored > 0
        assert first.bytes_in == len(await vault.read_file(vault.find_conversation("one").ino))
        again = await vault.store(conversation("two", metadata={"other": 1}))
        assert (again.segments, again.deduplicated_segments) == (3, 3)
        assert again.stored < first.stored  # a template, and a record of references
        other = conversation("three")
        other.messages[1] = Message("user", QUESTION.upper())
        third = await vault.store(other)
        assert (third.segments, third.deduplicated_segments) == (3, 2)
        stats = await vault.stats()
        assert stats.segments == 4
        assert stats.conversations == stats.documents == 3

    run(main)


def test_statistics(run: Run) -> None:
    async def main(vault: Vault) -> None:
        empty = (await vault.stats()).to_dict()
        assert empty["conversations"] == empty["segments"] == empty["bytes_in"] == 0
        result = await vault.store(conversation())
        stats = await vault.stats()
        assert stats.bytes_in == stats.sealed_bytes == result.bytes_in
        assert stats.conversations == 1
        assert stats.storage_bytes > 0
        assert stats.drafts == 0
        assert set(stats.frames) >= {"0x01", "0x02"}
        assert sum(kind["frames"] for kind in stats.frames.values()) == stats.segments == 3
        assert 0 <= stats.ratio < 1
        json.dumps(stats.to_dict())

    run(main)


def test_a_conversation_without_an_id_gets_one(run: Run) -> None:
    async def main(vault: Vault) -> None:
        first, second = conversation(None), conversation(None)
        ids = {(await vault.store(first)).id, (await vault.store(second)).id}
        assert ids == {first.id, second.id} == set(vault.list())
        assert await vault.retrieve(first.id or "") == first

    run(main)


def test_the_same_id_replaces(run: Run) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(conversation("a/b"))
        ino = vault.find_conversation("a/b").ino
        later = Conversation(id="a/b", messages=[Message("user", "shorter")])
        await vault.store(later)
        assert await vault.retrieve("a/b") == later
        assert vault.find_conversation("a/b").ino == ino
        assert vault.list() == ["a/b"]
        await vault.store(conversation("a/b"))
        assert await vault.retrieve("a/b") == conversation("a/b")

    run(main)


def test_delete_and_list(run: Run) -> None:
    async def main(vault: Vault) -> None:
        for name in ("b", "a/2", "a/1", "a.b", "ab"):
            await vault.store(conversation(name))
        assert vault.list() == ["a.b", "a/1", "a/2", "ab", "b"]
        assert vault.list("a/") == ["a/1", "a/2"]
        await vault.delete("a/1")
        assert vault.list("a/") == ["a/2"]
        with pytest.raises(ConversationNotFound, match="a/1"):
            await vault.retrieve("a/1")
        with pytest.raises(KeyError):
            await vault.delete("a/1")
        assert await vault.retrieve("a/2") == conversation("a/2")
        for name in vault.list():
            await vault.delete(name)
        assert vault.list() == []
        assert (await vault.stats()).documents == 0

    run(main)


def test_many_tasks_at_once(run: Run) -> None:
    async def main(vault: Vault) -> None:
        async def one(n: int) -> None:
            stored = conversation(f"{n % 3}/{n}", metadata={"n": n, "text": f"{n} " * 200})
            await vault.store(stored)
            assert await vault.retrieve(f"{n % 3}/{n}") == stored

        async with anyio.create_task_group() as tasks:
            for n in range(20):
                tasks.start_soon(one, n)
        assert len(vault.list()) == 20
        assert (await vault.stats()).segments == 3 + 20

    run(main)


def test_a_cancelled_store_leaves_all_or_nothing(run: Run) -> None:
    async def main(vault: Vault) -> None:
        rng = random.Random(5)
        for n in range(12):
            stored = conversation(f"{n}", metadata={"text": rng.randbytes(4000).hex()})
            with anyio.move_on_after(0.002 * n):
                await vault.store(stored)
            if f"{n}" in vault.list():
                assert await vault.retrieve(f"{n}") == stored
            await vault.store(stored)
            assert await vault.retrieve(f"{n}") == stored

    run(main)


# Ids


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("", "empty"),
        ("..", "component"),
        ("../x", "component"),
        ("a/../b", "component"),
        ("a/..", "component"),
        (".", "component"),
        ("a/./b", "component"),
        ("a//b", "component"),
        ("a/", "component"),
        ("/etc/passwd", "slash"),
        ("/", "slash"),
        ("a\0b", "NUL"),
        ("\ud800", "Unicode"),
        ("x" * 251, "longer"),
        ("é" * 126, "longer"),
        ("a/" * 600 + "b", "longer"),
        (".stowken/status", "control"),
        (".stowken", "control"),
    ],
)
def test_ids_that_are_refused(bad: str, why: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            for use in (
                lambda: vault.store(conversation(bad)),
                lambda: vault.retrieve(bad),
                lambda: vault.delete(bad),
            ):
                with pytest.raises(InvalidId, match=why) as caught:
                    await use()
                assert isinstance(caught.value, ValueError)
            assert vault.list() == []

    run_under("asyncio", main)


@pytest.mark.parametrize(
    "good",
    ["x" * 250, "é" * 125, "a/" * 500 + "b", "...", "a b\n", "-", "%2e", "ä/😀", "a.json", "~"],
)
def test_ids_that_are_good(good: str) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            await vault.store(conversation(good))
            assert await vault.retrieve(good) == conversation(good)
            assert len(vault.list()) == 1

    run_under("asyncio", main)


def test_a_directory_in_the_way(run: Run) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(conversation("a.json/b"))
        with pytest.raises(IsADirectory):
            await vault.store(conversation("a"))
        await vault.store(conversation("file"))
        with pytest.raises(StowkenError):
            await vault.store(conversation("file.json/below"))
        assert vault.list() == ["a.json/b", "file"]

    run(main)


# Files that something else wrote


def by_path(
    content: bytes, path: bytes = b"/logs/run.jsonl"
) -> Callable[[Vault], Awaitable[Conversation]]:
    async def write_and_retrieve(vault: Vault) -> Conversation:
        await vault.write_document(path, content)
        assert await vault.read_file(vault.tree.resolve(path).ino) == content
        return await vault.retrieve(path[1:].decode())

    return write_and_retrieve


def test_a_sharegpt_file(run: Run) -> None:
    document = {"id": "sg-1", "conversations": [
        {"from": "system", "value": SYSTEM},
        {"from": "human", "value": QUESTION},
        {"from": "gpt", "value": ANSWER},
    ]}  # fmt: skip

    async def main(vault: Vault) -> None:
        found = await by_path(json.dumps(document, indent=1).encode(), b"/sg.json")(vault)
        assert found.id == "sg-1"
        assert found.extra == {"conversations": document["conversations"]}
        assert [segment.segment_type for segment in found.segments] == [
            SegmentType.SYSTEM_PROMPT, SegmentType.USER_TURN, SegmentType.ASSISTANT_TURN,
        ]  # fmt: skip
        assert await vault.retrieve("sg-1") == found

    run(main)


def test_a_log_of_lines(run: Run) -> None:
    lines = [
        {"type": "user", "sessionId": "s-1", "message": {"role": "user", "content": QUESTION}},
        {"type": "assistant", "sessionId": "s-1", "message": {"role": "assistant", "content": [
            {"type": "thinking", "thinking": SYSTEM}, {"type": "text", "text": ANSWER}]}},
    ]  # fmt: skip

    async def main(vault: Vault) -> None:
        content = b"".join(json.dumps(line).encode() + b"\r\n" for line in lines)
        found = await by_path(content)(vault)
        assert found.extra == {"entries": lines}
        assert [segment.segment_type for segment in found.segments] == [
            SegmentType.USER_TURN, SegmentType.THINKING, SegmentType.ASSISTANT_TURN,
        ]  # fmt: skip
        assert (await vault.retrieve("s-1")).extra == found.extra

    run(main)


def test_an_array_of_messages(run: Run) -> None:
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}]

    async def main(vault: Vault) -> None:
        found = await by_path(json.dumps(messages).encode(), b"/array.json")(vault)
        assert found.extra == {"entries": messages}
        assert len(found.segments) == 2

    run(main)


@pytest.mark.parametrize(
    "content",
    [
        '{"messages": [{"role": "user", "content": "utf-16"}]}'.encode("utf-16"),
        '{"messages": [{"role": "user", "content": "bom"}]}'.encode("utf-8-sig"),
        '{"messages": [{"role": "user", "content": "utf-32"}]}'.encode("utf-32-le"),
        b'{"messages": [{"role": "user", "tokens": 57, "content": "a count"}]}',
        b'{"messages": [{"role": "user", "tokens": [-1, 4294967296], "content": "no ids"}]}',
        b'{"messages": [{"role": "user", "tokens": ["a", 1], "content": "no ids"}]}',
        b'{"messages": [{"content": "no role"}]}',
        b'{"messages": []}',
        b'{"messages": null, "id": 5}',
        b'{"messages": {"an": "object"}}',
        b"{}",
        b"[]",
        b'{"a": NaN, "b": 1e999, "a": 12345678901234567890}',
    ],
)
def test_odd_documents_are_conversations_still(content: bytes) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            found = await by_path(content, b"/odd.json")(vault)
            found.to_dict()
            found.id = "copy"
            await vault.store(found)
            copied = await vault.retrieve("copy")
            assert repr(copied.to_dict()) == repr(found.to_dict())

    run_under("asyncio", main)


@pytest.mark.parametrize(
    "content",
    [
        b"\x89PNG\r\n\x1a\n\0",
        b"plain text",
        b'"a string"',
        b"5",
        b"[" * 100_000,
        b"{" * 9,
        b'{"a": 1} x',
    ],
)
def test_files_that_are_no_conversations(content: bytes) -> None:
    async def main() -> None:
        async with Vault.memory() as vault:
            with pytest.raises(NotAConversation):
                await by_path(content, b"/odd")(vault)
            assert await vault.read_file(vault.find_conversation("odd").ino) == content

    run_under("asyncio", main)


def test_a_list_of_messages_that_are_none(run: Run) -> None:
    async def main(vault: Vault) -> None:
        with pytest.raises(NotAConversation, match="messages"):
            await by_path(b'{"messages": ["text"]}')(vault)

    run(main)


# Reopening


@pytest.mark.parametrize("backend", BACKENDS)
def test_everything_is_there_after_reopening(tmp_path: Path, backend: str) -> None:
    async def write() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            await vault.store(FULL)
            await vault.store(conversation())
            await vault.delete("app/chat-7")
            await vault.store(conversation("later"))

    async def read() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            assert vault.list() == ["app/full", "later"]
            assert await vault.retrieve("app/full") == FULL
            assert (await vault.verify()).clean
            again = await vault.store(conversation("again"))
            assert again.deduplicated_segments == again.segments == 3

    for _ in range(2):
        run_under(backend, write)
        other = BACKENDS[1 - BACKENDS.index(backend)]
        run_under(other, read)

        async def clean() -> None:
            async with Vault.open(tmp_path / "v") as vault:
                await vault.delete("again")

        run_under(backend, clean)


def test_the_rendering_does_not_change(tmp_path: Path) -> None:
    """The canonical file, byte for byte as docs/FORMAT.md promises."""

    async def main() -> None:
        async with Vault.memory() as vault:
            stored = Conversation(
                id="x",
                model="m",
                messages=[Message("user", "é"), Message("user", tokens=[1, 2])],
                metadata={"k": 1},
                extra={"z": None},
            )
            await vault.store(stored)
            assert (
                await vault.read_file(vault.find_conversation("x").ino)
                == (
                    '{\n  "id": "x",\n  "model": "m",\n  "messages": [\n'
                    '    {"role": "user", "content": "é"},\n'
                    '    {"role": "user", "tokens": [1, 2]}\n'
                    '  ],\n  "metadata": {"k": 1},\n  "z": null\n}\n'
                ).encode()
            )

    run_under("asyncio", main)


# Scenarios of shared/seeds/000 that do not train: token arrays in, the same arrays out


def drift_system(seed: int, length: int) -> list[int]:
    """A shared run of ids with three of its own, as the seed's make_drift_system."""
    tokens = list(range(length))
    for at, position in enumerate((seed % length, seed * 7 % length, seed * 13 % length)):
        tokens[position] = 90_000 + (seed * 17 + at * 11) % 5_000
    return tokens


def drift_conversation(name: str, system: list[int], user: list[int]) -> Conversation:
    return Conversation(
        id=name, application="substring-test", model="gpt-4", tokenizer="cl100k_base",
        messages=[Message("system", tokens=system), Message("user", tokens=user)],
    )  # fmt: skip


async def assert_tokens(vault: Vault, name: str, system: list[int], user: list[int]) -> None:
    found = await vault.retrieve(name)
    assert found == drift_conversation(name, system, user)
    types = [segment.segment_type for segment in found.segments]
    assert types == [SegmentType.SYSTEM_PROMPT, SegmentType.USER_TURN]
    assert [segment.tokens.tolist() for segment in found.segments] == [system, user]


def test_seed_round_trip_without_training(run: Run) -> None:
    async def main(vault: Vault) -> None:
        await vault.store(drift_conversation("only", list(range(200)), [1, 2, 3]))
        await assert_tokens(vault, "only", list(range(200)), [1, 2, 3])
        assert set((await vault.stats()).frames) == {"0x01", "0x02"}

    run(main)


def test_seed_drift_corpus(run: Run) -> None:
    async def main(vault: Vault) -> None:
        for n in range(30):
            await vault.store(drift_conversation(f"seed-{n}", drift_system(n, 200), [1000 + n]))
        for n in range(30):
            await assert_tokens(vault, f"seed-{n}", drift_system(n, 200), [1000 + n])
        await vault.store(drift_conversation("rt", drift_system(42, 250), [9_999_001, 9_999_002]))
        await assert_tokens(vault, "rt", drift_system(42, 250), [9_999_001, 9_999_002])

    run(main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_seed_persistence_across_reopen(tmp_path: Path, backend: str) -> None:
    async def first() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            for n in range(10):
                await vault.store(drift_conversation(f"s{n}", drift_system(n, 250), [5000 + n]))

    async def second() -> None:
        async with Vault.open(tmp_path / "v") as vault:
            for n in range(10):
                await assert_tokens(vault, f"s{n}", drift_system(n, 250), [5000 + n])
            again = await vault.store(drift_conversation("same", drift_system(3, 250), [5003]))
            assert again.deduplicated_segments == again.segments

    run_under(backend, first)
    run_under(backend, second)
