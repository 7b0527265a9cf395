"""The forms of references in a dense block (``dense`` has the format)."""

from dataclasses import dataclass
from typing import Final

from stowkenfs.documents.values import Style
from stowkenfs.errors import Corrupt, RecordCorrupt
from stowkenfs.ids import SegmentType
from stowkenfs.varint import read_varint

_STYLES: Final = {int(style): style for style in Style}
_TYPES: Final = {int(type_): type_ for type_ in SegmentType}


@dataclass(frozen=True, slots=True)
class Form:
    """What references have in common."""

    style: Style
    types: tuple[SegmentType, ...]
    separator: bytes


def decode_forms(stream: bytes) -> list[Form]:
    """The table of forms. Raises RecordCorrupt."""
    forms = []
    at = 0
    try:
        while at < len(stream):
            style = _STYLES[stream[at]]
            at += 1
            separator = b""
            if style is Style.TOKENS:
                separator, at = _read_text(stream, at)
            numbers, at = _read_text(stream, at)
            types = tuple([_TYPES[number] for number in numbers])
            forms.append(Form(style, types, separator))
    except KeyError as error:
        raise RecordCorrupt(f"dense block: a form of style or type {error}") from error
    except Corrupt as error:
        raise RecordCorrupt(f"dense block: a form: {error}") from error
    return forms


def _read_text(stream: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_varint(stream, at)
    if length > len(stream) - at:
        raise RecordCorrupt(f"dense block: {length} bytes in a form at byte {at}")
    return stream[at : at + length], at + length
