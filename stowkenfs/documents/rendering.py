"""The bytes of many records at once; ``body`` renders one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.documents.body import Body, write_contents
from stowkenfs.documents.pieces import LITERAL, MADE, Numbers, Pieces
from stowkenfs.documents.record import fill_slots
from stowkenfs.documents.styles import write
from stowkenfs.documents.values import Style

_CHARACTERS = [b"\\", *(bytes((byte,)) for byte in range(0x80) if byte != ord("\\"))]

MINIMAL_ESCAPES: Final = tuple(
    (character, written)
    for character in _CHARACTERS
    if (written := write(Style.MINIMAL, [character])) != character
)
"""What MINIMAL writes in place of single bytes, the backslash first; it changes no others."""

Texts = Mapping[int, bytes]
"""Of segments, by their numbers."""

TextsOf = Callable[[Numbers], Texts]
"""Asked for numbers that ascend."""


def render_pieces(
    pieces: Pieces,
    templates_of: Callable[[Sequence[int]], Sequence[bytes]],
    texts_of: TextsOf,
    minimal_of: TextsOf,
) -> list[bytes | None]:
    """The bytes of each record, which ``render_body`` would also return.

    None for those that have to be rendered by themselves: ``alone``, and values that are not
    as many as slots. ``templates_of``: templates by their numbers; ``texts_of``: the texts of
    segments; ``minimal_of``: those, as ``Style.MINIMAL`` writes them. Raises RecordCorrupt (a
    text that its style cannot write), and what the callables raise.
    """
    numbers, places = np.unique(pieces.templates, return_inverse=True)
    templates = templates_of(numbers.tolist())
    starts, ends, parts, texts = _texts(pieces, texts_of, minimal_of)
    is_parts = (pieces.styles != LITERAL).astype(np.uint8)
    place_ends, value_ends = pieces.template_ends, pieces.value_ends
    fill = _fill if kernels.compiled is None else kernels.compiled.fill
    rendered = fill(
        templates, places, place_ends, pieces.source, is_parts, starts, ends, value_ends,
        parts, texts,
    )  # fmt: skip
    for at in pieces.alone:
        rendered[at] = None
    return rendered


def _texts(
    pieces: Pieces, texts_of: TextsOf, minimal_of: TextsOf
) -> tuple[Numbers, Numbers, Numbers, list[bytes]]:
    """Where each value has its bytes or parts now, the places of all parts in texts, and those."""
    styles, starts, ends = pieces.styles, pieces.starts, pieces.ends
    refers = np.flatnonzero(styles < MADE)
    style_of = np.repeat(styles[refers], (ends - starts)[refers])
    is_minimal = style_of == Style.MINIMAL
    parts = np.empty(len(pieces.parts), np.int64)
    texts: list[bytes] = []
    for mine, find in ((~is_minimal, texts_of), (is_minimal, minimal_of)):
        if mine.any():
            found, inverse = np.unique(pieces.parts[mine], return_inverse=True)
            parts[mine] = inverse + len(texts)
            texts += map(find(found).__getitem__, found.tolist())
    # The others are written one by one; each then has a text of its own.
    made = np.flatnonzero(styles == MADE)
    odd = refers[(styles[refers] != Style.MINIMAL) & (styles[refers] != Style.VERBATIM)]
    if not len(made) and not len(odd):
        return starts, ends, parts, texts
    starts, ends = starts.copy(), ends.copy()
    own = [pieces.made[at] for at in starts[made].tolist()]
    for at in odd.tolist():
        contents = [texts[place] for place in parts[starts[at] : ends[at]].tolist()]
        own.append(write_contents(Style(int(styles[at])), contents))
    values = np.append(made, odd)
    starts[values] = len(parts) + np.arange(len(own))
    ends[values] = starts[values] + 1
    return starts, ends, np.append(parts, len(texts) + np.arange(len(own))), [*texts, *own]


def _fill(
    templates: Sequence[bytes],
    places: npt.NDArray[np.intp],
    place_ends: Numbers,
    source: bytes,
    is_parts: npt.NDArray[np.uint8],
    starts: Numbers,
    ends: Numbers,
    value_ends: Numbers,
    parts: Numbers,
    texts: Sequence[bytes],
) -> list[bytes | None]:
    """As the compiled ``fill``."""
    text_of = [texts[place] for place in parts.tolist()]
    values = [
        b"".join(text_of[start:end]) if refers else source[start:end]
        for refers, start, end in zip(
            is_parts.tolist(), starts.tolist(), ends.tolist(), strict=True
        )
    ]
    template_of = [templates[place] for place in places.tolist()]
    rendered: list[bytes | None] = []
    first = low = 0
    for last, high in zip(place_ends.tolist(), value_ends.tolist(), strict=True):
        try:
            rendered.append(fill_slots(b"".join(template_of[first:last]), values[low:high]))
        except ValueError:
            rendered.append(None)
        first, low = last, high
    return rendered


def has_many_parts(bodies: Iterable[Body], count: int) -> bool:
    """Whether ``bodies`` refer to at least ``count`` segments, each use counted."""
    for body in bodies:
        for value in body.values:
            if not isinstance(value, bytes):
                count -= len(value.segments)
        if count <= 0:
            return True
    return False
