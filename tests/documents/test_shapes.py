"""One small example of each shape that is recognized, as its API or data set writes it."""

import json
from typing import Any

import pytest

from stowkenfs.documents.shapes import (
    Turn,
    conversation_ids,
    parse,
    payload_types,
    tokenizer_hint,
    turns,
)
from stowkenfs.ids import SegmentType

S, U, A = SegmentType.SYSTEM_PROMPT, SegmentType.USER_TURN, SegmentType.ASSISTANT_TURN
C, R, T = SegmentType.TOOL_CALL, SegmentType.TOOL_RESULT, SegmentType.THINKING
O = SegmentType.OTHER  # noqa: E741 - as the other letters

EXAMPLES: dict[str, tuple[Any, list[tuple[SegmentType, str]]]] = {
    "openai request": (
        {
            "model": "gpt-4o",
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "They greet.",
                    "tool_calls": [
                        {"id": "c1", "function": {"name": "look", "arguments": '{"x": 1}'}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "42"},
                {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            ],
            "tools": [{"function": {"name": "f", "parameters": {"prompt": "not a turn"}}}],
        },
        [
            (S, "Be brief."),
            (U, "Hi"),
            (T, "They greet."),
            (C, '{"x": 1}'),
            (R, "42"),
            (C, "{}"),
            (A, "No."),
        ],
    ),
    "openai response": (
        {
            "choices": [
                {"message": {"role": "assistant", "content": "Hello", "refusal": None}},
                {"text": "a completion"},
                {"delta": {"content": "a piece"}},
            ]
        },
        [(A, "Hello"), (A, "a completion"), (A, "a piece")],
    ),
    "batch request": (
        {"custom_id": "r1", "body": {"messages": [{"role": "user", "content": "Hi"}]}},
        [(U, "Hi")],
    ),
    "batch response": (
        {"response": {"body": {"choices": [{"message": {"content": "Ho"}}]}}},
        [(A, "Ho")],
    ),
    "responses request": (
        {
            "instructions": "Be kind.",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Sum"}]},
                {"type": "function_call", "name": "add", "arguments": "[1,2]"},
                {"type": "function_call_output", "call_id": "c", "output": "3"},
            ],
        },
        [(S, "Be kind."), (U, "Sum"), (C, "[1,2]"), (R, "3")],
    ),
    "responses request in a string": ({"input": "Sum these"}, [(U, "Sum these")]),
    "responses response": (
        {
            "output": [
                {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Think"}]},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "3", "annotations": []}],
                },
            ]
        },
        [(T, "Think"), (A, "3")],
    ),
    "anthropic request": (
        {
            "system": [{"type": "text", "text": "You are terse."}],
            "messages": [
                {"role": "user", "content": "List files"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "Use ls", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "cmVk"},
                        {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": "a.txt"},
                        {"type": "tool_result", "content": [{"type": "text", "text": "b.txt"}]},
                        {"type": "text", "text": "Thanks"},
                    ],
                },
            ],
        },
        [
            (S, "You are terse."),
            (U, "List files"),
            (T, "Use ls"),
            (T, "cmVk"),
            (C, "ls"),
            (R, "a.txt"),
            (R, "b.txt"),
            (U, "Thanks"),
        ],
    ),
    "anthropic system in a string": ({"system": "Be terse."}, [(S, "Be terse.")]),
    "anthropic text completion": (
        {"prompt": "\n\nHuman: Hi\n\nAssistant:", "completion": " Hello"},
        [(U, "\n\nHuman: Hi"), (A, "\n\nAssistant:"), (A, " Hello")],
    ),
    "coding agent line": (
        {
            "type": "user",
            "uuid": "u",
            "message": {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}],
            },
            "toolUseResult": {"stdout": "done and more", "interrupted": False},
        },
        [(R, "done"), (R, "done and more")],
    ),
    "codex session line": (
        {
            "type": "response_item",
            "payload": {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Patched"}],
            },
        },
        [(A, "Patched")],
    ),
    "sharegpt": (
        {
            "id": "abc_1",
            "conversations": [
                {"from": "system", "value": "Rules"},
                {"from": "human", "value": "Hi"},
                {"from": "gpt", "value": "Hello"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "seen"},
                {"from": "narrator", "value": "meanwhile"},
            ],
        },
        [(S, "Rules"), (U, "Hi"), (A, "Hello"), (C, "{}"), (R, "seen"), (O, "meanwhile")],
    ),
    "preference transcripts": (
        {"chosen": "\n\nHuman: a\n\nAssistant: b", "rejected": "plain"},
        [(U, "\n\nHuman: a"), (A, "\n\nAssistant: b"), (A, "plain")],
    ),
    "preference messages": (
        {
            "prompt": "Which?",
            "chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}],
            "rejected": [{"role": "assistant", "content": "bad"}],
        },
        [(U, "Which?"), (U, "q"), (A, "good"), (A, "bad")],
    ),
    "swe-agent trajectory": (
        {
            "environment": "swe_main",
            "trajectory": [
                {
                    "action": "ls",
                    "observation": "setup.py",
                    "response": "I look.\nls",
                    "state": "{}",
                    "thought": "I look.",
                    "query": [{"role": "system", "content": "SETTING"}],
                }
            ],
            "history": [
                {"role": "system", "content": "SETTING"},
                {"role": "assistant", "content": "ls", "thought": "I look", "action": "ls"},
            ],
        },
        [
            (C, "ls"),
            (R, "setup.py"),
            (A, "I look.\nls"),
            (T, "I look."),
            (S, "SETTING"),
            (S, "SETTING"),
            (A, "ls"),
            (T, "I look"),
            (C, "ls"),
        ],
    ),
    "gemini request": (
        {
            "systemInstruction": {"parts": [{"text": "Be nice."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Weather?"}]},
                {
                    "role": "model",
                    "parts": [
                        {"text": "Hm", "thought": True},
                        {"functionCall": {"name": "get", "args": {"city": "Ulm"}}},
                    ],
                },
                {
                    "role": "user",
                    "parts": [{"functionResponse": {"name": "get", "response": {"sky": "blue"}}}],
                },
            ],
        },
        [(S, "Be nice."), (U, "Weather?"), (T, "Hm"), (C, "Ulm"), (R, "blue")],
    ),
    "gemini response": (
        {"candidates": [{"content": {"role": "model", "parts": [{"text": "Sunny"}]}}]},
        [(A, "Sunny")],
    ),
    "alpaca": (
        [{"instruction": "Translate", "input": "chat", "output": "cat"}],
        [(U, "Translate"), (U, "chat"), (A, "cat")],
    ),
    "gpteacher": (
        {"instruction": "Rhyme", "input": "", "response": "Time"},
        [(U, "Rhyme"), (U, ""), (A, "Time")],
    ),
    "tau-bench": (
        {"task_id": 0, "traj": [{"role": "user", "content": "Fly"}], "trial": 0},
        [(U, "Fly")],
    ),
    "auto-code-rover": (
        [[{"role": "system", "content": "You help"}, {"role": "user", "content": "Fix"}]],
        [(S, "You help"), (U, "Fix")],
    ),
    "smile": (
        [{"role": "client", "content": "q"}, {"role": "counselor", "content": "a"}],
        [(U, "q"), (A, "a")],
    ),
    "bedrock converse": (
        {
            "system": [{"text": "Be just."}],
            "messages": [
                {"role": "user", "content": [{"text": "Hi"}]},
                {
                    "role": "assistant",
                    "content": [
                        {"reasoningContent": {"reasoningText": {"text": "Hm"}}},
                        {"toolUse": {"name": "t", "input": {"q": "x"}}},
                    ],
                },
                {
                    "role": "user",
                    "content": [{"toolResult": {"content": [{"text": "y"}, {"json": {"z": "w"}}]}}],
                },
            ],
        },
        [(S, "Be just."), (U, "Hi"), (T, "Hm"), (C, "x"), (R, "y"), (R, "w")],
    ),
    "bedrock converse response": (
        {"output": {"message": {"role": "assistant", "content": [{"text": "Ho"}]}}},
        [(A, "Ho")],
    ),
    "bedrock titan": (
        {"inputText": "Say", "results": [{"outputText": "Said"}]},
        [(U, "Say"), (A, "Said")],
    ),
    "ollama": (
        {"model": "llama3", "message": {"role": "assistant", "content": "Ho"}, "done": True},
        [(A, "Ho")],
    ),
    "cohere request": (
        {
            "model": "command-r",
            "message": "And now?",
            "chat_history": [
                {"role": "USER", "message": "Hi"},
                {"role": "CHATBOT", "message": "Hello"},
            ],
            "preamble": "Be calm.",
        },
        [(U, "And now?"), (U, "Hi"), (A, "Hello"), (S, "Be calm.")],
    ),
    "cohere response": (
        {"text": "Hello", "generation_id": "g", "finish_reason": "COMPLETE"},
        [(A, "Hello")],
    ),
    "token ids": (
        {"messages": [{"role": "user", "tokens": [1, 2]}], "tokens": [3]},
        [],
    ),
    "nothing known": ({"a": {"b": ["text", {"c": "more text"}]}}, []),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_turns_of_each_shape(name: str) -> None:
    value, expected = EXAMPLES[name]
    found = [(turn.type, turn.text) for turn in turns(value) if turn.text is not None]
    assert found == expected


def test_tool_names_and_token_ids_are_kept() -> None:
    request, _ = EXAMPLES["openai request"]
    assert [turn.name for turn in turns(request) if turn.type is C] == ["look", "f"]
    assert turns(EXAMPLES["token ids"][0]) == [
        Turn(U, "user", None, (1, 2), None),
        Turn(O, "", None, (3,), None),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('data: {"choices":[{"delta":{"content":"Hello"}}]}\n', (A, "Hello")),
        (
            'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"Hello"}}',
            (A, "Hello"),
        ),
        (
            'data: {"delta":{"type":"thinking_delta","thinking":"Hm"}}',
            (T, "Hm"),
        ),
        (
            'data: {"delta":{"type":"input_json_delta","partial_json":"{"}}',
            (C, "{"),
        ),
        ('data: {"type":"response.output_text.delta","delta":"Hello"}', (A, "Hello")),
        ('data: {"type":"response.function_call_arguments.delta","delta":"{"}', (C, "{")),
        (
            'data: {"type":"content-delta","delta":{"message":{"content":{"text":"Hello"}}}}',
            (A, "Hello"),
        ),
        ('data: {"event_type":"text-generation","text":"Hello"}', (A, "Hello")),
    ],
)
def test_streams(line: str, expected: tuple[SegmentType, str]) -> None:
    assert [(turn.type, turn.text) for turn in turns(parse(line))] == [expected]


def test_types_of_texts() -> None:
    long = "This text is long enough to be a payload, whatever it is in."
    value = [{"role": "user", "content": long}, {"role": "tool", "content": long}, {"x": long * 2}]
    assert payload_types(json.dumps(value)) == {long: U}
    assert payload_types(value) == {long: U}
    assert payload_types({"role": "user", "tokens": [1, 2]}) == {"1,2": U}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("not JSON", []),
        ('{"role":"user","content":"cut o', []),
        ('[{"role":"user","content":"first"}, {"role":"user","con', ["first"]),
        ('{"role":"user","content":"one"} {"role":"user","content":"two"}', ["one", "two"]),
        ('\ufeff{"role":"user","content":"after a mark"}', ["after a mark"]),
        (',\n{"role":"user","content":"middle"},\n{"role"', ["middle"]),
        ('{"role":"user","content":"x","n":' + "9" * 10_000 + "}", []),
        ("[" * 100_000, []),
    ],
)
def test_what_does_not_parse_whole(text: str, found: list[str]) -> None:
    assert [turn.text for turn in turns(parse(text))] == found


def test_conversation_ids() -> None:
    value = {"instance_id": "i", "id": "x", "session_id": 7, "request_id": "x", "uuid": "u"}
    assert conversation_ids(value) == ["x", "i"]
    assert conversation_ids([value]) == []


def test_tokenizer_hint() -> None:
    assert tokenizer_hint({"model": "gpt-4o"}) == (None, "gpt-4o")
    assert tokenizer_hint({"body": {"model": "m"}, "tokenizer": "o200k_base"}) == (
        "o200k_base",
        "m",
    )
    assert tokenizer_hint([{"message": {"model": "claude"}}, {"model": "x"}]) == (None, "claude")
    assert tokenizer_hint({"model": ["x"], "a": {"b": {"model": "deep"}}}) == (None, None)
