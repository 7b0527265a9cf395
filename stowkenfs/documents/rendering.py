"""The bytes of many records at once; ``body`` renders one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, cast

from stowkenfs.documents.body import Body, PartOf, References, write_references
from stowkenfs.documents.styles import write
from stowkenfs.documents.values import SLOT, Style
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo, TemplateNo

_SLOT = bytes((SLOT,))
_CHARACTERS = [b"\\", *(bytes((byte,)) for byte in range(0x80) if byte != ord("\\"))]

MINIMAL_ESCAPES: Final = tuple(
    (character, written)
    for character in _CHARACTERS
    if (written := write(Style.MINIMAL, [character])) != character
)
"""What MINIMAL writes in place of single bytes, the backslash first; it changes no others."""

Texts = Mapping[int, bytes]
"""Of segments, by their numbers."""

TextsOf = Callable[[Iterable[SegmentNo]], Texts]


def render_bodies(
    bodies: Sequence[Body],
    template_of: Callable[[TemplateNo], bytes],
    part_of: PartOf,
    texts_of: TextsOf,
    minimal_of: TextsOf,
) -> list[bytes]:
    """The bytes of each record, which ``render_body`` would also return.

    ``texts_of``: the texts of segments; ``minimal_of``: those, as ``Style.MINIMAL`` writes them.
    Raises RecordCorrupt (values or parts that do not fit), and what the callables raise.
    """
    plain: dict[SegmentNo, None] = {}  # in order, so that neighbours are asked for together
    minimal: dict[SegmentNo, None] = {}
    places = [_places_of_references(body) for body in bodies]
    for body, at in zip(bodies, places, strict=True):
        for index in at:
            value = cast("References", body.values[index])
            if value.style is Style.MINIMAL:
                minimal.update(dict.fromkeys(value.segments))
            elif value.style is not Style.TOKENS:
                plain.update(dict.fromkeys(value.segments))
    texts, minimal_texts = texts_of(plain), minimal_of(minimal)
    skeletons = _Skeletons(template_of)
    rendered = []
    for body, at in zip(bodies, places, strict=True):
        values = list(body.values)
        for index in at:
            value = cast("References", values[index])
            values[index] = _written(value, part_of, texts, minimal_texts)
        rendered.append(skeletons.fill(body.templates, cast("list[bytes]", values)))
    return rendered


def has_many_parts(bodies: Iterable[Body], count: int) -> bool:
    """Whether ``bodies`` refer to at least ``count`` segments, each use counted."""
    for body in bodies:
        for at in _places_of_references(body):
            count -= len(cast("References", body.values[at]).segments)
        if count <= 0:
            return True
    return False


def _places_of_references(body: Body) -> list[int]:
    return [index for index, value in enumerate(body.values) if type(value) is not bytes]


def _written(value: References, part_of: PartOf, texts: Texts, minimal_texts: Texts) -> bytes:
    style, segments = value.style, value.segments
    if style is Style.TOKENS:
        return write_references(value, part_of)
    if style is not Style.MINIMAL and style is not Style.VERBATIM:
        return write_references(value, lambda segment, _: texts[segment])
    found = minimal_texts if style is Style.MINIMAL else texts
    if len(segments) == 1:
        return found[segments[0]]
    return b"".join([found[segment] for segment in segments])


class _Skeletons:
    """Records' templates, cut at their slots and kept for the next record."""

    def __init__(self, template_of: Callable[[TemplateNo], bytes]) -> None:
        self._template_of = template_of
        self._templates: dict[TemplateNo, bytes] = {}
        self._between: dict[tuple[TemplateNo, ...], list[bytes]] = {}  # what slots divide

    def fill(self, templates: tuple[TemplateNo, ...], values: list[bytes]) -> bytes:
        """As ``fill_slots``. Raises RecordCorrupt (slots and values differ in number)."""
        between = self._between.get(templates)
        if between is None:
            between = b"".join(map(self._template, templates)).split(_SLOT)
            self._between[templates] = between
        if len(values) != len(between) - 1:
            raise RecordCorrupt(f"record body: {len(between) - 1} slots for {len(values)} values")
        pieces = [b""] * (2 * len(between) - 1)
        pieces[0::2] = between
        pieces[1::2] = values
        return b"".join(pieces)

    def _template(self, number: TemplateNo) -> bytes:
        found = self._templates.get(number)
        if found is None:
            found = self._templates[number] = self._template_of(number)
        return found
