"""What is one value although it has an inside: arrays of token ids, and definitions of tools.

Every request of a conversation says its tools again, most of them alike, and what has its
own segment is stored once. Works on any bytes; what it finds is only ever better or worse
for deduplication.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from stowkenfs.documents.occurring import occurring

# Chosen from what a document can call an array of ids; the keys that OpenAI, Hugging Face
# and vLLM use.
_TOKEN_KEYS: Final = (b"tokens", b"token_ids", b"input_ids")
_INTEGER: Final = rb"(?:0|[1-9][0-9]{0,9}+)"
_TOKEN_ARRAY: Final = re.compile(
    rb"""
    "(?:%s)" [ \t\r\n]*+ : [ \t\r\n]*+ \[ [ \t\r\n]*+
    ( %s ([ \t\r\n]*+,[ \t\r\n]*+) %s (?: \2 %s )*+ )
    (?= [ \t\r\n]*+ \] )
    """
    % (b"|".join(_TOKEN_KEYS), _INTEGER, _INTEGER, _INTEGER),
    re.VERBOSE,
)
_TOKEN_ARRAY_BYTES_MIN: Final = 48

# OpenAI and Anthropic, OpenAI before 2024, the Berkeley leaderboard, Gemini.
_TOOL_KEYS: Final = (
    b"tools",
    b"functions",
    b"function",
    b"functionDeclarations",
    b"function_declarations",
)
_TOOL_ARRAY: Final = re.compile(
    rb'"(?:%s)"[ \t\r\n]*+:[ \t\r\n]*+\[[ \t\r\n]*+(?=\{)' % b"|".join(_TOOL_KEYS)
)
# How all of _TOKEN_KEYS begin, and all of _TOOL_KEYS.
_STARTS: Final = (b'"token', b'"input_ids"', b'"tools"', b'"function')
_BRACKET: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|([\[{])|([\]}])', re.DOTALL)
_NEXT_TOOL: Final = re.compile(rb"[ \t\r\n]*+,[ \t\r\n]*+(?=\{)")
TOOL_BYTES_MIN: Final = 100
TOOL_BYTES_MAX: Final = 64 << 10
"""An object of another length is lexed like any other."""
_ENDLESS_MAX: Final = 4
"""Objects that do not end in time, after which no more are looked at: time stays linear."""


class Whole(NamedTuple):
    """Bytes ``start`` to ``end`` of a content; ``separator`` is that of an array of ids."""

    start: int
    end: int
    separator: bytes | None


def find_wholes(content: bytes) -> list[Whole]:
    """All of them in order; none overlaps another."""
    found: list[Whole] = []
    occur = occurring(content, _STARTS)
    if occur & 0b0011:
        found += _arrays_of_ids(content)
    if occur & 0b1100:
        found += _tools(content)
    found.sort()
    end = 0
    apart = []
    for whole in found:
        if whole.start >= end:
            apart.append(whole)
            end = whole.end
    return apart


def _arrays_of_ids(content: bytes) -> Iterator[Whole]:
    for found in _TOKEN_ARRAY.finditer(content):
        ids, separator = found.group(1, 2)
        if len(ids) >= _TOKEN_ARRAY_BYTES_MIN and _all_uint32(ids, separator):
            yield Whole(found.start(1), found.end(1), separator)


def _all_uint32(ids: bytes, separator: bytes) -> bool:
    # Ten digits may exceed 2**32-1; fewer cannot.
    return all(len(one) < 10 or int(one) < 1 << 32 for one in ids.split(separator))


def _tools(content: bytes) -> Iterator[Whole]:
    at = endless = 0
    while endless < _ENDLESS_MAX and (array := _TOOL_ARRAY.search(content, at)) is not None:
        at = array.end()
        while True:
            end = _end_of_object(content, at)
            if end is None:
                endless += 1
                break
            if end - at >= TOOL_BYTES_MIN:
                yield Whole(at, end, None)
            following = _NEXT_TOOL.match(content, end)
            if following is None:
                at = end
                break
            at = following.end()


def _end_of_object(content: bytes, start: int) -> int | None:
    """Where the object that begins at ``start`` ends; None if it is longer than TOOL_BYTES_MAX."""
    depth = 0
    for found in _BRACKET.finditer(content, start, start + TOOL_BYTES_MAX):
        if found[1] is not None:
            depth += 1
        elif found[2] is not None:
            depth -= 1
            if not depth:
                return found.end()
    return None
