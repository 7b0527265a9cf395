"""What the texts of a document are, by the shapes that conversations have."""

from typing import Any, Final

from stowkenfs.documents.conversation import Turn, TurnFinder
from stowkenfs.documents.hints import conversation_ids, tokenizer_hint
from stowkenfs.documents.parsing import parse
from stowkenfs.documents.payloads import token_key
from stowkenfs.ids import SegmentType

__all__ = ["Turn", "conversation_ids", "parse", "payload_types", "tokenizer_hint", "turns"]

_TEXT_CHARACTERS_MIN: Final = 4
"""A payload is written in 48 bytes or more, at most 12 (two escapes) for a character."""


def turns(value: Any) -> list[Turn]:
    """All texts and token arrays of a conversation (parsed JSON) in document order, short ones too.

    The turns of a transcript in one string are listed one by one, as they are stored. Parts
    nested more than 64 levels deep are left out.
    """
    finder = TurnFinder()
    finder.search(value)
    return finder.found


def payload_types(document: Any) -> dict[str, SegmentType]:
    """What the long texts of a document (JSON text, or parsed) are; those left out are OTHER.

    A text that occurs as several things is what it is first. An array of token ids has
    ``payloads.token_key`` of it for a key.
    """
    types: dict[str, SegmentType] = {}
    for turn in turns(parse(document) if isinstance(document, str) else document):
        if turn.type is SegmentType.OTHER:
            continue
        if turn.text is not None:
            if len(turn.text) >= _TEXT_CHARACTERS_MIN:
                types.setdefault(turn.text, turn.type)
        elif turn.token_ids is not None:
            types.setdefault(token_key(turn.token_ids), turn.type)
    return types
