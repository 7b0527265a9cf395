"""Which columns the slots of a template belong to, and how many bytes surround them."""

import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from stowkenfs.ids import TemplateNo

_KEY_OR_SLOT = re.compile(rb'"([^"\x00]*)"\s*:|\x00')


@dataclass(frozen=True, slots=True)
class TemplateLayout:
    """What the codec of dense blocks asks of a template.

    ``columns`` has the column of each slot, in order; ``fixed_bytes`` counts the bytes of
    the template that are no slots.
    """

    columns: Sequence[Hashable]
    fixed_bytes: int


LayoutOf = Callable[[TemplateNo], TemplateLayout]


def columns_of_template(template: bytes) -> tuple[bytes, ...]:
    r"""The column of each slot: the JSON key before it, empty for slots before any key.

    A key is what matches ``"([^"\x00]*)"[ \t\n\r\v\f]*:``, searched for from left to
    right together with the slots. Keys are not unescaped.
    """
    columns = []
    key = b""
    for found in _KEY_OR_SLOT.finditer(template):
        if found[1] is None:
            columns.append(key)
        else:
            key = found[1]
    return tuple(columns)


def layout_of_template(template: bytes) -> TemplateLayout:
    """The layout of a template with its keys as columns."""
    columns = columns_of_template(template)
    return TemplateLayout(columns, len(template) - len(columns))
