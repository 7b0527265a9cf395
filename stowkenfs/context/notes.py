"""What stands in a conversation for what has left it: one line each, with the path to the whole."""

from stowkenfs.context.messages import Part, PartKind

_WHAT = {
    PartKind.RESULT: "tool result",
    PartKind.MEDIA: "image or file",
    PartKind.CALL: "arguments of a call",
}


def range_note(messages: int, tokens: int, path: str) -> str:
    """For a range of messages."""
    plural = "message" if messages == 1 else "messages"
    return f"[… {messages} {plural}, {tokens} tokens, left out here; whole: {path}]"


def line_note(part: Part, path: str) -> str:
    """For a part of which nothing is kept."""
    what = _WHAT.get(part.kind, "text")
    return f"[… {what}, {part.tokens} tokens; whole: {path}]"


def snipped(text: str, keep: int, path: str) -> str:
    """Head and tail of ``text``, together ``keep`` characters, two thirds of them head."""
    head = -(-keep * 2 // 3)
    tail = keep - head
    return f"{text[:head]}\n[… {len(text) - keep} characters left out; whole: {path} …]\n" + (
        text[-tail:] if tail else ""
    )
