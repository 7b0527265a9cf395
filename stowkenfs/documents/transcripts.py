"""Whole conversations in one string, its paragraphs "Human:" and "Assistant:" (hh-rlhf)."""

import re
from typing import Final

from stowkenfs.ids import SegmentType

_TURN_START: Final = re.compile(r"\n\n(?=(?:Human|Assistant):)")
_TURNS_MAX: Final = 4096
"""A string with more is no conversation, and would become more rows than text."""


def transcript_turns(text: str, type_before: SegmentType) -> list[tuple[SegmentType, str]]:
    """The turns of a transcript, joined equal to ``text``; empty if it is not a transcript.

    Each keeps its empty line and name; text before the first has ``type_before``.
    """
    if "\n\nHuman:" not in text or "\n\nAssistant:" not in text:
        return []
    starts = [found.start() for found in _TURN_START.finditer(text)]
    if len(starts) > _TURNS_MAX:
        return []
    turns = [(type_before, text[: starts[0]])] if starts[0] else []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        human = text.startswith("Human", start + 2)
        turns.append(
            (SegmentType.USER_TURN if human else SegmentType.ASSISTANT_TURN, text[start:end])
        )
    return turns
