"""What becomes of conversations, message by message. A token is a word here."""

import base64
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from stowkenfs.context.addresses import SpoolName, parse_spool_name
from stowkenfs.context.contents import spooled_content
from stowkenfs.context.fitting import Fitting, fit
from stowkenfs.context.messages import Api, measure
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import Conversation, read_conversation
from stowkenfs.context.writing import write_conversation
from stowkenfs.errors import NotAConversation


def count(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def words(number: int, word: str = "word") -> str:
    return " ".join(f"{word}{at}" for at in range(number))


def fitted(
    value: Any, budget: int, idle: float | None = None, **config: Any
) -> tuple[Any, Fitting]:
    """The fitted document parsed again; a list stands for the lines of a log."""
    is_log = isinstance(value, list) and bool(value) and "message" in value[0]
    document = (
        "".join(f"{json.dumps(line)}\n" for line in value) if is_log else json.dumps(value)
    ).encode()
    conversation = read_conversation(document)
    measure(conversation.dialogue, count)
    found = fit(
        conversation.dialogue,
        ContextConfig(budget, **config),
        count,
        document=5,
        idle_seconds=idle,
    )
    written = write_conversation(conversation, found.state)
    if is_log:
        return [json.loads(line) for line in written.splitlines()], found
    return json.loads(written), found


def whole(value: Any, text: str) -> bytes | None:
    """What the path in ``text`` leads to."""
    found = re.search(r"\.stowken/spool/([0-9a-f.-]+)", text)
    assert found is not None
    name = parse_spool_name(found[1])
    assert name is not None
    return spooled_content(read(value), name)


def read(value: Any) -> Conversation:
    return read_conversation(json.dumps(value).encode())


def chat(*said: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"role": role, "content": content} for role, content in said]


def called(number: int, result: str, arguments: str = "{}") -> list[dict[str, Any]]:
    function = {"name": "look", "arguments": arguments}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c{number}", "content": result},
    ]


# Operations


def test_a_spooled_result_keeps_a_preview_and_a_path_to_the_whole():
    long = words(400)
    messages = [*chat(("user", "go")), *called(1, long), *called(2, "ok"), *chat(("user", "and"))]
    after, found = fitted(messages, 300)
    assert [step.label for step in found.steps] == ["spool"]
    content = after[2]["content"]
    assert content.startswith(long[:400] + "\n[… tool result spooled: ")
    assert f"{len(long)} bytes total" in content
    assert whole(messages, content) == long.encode()
    assert [one for at, one in enumerate(after) if at != 2] == [
        one for at, one in enumerate(messages) if at != 2
    ]


def test_snipped_messages_keep_head_and_tail():
    long = words(1000)
    messages = chat(("user", "task"), ("assistant", long), ("user", "a"), ("assistant", "b"))
    after, found = fitted(messages, 300)
    assert [step.label for step in found.steps] == ["snip"]
    content = after[1]["content"]
    assert content.startswith("word0 word1 ")
    assert content.endswith(" word998 word999")
    assert len(content.split()) < 60
    assert whole(messages, content) == long.encode()


def test_arguments_of_a_call_are_snipped_and_stay_json():
    text = words(1000)
    arguments = json.dumps({"path": "a.txt", "content": text})
    messages = [
        *chat(("user", "x")),
        *called(1, "done", arguments),
        *chat(("user", "y"), ("assistant", "z")),
    ]
    after, found = fitted(messages, 300)
    assert [step.label for step in found.steps] == ["snip"]
    given = json.loads(after[1]["tool_calls"][0]["function"]["arguments"])
    assert given["path"] == "a.txt"
    assert given["content"].startswith("word0 ")
    assert len(given["content"]) < len(text) / 5
    assert whole(messages, given["content"]) == arguments.encode()


def test_the_oldest_messages_go_as_few_as_need_to():
    messages = chat(*[(("user", "assistant")[at % 2], words(50, f"m{at}w")) for at in range(20)])
    after, found = fitted(messages, 600)
    assert [step.label for step in found.steps] == ["collapse"]
    gone = len(messages) - len(after) + 1
    assert after[0] == messages[0], "the opening stays"
    assert after[2:] == messages[1 + gone :]
    assert f"{gone} messages, {gone * 54} tokens, left out" in after[1]["content"]
    assert found.tokens_after > 600 - 54
    content = whole(messages, after[1]["content"])
    assert content is not None
    assert json.loads(content) == messages[1 : 1 + gone]


def test_the_opening_goes_if_it_must():
    messages = chat(
        ("user", words(500)), ("assistant", words(10)), ("user", "a"), ("assistant", "b")
    )
    after, found = fitted(messages, 60, snip_ratio=1.0)
    assert found.fits
    assert found.steps[-1].label == "auto_compact"
    assert after[1:] == messages[2:]


def test_after_a_pause_old_results_become_a_line():
    messages = [*chat(("user", "x")), *called(1, words(300)), *called(2, words(300))]
    messages += chat(("assistant", "done"), ("user", "y"))
    after, found = fitted(messages, 450, idle=400.0)
    assert found.is_cold
    assert [step.label for step in found.steps] == ["time_decay_micro"]
    assert after[2]["content"].startswith("[… tool result, 308 tokens; whole: ")
    assert after[4] == messages[4], "one was enough"


def test_a_log_tells_of_its_pause():
    times = ["2026-01-01T10:00:00Z", "2026-01-01T10:00:05Z", "2026-01-01T11:00:05.5Z"]
    lines = [
        {"type": "user", "timestamp": time, "message": {"role": "user", "content": "x"}}
        for time in times
    ]
    _, found = fitted(lines, 100)
    assert found.idle_seconds == 3600.5
    assert found.is_cold


def test_images_leave_as_bytes():
    data = base64.b64encode(b"\x89PNG harbour").decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
    said = {"role": "user", "content": [{"type": "text", "text": "see"}, image]}
    messages = [*chat(("user", "x")), said, *chat(("assistant", "a boat"), ("user", "y"))]
    after, found = fitted(messages, 300)
    assert [step.label for step in found.steps] == ["spool"]
    blocks = after[1]["content"]
    assert blocks[0] == {"type": "text", "text": "see"}
    assert blocks[1]["type"] == "text"
    assert whole(messages, blocks[1]["text"]) == b"\x89PNG harbour"


def test_thoughts_are_removed_whole():
    think = {"type": "thinking", "thinking": words(200), "signature": "c2ln"}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    answer = {"type": "tool_result", "tool_use_id": "t1", "content": words(200)}
    messages = [
        *chat(("user", "x")),
        {"role": "assistant", "content": [think, use]},
        {"role": "user", "content": [answer]},
        *chat(("assistant", "a"), ("user", "b")),
    ]
    after, found = fitted({"system": "s", "messages": messages}, 120, idle=1000.0)
    assert found.fits
    assert after["messages"][1]["content"] == [use]


# Pins and pairs


def test_pinned_messages_stay_in_the_middle():
    messages = chat(*[(("user", "assistant")[at % 2], words(50, f"m{at}w")) for at in range(20)])
    messages[7]["pinned"] = True
    messages[9]["metadata"] = {"pinned": True}
    after, _ = fitted(messages, 500)
    assert messages[7] in after
    assert messages[9] in after
    notes = [one for one in after if "left out here" in one["content"]]
    assert [one["content"].split()[1] for one in notes][:2] == ["6", "1"]
    after, _ = fitted(messages, 500, pinned=frozenset({4}))
    assert messages[4] in after


def test_a_budget_below_what_is_pinned_does_not_fit():
    _, found = fitted(chat(("system", words(100)), ("user", "x")), 50)
    assert not found.fits
    assert found.tokens_after == 112


def test_parallel_calls_go_with_all_their_answers():
    calls = [
        {"id": f"c{at}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        for at in range(3)
    ]
    answers = [{"role": "tool", "tool_call_id": f"c{at}", "content": words(30)} for at in (2, 0, 1)]
    messages = [
        *chat(("user", "x")),
        {"role": "assistant", "content": None, "tool_calls": calls},
        *answers,
        *chat(("assistant", words(30)), ("user", "y"), ("assistant", "z")),
    ]
    for budget in range(60, 200, 5):
        after, found = fitted(messages, budget, spool_bytes=0)
        if not found.fits:
            continue
        there = [one.get("tool_call_id") for one in after if one["role"] == "tool"]
        assert there in ([], ["c2", "c0", "c1"])
        assert (messages[1] in after) == bool(there)


# Formats


def test_other_fields_of_a_request_stay():
    request = {"model": "gpt-4o", "messages": chat(*[("user", words(40))] * 9), "temperature": 0}
    after, _ = fitted(request, 200)
    assert {**after, "messages": 0} == {**request, "messages": 0}


def test_of_what_is_around_a_list_only_the_way_to_it_stays():
    history = chat(*[("user", words(40))] * 9)
    after, _ = fitted({"reward": 1, "history": history, "trajectory": [words(900)]}, 200)
    assert list(after) == ["history"]
    shared = [{"from": "human", "value": words(40)}, {"from": "gpt", "value": words(40)}] * 5
    after, _ = fitted({"id": "x", "conversations": shared}, 200)
    assert {one["from"] for one in after["conversations"]} == {"human", "gpt"}


def test_a_document_keeps_its_way_of_writing():
    messages = chat(*[("user", words(40) + " é")] * 9)
    for options in ({"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}):
        document = json.dumps({"messages": messages}, **options).encode() + b"\n"
        conversation = read_conversation(document)
        measure(conversation.dialogue, count)
        found = fit(conversation.dialogue, ContextConfig(200), count)
        written = write_conversation(conversation, found.state)
        again = json.dumps(json.loads(written), **options)
        if options.get("ensure_ascii", True) and "indent" not in options:
            again = again.replace("\\u2026", "…").replace("…", "\\u2026")
        assert written.decode() == again + "\n"


def test_lines_of_a_session_follow_each_other():
    lines: list[dict[str, Any]] = []
    for at in range(12):
        role = ("user", "assistant")[at % 2]
        lines.append(
            {
                "parentUuid": f"u{at - 1}" if at else None,
                "uuid": f"u{at}",
                "sessionId": "s",
                "cwd": "/home/ada",
                "type": role,
                "message": {"role": role, "content": words(50)},
            }
        )
    lines.insert(3, {"type": "progress", "uuid": "p", "parentUuid": "u2", "data": {}})
    side = {**lines[2], "uuid": "side", "isSidechain": True}
    lines.insert(4, side)
    after, found = fitted(lines, 250)
    assert found.state.dialogue.left_out == 1
    note = after[1]
    assert (note["type"], note["cwd"], note["sessionId"]) == ("user", "/home/ada", "s")
    for line, before in zip(after[1:], after, strict=False):
        assert line["parentUuid"] == before["uuid"]
    assert after[-1] == lines[-1]
    assert after[-2]["message"] == lines[-2]["message"]
    assert fitted(lines, 250)[0] == after, "also its own ids"


def test_a_placeholder_joins_the_user_where_roles_take_turns():
    messages = chat(*[(("user", "assistant")[at % 2], words(30)) for at in range(12)])
    joined = alone = 0
    for turns in (2, 3):
        after, found = fitted(
            {"system": "s", "messages": messages}, 160, snip_ratio=1.0, preserve_turns=turns
        )
        assert found.fits
        assert found.state.dialogue.api is Api.ANTHROPIC
        said = after["messages"]
        roles = [one["role"] for one in said]
        assert roles == [("user", "assistant")[at % 2] for at in range(len(roles))]
        for one in said:
            if isinstance(one["content"], list):
                joined += 1
                assert {"type": "text", "text": words(30)} in one["content"]
            elif "left out here" in one["content"]:
                alone += 1
    assert (joined, alone) == (1, 1)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"no JSON",
        b"{}",
        b"[]",
        b'"text"',
        b'{"messages": []}',
        b'{"messages": [1]}',
        b'{"messages": [{"content": "no role"}]}',
        b'[{"messages": [{"role": "user", "content": "x"}]}, {"messages": []}]',
        b'{"chosen": "\\n\\nHuman: hi"}\n{"chosen": ""}\n',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"role": 7}\n',
    ],
    ids=repr,
)
def test_what_is_no_conversation_is_refused(document):
    with pytest.raises(NotAConversation):
        read_conversation(document)


# Names


@pytest.mark.parametrize(
    "name", [SpoolName(1, 0, None, "0" * 16), SpoolName(1 << 40, 17, 400, "9f" * 8)]
)
def test_names_come_back(name):
    assert parse_spool_name(str(name)) == name
    assert name.path == f".stowken/spool/{name}"


@pytest.mark.parametrize(
    "text",
    [
        *("", "1-2", "1-2-3", "../x", "01-2-" + "0" * 16, "1-02-" + "0" * 16),
        *("1-2..-" + "0" * 16, "1-2-" + "0" * 15, "1-2-" + "0" * 17, "g-2-" + "0" * 16),
        *("1-2-" + "A" * 16, "1-2-" + "0" * 16 + "\n", "1-9999999999-" + "0" * 16),
    ],
)
def test_what_is_no_name_is_none(text):
    assert parse_spool_name(text) is None


def test_a_name_never_leads_to_something_else():
    messages = chat(("user", "one"), ("assistant", "two"), ("user", "three"))
    conversation = read(messages)
    for name in (
        SpoolName(5, 0, None, "0" * 16),
        SpoolName(5, 3, None, "0" * 16),
        SpoolName(5, 0, 2, "0" * 16),
        SpoolName(5, 2, 2, "0" * 16),
        SpoolName(5, 0, 4, "0" * 16),
    ):
        assert spooled_content(conversation, name) is None
