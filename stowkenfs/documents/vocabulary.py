"""The names that conversations go by: roles, block types, and fields, with what they hold.

Collected from the APIs of OpenAI, Anthropic, Google, Cohere, Mistral, Amazon Bedrock and
Ollama, and from the data sets named in the tests.
"""

from typing import Final

from stowkenfs.ids import SegmentType

ROLES: Final[dict[str, SegmentType]] = {
    **dict.fromkeys(("system", "developer"), SegmentType.SYSTEM_PROMPT),
    **dict.fromkeys(("user", "human", "client", "prompter"), SegmentType.USER_TURN),
    **dict.fromkeys(
        ("assistant", "gpt", "model", "ai", "chatbot", "bot", "counselor", "chatgpt"),
        SegmentType.ASSISTANT_TURN,
    ),
    **dict.fromkeys(
        ("tool", "function", "observation", "ipython", "tool_response"), SegmentType.TOOL_RESULT
    ),
    **dict.fromkeys(("function_call", "tool_call"), SegmentType.TOOL_CALL),
}
"""By the lower-case role of a message."""

TURN_FIELDS: Final[dict[str, tuple[SegmentType, str]]] = {
    **dict.fromkeys(
        (
            "system",
            "instructions",
            "system_instruction",
            "systemInstruction",
            "system_prompt",
            "preamble",
            "preamble_override",
        ),
        (SegmentType.SYSTEM_PROMPT, "system"),
    ),
    **dict.fromkeys(
        (
            "prompt",
            "instruction",
            "input",
            "inputText",
            "question",
            "query",
            "contents",
        ),
        (SegmentType.USER_TURN, "user"),
    ),
    **dict.fromkeys(
        (
            "completion",
            "response",
            "output",
            "output_text",
            "outputText",
            "generation",
            "generated_text",
            "answer",
            "chosen",
            "rejected",
            "candidates",
        ),
        (SegmentType.ASSISTANT_TURN, "assistant"),
    ),
    "action": (SegmentType.TOOL_CALL, "assistant"),
    "observation": (SegmentType.TOOL_RESULT, "tool"),
    "tool_results": (SegmentType.TOOL_RESULT, "tool"),
    **dict.fromkeys(
        ("thought", "thinking", "reasoning", "reasoning_content"),
        (SegmentType.THINKING, "assistant"),
    ),
}
"""Fields of objects that are no messages: what a text in them is, and the role it has."""

CONTENT_FIELDS: Final = frozenset({"content", "value", "message", "text", "parts", "refusal"})
"""Fields of a message or a block that hold what its role says."""

THINKING_FIELDS: Final = frozenset({"reasoning_content", "reasoning", "thinking", "thought"})
CALL_FIELDS: Final = frozenset({"tool_calls", "function_call", "tool_call", "toolCalls"})
CALL_BLOCK_FIELDS: Final = frozenset({"functionCall", "function_call", "toolUse"})
RESULT_BLOCK_FIELDS: Final = frozenset({"functionResponse", "function_response", "toolResult"})
ARGUMENT_FIELDS: Final = frozenset(
    {"arguments", "args", "input", "parameters", "action", "code", "partial_json", "delta"}
)
TOKEN_FIELDS: Final = frozenset({"tokens", "token_ids", "input_ids"})

UNSPOKEN_FIELDS: Final = frozenset(
    {
        "tools",
        "functions",
        "input_schema",
        "inputSchema",
        "parameters",
        "response_format",
        "schema",
        "toolConfig",
        "tool_config",
        "usage",
        "logprobs",
        "embedding",
        "error",
    }
)
"""Fields with schemas and measurements, in which a name like "prompt" means something else."""

THINKING_BLOCKS: Final = frozenset(
    {"thinking", "redacted_thinking", "reasoning", "thinking_delta", "summary_text"}
)
CALL_BLOCK_ENDS: Final = ("tool_use", "_call", "arguments.delta", "input_json_delta")
RESULT_BLOCK_ENDS: Final = ("tool_result", "call_output")
KNOWN_BLOCK_ENDS: Final = CALL_BLOCK_ENDS + RESULT_BLOCK_ENDS
TEXT_BLOCKS: Final = frozenset(
    {"text", "input_text", "output_text", "refusal", "text_delta", "reasoning_text"}
)
