"""What chat APIs accept, and what a request takes, said again without the code under test.

From the documentation of the two APIs. A validator returns what is wrong, empty if nothing is.
"""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

Count = Callable[[str], int]


def openai_violations(messages: list[dict[str, Any]]) -> list[str]:
    """Calls are answered by the messages right behind them, and nothing else is an answer."""
    wrong: list[str] = []
    waiting: Counter[str] = Counter()
    for at, message in enumerate(messages):
        role = message.get("role")
        if role in ("tool", "function"):
            one = message.get("tool_call_id")
            if one is None:
                one = (message.get("tool_call_ids") or [None])[0]
            if one is None and waiting:
                one = next(iter(waiting))
            if not waiting[one]:
                wrong.append(f"an answer to no open call at {at}")
            else:
                waiting[one] -= 1
                waiting += Counter()
            continue
        if waiting:
            wrong.append(f"calls without an answer before {at}")
            waiting = Counter()
        for number, call in enumerate(message.get("tool_calls") or ()):
            waiting[call.get("id") or f"{at}.{number}"] += 1
        if message.get("function_call"):
            waiting["function"] += 1
        if role not in ("system", "developer", "user", "assistant", "human", "gpt", "client") and (
            role not in ("counselor", "chatgpt", "bing", "bard")
        ):
            wrong.append(f"role {role!r} at {at}")
        said = ("content", "tool_calls", "function_call", "reasoning_content")
        if all(message.get(field) in (None, []) for field in said):
            wrong.append(f"nothing said at {at}")
    if waiting:
        wrong.append("calls without an answer at the end")
    return [one.partition(" at ")[0].partition(" before ")[0] for one in wrong]


def anthropic_violations(messages: list[dict[str, Any]]) -> list[str]:
    """The user begins, roles take turns, each tool_use has its tool_result in the next message."""
    wrong: list[str] = []
    called: list[str] = []
    role_before = None
    for message in messages:
        role = message["role"]
        if role_before is None and role != "user":
            wrong.append("the user does not begin")
        if role == role_before:
            wrong.append("roles do not take turns")
        role_before = role
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if not blocks:
            wrong.append("nothing said")
        answered = [block["tool_use_id"] for block in blocks if block.get("type") == "tool_result"]
        if sorted(answered) != sorted(called):
            wrong.append("calls and answers differ")
        kinds = [block.get("type") for block in blocks]
        if "tool_result" in kinds and kinds.index("tool_result") != 0:
            wrong.append("an answer is not the first block")
        called = [block["id"] for block in blocks if block.get("type") == "tool_use"]
        if called and role != "assistant":
            wrong.append("the user calls")
    if called:
        wrong.append("calls without an answer")
    return wrong


def request_of_session(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages that a session log becomes when it goes on: neighbours of a role are one."""
    messages: list[dict[str, Any]] = []
    for line in lines:
        inner = line.get("message", {})
        if line.get("type") not in ("user", "assistant") or line.get("isSidechain"):
            continue
        content = inner["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if messages and messages[-1]["role"] == inner["role"]:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": inner["role"], "content": list(blocks)})
    for message in messages:  # answers come first, whatever else was said meanwhile
        message["content"].sort(key=lambda block: block.get("type") != "tool_result")
    return messages


def session_violations(lines: list[dict[str, Any]]) -> list[str]:
    """As of the request that it becomes, and each line names one before it."""
    wrong = anthropic_violations(request_of_session(lines))
    told = set()
    for line in lines:
        parent = line.get("parentUuid")
        if parent is not None and parent not in told:
            wrong.append("a line follows none")
        told.add(line.get("uuid"))
    return wrong


# Tokens: docs/CONTEXT.md, "What is counted"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def tokens_of_request(request: dict[str, Any], count: Count) -> int:
    """Of a whole request: its messages, its system prompt, what it defines."""
    total = 3
    system = request.get("system")
    for one in [system] if isinstance(system, str) else system or []:
        total += count(
            one if isinstance(one, str) else one["text"] if "text" in one else _compact(one)
        )
    for name in ("tools", "functions", "response_format"):
        if request.get(name):
            total += count(_compact(request[name]))
    return total + sum(tokens_of_message(message, count) for message in request["messages"])


def tokens_of_message(message: dict[str, Any], count: Count) -> int:
    """Of one message: 4 and its texts; 8 for each call and each answer; 1,600 for an image."""
    is_answer = message.get("role") in ("tool", "function", "observation", "ipython")
    content = message.get("content", message.get("value"))
    total = 4
    if isinstance(content, str):
        total += count(content) + (8 if is_answer else 0)
    elif is_answer:
        total += _answer(content, count)
    else:
        total += sum(_block(block, count) for block in content or ())
    for name in ("name", "reasoning_content", "reasoning", "refusal"):
        if isinstance(message.get(name), str):
            total += count(message[name])
    for call in message.get("tool_calls") or ():
        asked = call.get("function") or call.get("custom")
        if not isinstance(asked, dict):  # a log's own way
            total += 8 + count(_compact(call))
            continue
        given = asked.get("arguments", asked.get("input"))
        total += 8 + count(asked.get("name") or "")
        total += count(given if isinstance(given, str) else _compact(given))
    legacy = message.get("function_call")
    if legacy:
        given = legacy.get("arguments")
        total += 8 + count(legacy.get("name") or "")
        total += count(given if isinstance(given, str) else _compact(given))
    return total


def _answer(content: Any, count: Count) -> int:
    if isinstance(content, str) or not content:
        return 8 + count(content or "")
    return 8 + sum(_block(one, count) for one in content)


def _block(block: Any, count: Count) -> int:
    if isinstance(block, str):
        return count(block)
    kind = block.get("type")
    if kind in ("text", "input_text", "output_text"):
        return count(block["text"])
    if kind == "thinking":
        return count(block["thinking"])
    if kind == "redacted_thinking":
        return count(block["data"])
    if kind == "tool_use":
        return 8 + count(block["name"]) + count(_compact(block["input"]))
    if kind == "tool_result":
        return _answer(block.get("content"), count)
    if kind in ("image", "image_url"):
        return 1600
    return count(_compact(block))
