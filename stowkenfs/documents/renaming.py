"""Other numbers for what bodies of records refer to, of many at once."""

from collections.abc import Sequence

import numpy as np

from stowkenfs import kernels
from stowkenfs.documents.body import Body, BodyValue, References, decode_body, encode_body
from stowkenfs.documents.pieces import TYPES, Numbers
from stowkenfs.errors import RecordCorrupt
from stowkenfs.ids import SegmentNo


def names_in(bodies: Sequence[bytes]) -> tuple[list[int], list[int]]:
    """Numbers of templates, and of segments, that ``bodies`` have, each once, as they come first.

    Raises RecordCorrupt.
    """
    if kernels.compiled is not None:
        found = kernels.compiled.names_in_bodies(bodies, TYPES)
        if found is not None:
            templates, segments = (np.frombuffer(names, np.int64).tolist() for names in found)
            return list(dict.fromkeys(templates)), list(dict.fromkeys(segments))
    decoded = [decode_body(body) for body in bodies]
    return (
        list(dict.fromkeys(name for body in decoded for name in body.templates)),
        list(dict.fromkeys(name for body in decoded for name in _segments(body))),
    )


def rename(bodies: Sequence[bytes], templates: Numbers, segments: Numbers) -> list[bytes]:
    """``bodies`` with what ``templates`` and ``segments`` have for each number in its place.

    Raises RecordCorrupt for a damaged one, or a number that they do not have, or have -1 for.
    """
    if kernels.compiled is not None:
        renamed = kernels.compiled.rename_bodies(bodies, TYPES, templates, segments)
        if renamed is not None:
            return renamed
    of_template, of_segment = templates.tolist(), segments.tolist()
    return [_renamed(decode_body(body), of_template, of_segment) for body in bodies]


def _segments(body: Body) -> list[SegmentNo]:
    return [no for value in body.values if isinstance(value, References) for no in value.segments]


def _renamed(body: Body, templates: Sequence[int], segments: Sequence[int]) -> bytes:
    values: list[BodyValue] = []
    for value in body.values:
        if isinstance(value, References):
            others = tuple(SegmentNo(_other(segments, number)) for number in value.segments)
            values.append(value._replace(segments=others))
        else:
            values.append(value)
    return encode_body([_other(templates, number) for number in body.templates], values)


def _other(numbers: Sequence[int], number: int) -> int:
    if number >= len(numbers) or numbers[number] < 0:
        raise RecordCorrupt(f"record body: number {number} has no other one")
    return numbers[number]
