"""The lexical pass: bytes that need not be valid JSON become a skeleton and raw values.

The skeleton is the content with every value replaced by a NUL byte: punctuation, quotes,
white space, keys, and whatever is no token at all. One regular expression does it, and the
compiled ``lex`` the same by hand, in linear time for any input: all its repeats are possessive,
a key is looked for in at most ``_KEY_BYTES_MAX`` bytes before its string is read as a value, and
a string without an end is the rest of the content.
"""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from stowkenfs import kernels
from stowkenfs.documents.payloads import PAYLOAD_BYTES_MIN
from stowkenfs.documents.wholes import Whole, find_wholes

_KEY_BYTES_MAX: Final = 127
# Groups: 1 skeleton up to the value, 2 the opening quote if the value is a string,
# 3 the value (empty at the end of the content), 4 the closing quote.
_TOKEN: Final = re.compile(
    rb"""
    (
      (?: [^"0-9\-tfnNI]*+
          (?: "[^"\\]{0,%d}+"[ \t\r\n]*+:
            | (?! true | false | null | NaN | -?(?:[0-9]|Infinity) ) [\-tfnNI]
          )
      )*+
      [^"0-9\-tfnNI]*+ (")?
    )
    (
      (?(2) [^"\\]*+ (?: \\. [^"\\]*+ )*+ \\?
          | (?: -?+[0-9][0-9.eE+\-]*+ | true | false | null | NaN | -?+Infinity | \Z )
      )
    )
    ((?(2) "?+ ))
    """
    % _KEY_BYTES_MAX,
    re.VERBOSE | re.DOTALL,
)
_GROUPS: Final = 5  # what re.split gives per token: text before it (never any), four groups

_BATCH_TOKENS: Final = 1 << 16  # bounds what re.split allocates: some 100 bytes a token

VALUES_MAX: Final = 1 << 20
"""Content with more is taken for no JSON, so that memory stays below 512 MB."""


@dataclass(frozen=True, slots=True)
class Lexed:
    """``skeleton`` has one NUL byte per value, in order; replacing them gives the content.

    ``values``: strings are without their quotes. ``separators``: ``{index: separator}`` of
    those that are arrays of ids. ``tools``: indexes of those that define a tool. ``longs``:
    of those of PAYLOAD_BYTES_MIN and more, ascending.
    """

    skeleton: bytes
    values: list[bytes]
    separators: dict[int, bytes]
    tools: frozenset[int]
    longs: list[int]


_Found = tuple[bytes, list[bytes], list[int], list[int]]
"""Skeleton and values, and which of these are long, and wholes."""


def lex(content: bytes) -> Lexed | None:
    """The skeleton and values of any bytes.

    None if there is a NUL byte outside the values, or more than about VALUES_MAX values.
    """
    wholes = find_wholes(content)
    if kernels.compiled is None:
        found = _by_python(content, wholes)
    else:
        places = np.array([(whole.start, whole.end) for whole in wholes], np.int64)
        found = kernels.compiled.lex(content, places, VALUES_MAX, PAYLOAD_BYTES_MIN)
    if found is None:
        return None
    skeleton, values, longs, whole_places = found
    separators: dict[int, bytes] = {}
    tools = []
    for place, whole in zip(whole_places, wholes, strict=True):
        if whole.separator is None:
            tools.append(place)
        else:
            separators[place] = whole.separator
    return Lexed(skeleton, values, separators, frozenset(tools), longs)


def _by_python(content: bytes, wholes: list[Whole]) -> _Found | None:
    """As the compiled ``lex``."""
    skeleton: list[bytes] = []
    values: list[bytes] = []
    whole_places = []
    at = 0
    for whole in wholes:
        _lex_plain(content[at : whole.start], skeleton, values)
        whole_places.append(len(values))
        skeleton.append(b"\0")
        values.append(content[whole.start : whole.end])
        at = whole.end
    _lex_plain(content[at:] if at else content, skeleton, values)
    if len(values) > VALUES_MAX:
        return None
    joined = b"".join(skeleton)
    if joined.count(0) != len(values):
        return None
    longs = [at for at, value in enumerate(values) if len(value) >= PAYLOAD_BYTES_MIN]
    return joined, values, longs, whole_places


def _lex_plain(content: bytes, skeleton: list[bytes], values: list[bytes]) -> None:
    """Append the skeleton and the values of ``content``, which has no wholes in it."""
    while content and len(values) <= VALUES_MAX:
        # The last piece is what maxsplit left.
        *pieces, content = _TOKEN.split(content, _BATCH_TOKENS)
        # The end of the content matches as one or two tokens without a value: no string
        # (group 2), and an empty number.
        used = len(pieces)
        while used and pieces[used - 3] is None and not pieces[used - 2]:
            used -= _GROUPS
        out: list[bytes] = [b"\0"] * (used // _GROUPS * 3)
        out[0::3] = pieces[1:used:_GROUPS]
        out[2::3] = pieces[4:used:_GROUPS]
        out += pieces[used + 1 :: _GROUPS]
        skeleton.append(b"".join(out))
        values += pieces[3:used:_GROUPS]
