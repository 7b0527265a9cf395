"""Random conversations, valid for their APIs."""

import json
from typing import Any

from hypothesis import strategies as st

TEXT = (
    "the tide runs out at seven and boats wait in the harbour while Ada counts crates "
    'def main ( ) : return 0 潮汐 🚢 naïve \n\n   {"a": 1}'
)
WORDS = TEXT.split(" ")


@st.composite
def texts(draw: st.DrawFn, words_max: int = 120) -> str:
    """Text of up to so many words, mostly short."""
    size = draw(st.sampled_from([1, 3, 10, 40, words_max // 4, words_max]))
    start = draw(st.integers(0, len(WORDS) - 1))
    step = draw(st.sampled_from([1, 3, 5, 7]))
    return " ".join(WORDS[(start + step * at) % len(WORDS)] for at in range(size))


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, Any]]:
    """What happens: ``user`` text, ``say`` text, ``call`` of some tools and their answers."""
    found: list[tuple[str, Any]] = [("user", draw(texts()))]
    for _ in range(draw(st.integers(0, 9))):
        kind = draw(st.sampled_from(["chat", "call", "call", "think"]))
        if kind == "chat":
            found += [("say", draw(texts())), ("user", draw(texts()))]
        else:
            calls = [(draw(texts(80)), draw(texts(300))) for _ in range(draw(st.integers(1, 3)))]
            found.append(("think" if kind == "think" else "call", (draw(texts(100)), calls)))
    if draw(st.booleans()) or found[-1][0] != "user":
        found.append(("say", draw(texts())))
    return found


@st.composite
def openai_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request to OpenAI's chat API, parallel calls and images among it."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(texts())})
    number = 0
    for kind, said in draw(steps()):
        if kind in ("user", "say"):
            content: Any = said
            if kind == "user" and draw(st.integers(0, 9)) == 0:
                url = {"url": "data:image/png;base64,aGFyYm91cg=="}
                content = [{"type": "text", "text": said}, {"type": "image_url", "image_url": url}]
            messages.append({"role": "user" if kind == "user" else "assistant", "content": content})
            continue
        text, calls = said
        ids = [f"call_{number + at}" for at in range(len(calls))]
        number += len(calls)
        asked = [
            {
                "id": one,
                "type": "function",
                "function": {"name": "look", "arguments": json.dumps({"at": arguments})},
            }
            for one, (arguments, _) in zip(ids, calls, strict=True)
        ]
        message = {"role": "assistant", "content": text or None, "tool_calls": asked}
        if kind == "think":
            message["reasoning_content"] = text
        messages.append(message)
        for one, (_, answer) in zip(ids, calls, strict=True):
            messages.append({"role": "tool", "tool_call_id": one, "content": answer})
    mark(draw, messages)
    request: dict[str, Any] = {"model": "gpt-4o", "messages": messages, "temperature": 0.5}
    if draw(st.booleans()):
        parameters = {"type": "object", "properties": {"at": {"type": "string"}}}
        function = {"name": "look", "description": draw(texts(40)), "parameters": parameters}
        request["tools"] = [{"type": "function", "function": function}]
    return request


def mark(draw: st.DrawFn, messages: list[dict[str, Any]]) -> None:
    """Mark a message now and then, so that it may not leave."""
    if draw(st.integers(0, 2)) == 0:
        messages[draw(st.integers(0, len(messages) - 1))]["pinned"] = True


@st.composite
def anthropic_messages(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Messages for Anthropic's API; roles take turns."""
    messages: list[dict[str, Any]] = []
    number = 0

    def add(role: str, blocks: list[dict[str, Any]]) -> None:
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        else:
            messages.append({"role": role, "content": blocks})

    for kind, said in draw(steps()):
        if kind in ("user", "say"):
            add(
                "user" if kind == "user" else "assistant",
                [{"type": "text", "text": said}],
            )
            continue
        text, calls = said
        blocks: list[dict[str, Any]] = []
        if kind == "think":
            blocks.append({"type": "thinking", "thinking": text, "signature": "c2ln"})
        else:
            blocks.append({"type": "text", "text": text})
        results = []
        for arguments, answer in calls:
            one = f"toolu_{number}"
            number += 1
            blocks.append(
                {"type": "tool_use", "id": one, "name": "look", "input": {"at": arguments}}
            )
            content: Any = answer
            if draw(st.integers(0, 3)) == 0:
                content = [{"type": "text", "text": answer}]
                if draw(st.booleans()):
                    source = {"type": "base64", "media_type": "image/png", "data": "aGFyYm91cg=="}
                    content.append({"type": "image", "source": source})
            results.append({"type": "tool_result", "tool_use_id": one, "content": content})
        add("assistant", blocks)
        add("user", results)
    for message in messages:
        first = message["content"][0]
        if len(message["content"]) == 1 and first["type"] == "text" and draw(st.booleans()):
            message["content"] = first["text"]
    return messages


@st.composite
def anthropic_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request to Anthropic's API."""
    messages = draw(anthropic_messages())
    mark(draw, messages)
    system: Any = draw(texts())
    if draw(st.booleans()):
        system = [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
    return {"model": "claude-x", "max_tokens": 9, "system": system, "messages": messages}


@st.composite
def sessions(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Lines of a session log: one block each, and lines that nobody says."""
    lines: list[dict[str, Any]] = []
    seconds = 0

    def add(fields: dict[str, Any]) -> None:
        nonlocal seconds
        seconds += draw(st.sampled_from([1, 1, 1, 900]))
        clock = f"2026-01-01T{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"
        parent = lines[-1]["uuid"] if lines else None
        own = f"00000000-0000-4000-8000-{len(lines):012}"
        lines.append(
            {"parentUuid": parent, "isSidechain": False, "sessionId": "s", "uuid": own}
            | {"timestamp": clock}
            | fields
        )

    for message in draw(anthropic_messages()):
        blocks = message["content"]
        pieces = [blocks] if isinstance(blocks, str) else [[block] for block in blocks]
        for piece in pieces:
            fields = {"type": message["role"], "message": {**message, "content": piece}}
            if isinstance(piece, list) and piece[0]["type"] == "tool_result":
                fields["toolUseResult"] = {"stdout": piece[0]["content"]}
            add(fields)
            if draw(st.integers(0, 5)) == 0:
                add({"type": "progress", "data": {"text": draw(texts(20))}})
    return lines
