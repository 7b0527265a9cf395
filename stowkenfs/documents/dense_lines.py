r"""How one literal stands in a line of a dense block, in forms that need no neighbours.

A line has no line feed in it. Its first byte, the *mark*, says what it is:

========  ==============================================================================
mark      the rest of the line
========  ==============================================================================
01        nothing; the value is a reference (``dense``)
02        a fraction: ``-`` or nothing, p, ``/``, q, in decimal, p and q of 1-15 digits, q not
          zero. The value is ``-`` or nothing, then the shortest decimal number that reads as
          the IEEE double p/q, with a decimal point and without an exponent (Python's ``repr``)
03        nothing; the value is a time (``dense``)
04        the value, in which 0A has become 04 05, and then 04 04 06 (first 04, then 0A)
80-BF     nothing; the value is an identifier (``dense_families``)
========  ==============================================================================

A line with another first byte, and an empty one, are their values.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from stowkenfs.documents.dense_streams import Numbers
from stowkenfs.errors import RecordCorrupt

REFERENCE: Final = 1
FRACTION: Final = 2
TIME: Final = 3
ESCAPED: Final = 4
IDENTIFIERS: Final = 0x80
IDENTIFIERS_END: Final = 0xC0

TIME_BYTES: Final = 24
"""``2026-02-12T07:35:38.517Z``."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
# 0001-01-01T00:00:00.000Z and 9999-12-31T23:59:59.999Z
_TIME_MIN = -62135596800000
_TIME_MAX = 253402300799999

_TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
_NUMBER = re.compile(rb"(-?)([0-9]{1,9}\.[0-9]{8,})")
_FRACTION = re.compile(rb"\x02(-?)([0-9]{1,15})/([0-9]{1,15})")

# Ratios of counts have small denominators, half-precision floats those below 2**16. A larger
# limit finds fractions for numbers that are none, as long as their digits.
_DENOMINATOR_MAX = 65535


def plain_line(literal: bytes) -> bytes:
    """The line of a literal that nothing shortens."""
    mark = literal[0] if literal else 0xFF
    if b"\n" in literal or mark <= ESCAPED or IDENTIFIERS <= mark < IDENTIFIERS_END:
        return b"\x04" + literal.replace(b"\x04", b"\x04\x06").replace(b"\n", b"\x04\x05")
    return literal


def literal_of_escaped(line: bytes) -> bytes:
    """The literal of a line with the mark 04; any bytes."""
    return line[1:].replace(b"\x04\x05", b"\n").replace(b"\x04\x06", b"\x04")


def fraction_line(literal: bytes) -> bytes | None:
    """The line of a number with many digits that is a simple fraction; None if it is not."""
    number = _NUMBER.fullmatch(literal)
    if number is None:
        return None
    value = float(number[2])
    fraction = _fraction(value)
    if fraction is None or repr(value).encode() != number[2]:
        return None
    line = b"\x02%b%d/%d" % (number[1], *fraction)
    return line if len(line) < len(literal) else None


def literal_of_fraction(line: bytes) -> bytes:
    """The literal of a line with the mark 02. Raises RecordCorrupt."""
    found = _FRACTION.fullmatch(line)
    if found is None or not int(found[3]):
        raise RecordCorrupt("dense block: a fraction is not p/q")
    digits = repr(int(found[2]) / int(found[3])).encode()
    if b"e" in digits:
        raise RecordCorrupt("dense block: a fraction needs an exponent")
    return found[1] + digits


def milliseconds_of(literal: bytes) -> int | None:
    """Milliseconds since 1970 of a UTC time in RFC 3339, milliseconds and ``Z``; None if else."""
    if len(literal) != TIME_BYTES or not _TIME.fullmatch(literal):
        return None
    try:
        return (datetime.fromisoformat(literal.decode()) - _EPOCH) // _MILLISECOND
    except ValueError:
        return None


def check_times(times: Numbers) -> None:
    """Raises RecordCorrupt unless all of ``times`` are in the years 1 to 9999."""
    if len(times) and (times.min() < _TIME_MIN or times.max() > _TIME_MAX):
        raise RecordCorrupt("dense block: a time outside of the years 1 to 9999")


def literals_of_times(times: Numbers) -> list[bytes]:
    """The literals of milliseconds since 1970 that ``check_times`` passed."""
    text: list[str] = np.datetime_as_string(times.astype("M8[ms]"), unit="ms").tolist()
    return [f"{time}Z".encode() for time in text]


def _fraction(value: float) -> tuple[int, int] | None:
    """The first convergent of the continued fraction of ``value`` that is the same double."""
    numerator, denominator = value.as_integer_ratio()
    p_before, q_before, p, q = 0, 1, 1, 0
    while denominator:
        digit, rest = divmod(numerator, denominator)
        p_before, q_before, p, q = p, q, digit * p + p_before, digit * q + q_before
        if q > _DENOMINATOR_MAX:
            return None
        if p / q == value:
            return p, q
        numerator, denominator = denominator, rest
    return None
