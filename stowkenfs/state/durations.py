"""Durations as people write them: ``30d``."""

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_WORD = re.compile(r"([1-9][0-9]{0,5})([smhdw])")


def parse_duration(text: str) -> timedelta:
    """``45s``, ``90m``, ``12h``, ``30d`` or ``2w``. Raises ValueError."""
    found = _WORD.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration; write a number and s, m, h, d or w, as 30d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})
