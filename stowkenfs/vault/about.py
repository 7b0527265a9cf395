"""What a document says of itself in its first bytes: its ids, tokenizer and model."""

import re
from dataclasses import dataclass

from stowkenfs.documents.shapes import conversation_ids, parse, tokenizer_hint
from stowkenfs.documents.split import Shape, shape_of
from stowkenfs.frames.vocabulary import vocabulary_for, vocabulary_of_ids
from stowkenfs.ids import Vocabulary

HEAD_BYTES = 64 << 10
ID_CHARACTERS_MAX = 512
IDS_MAX = 8
NAMELESS = ""
"""Stands for the id of a conversation that has none of its own."""

_NAMED = re.compile(rb'"(tokenizer|model)"\s*:\s*"([^"\\]{1,100})"')
_GRID = re.compile(
    rb"""(?x) \s*+ \{ \s*+ (?: "(?:width|height)" \s*+ : \s*+ [0-9]{1,10} \s*+ , \s*+ ){2}
    "data" \s*+ : \s*+ \[ \s*+ -?[0-9]"""
)
"""How the JSON of a grid begins, with its cells last."""


@dataclass(frozen=True, slots=True)
class About:
    """What matters for storing a document and for finding it again."""

    shape: Shape
    vocabulary: Vocabulary
    ids_vocabulary: Vocabulary
    conversation_ids: tuple[str, ...] = ()
    is_grid: bool = False

    @property
    def is_conversation(self) -> bool:
        """Whether it may have something that somebody said."""
        return self.shape is not Shape.OTHER and not self.is_grid

    @property
    def names(self) -> tuple[str, ...]:
        """The ids to find the document by; one that gives itself none is still counted."""
        if not self.is_conversation:
            return ()
        return self.conversation_ids or (NAMELESS,)


def about(head: bytes) -> About:
    """Judge a document by ``head``, its first HEAD_BYTES or all of it."""
    shape = shape_of(head)
    tokenizer = model = None
    ids: list[str] = []
    if shape is not Shape.OTHER:
        value = _first_value(head, shape)
        ids = conversation_ids(value)
        tokenizer, model = tokenizer_hint(value)
        if tokenizer is None and model is None:
            tokenizer, model = _hint_anywhere(head)
    return About(
        shape,
        vocabulary_for(tokenizer, model),
        vocabulary_of_ids(tokenizer, model),
        tuple(name for name in ids if len(name) <= ID_CHARACTERS_MAX)[:IDS_MAX],
        bool(_GRID.match(head)),
    )


def _first_value(head: bytes, shape: Shape) -> object:
    text = head.partition(b"\n")[0] if shape is Shape.LINES else head
    return parse(text.decode("utf-8", "replace"))


def _hint_anywhere(head: bytes) -> tuple[str | None, str | None]:
    """Names further down, or in a document too long to parse here."""
    names: dict[bytes, str] = {}
    for match in _NAMED.finditer(head):
        names.setdefault(match[1], match[2].decode("utf-8", "replace"))
    return names.get(b"tokenizer"), names.get(b"model")
