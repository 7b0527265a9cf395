"""JSON text to values, as much of it as parses; for types only, never for bytes."""

import json
import re
from typing import Any, Final

_BLANK: Final = re.compile(r"[\s,\x1e]*+")
_BEFORE_VALUE: Final = re.compile(r"[^{\[]*+")
_SSE_FIELD: Final = re.compile(r"\ufeff?(?:data|event|id|retry)?:")
_decoder: Final = json.JSONDecoder()


def parse(text: str) -> Any:
    """The value of a JSON text (a byte order mark or an SSE ``data:`` before it is skipped).

    Of a text that is not one JSON value: a list of the values, or of the elements of an
    array, that are whole; empty if none. Never raises.
    """
    field = _SSE_FIELD.match(text)
    start = field.end() if field else (1 if text.startswith("\ufeff") else 0)
    try:
        return json.loads(text[start:] if start else text)
    except (ValueError, RecursionError):
        return _whole_values(text, start)


def _whole_values(text: str, start: int) -> list[Any]:
    match = _BEFORE_VALUE.match(text, start)
    at = match.end() if match else len(text)
    if text.startswith("[", at):
        at += 1
    values: list[Any] = []
    try:
        while at < len(text):
            blank = _BLANK.match(text, at)
            value, at = _decoder.raw_decode(text, blank.end() if blank else at)
            values.append(value)
    except (ValueError, RecursionError):
        pass  # what follows is cut off, or is no JSON
    return values
