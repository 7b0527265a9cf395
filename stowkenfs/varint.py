"""LEB128 variable-length integers, one at a time (FORMAT.md, "Varint").

Arrays of token ids have a vectorized codec in ``frames.varints``.
"""

from stowkenfs.errors import Corrupt


def append_varint(out: bytearray, value: int) -> None:
    """Append ``value`` (0 or more) to ``out``, seven bits a byte, low bits first."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def read_varint(buffer: bytes | memoryview, at: int, *, bits_max: int = 64) -> tuple[int, int]:
    """Value at byte ``at`` and the position after it.

    Raises Corrupt when the buffer ends inside it or it exceeds ``bits_max`` bits.
    """
    value = shift = 0
    try:
        while True:
            byte = buffer[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift >= bits_max:
                raise Corrupt(f"varint of more than {bits_max} bits before byte {at}")
    except IndexError:
        raise Corrupt(f"varint cut off at byte {at}") from None
    if value >> bits_max:
        raise Corrupt(f"varint of more than {bits_max} bits before byte {at}")
    return value, at


def zigzag(value: int) -> int:
    """Signed to unsigned: 0, -1, 1, -2 become 0, 1, 2, 3."""
    return value * 2 if value >= 0 else -value * 2 - 1


def unzigzag(value: int) -> int:
    """Inverse of ``zigzag``."""
    return -(value >> 1) - 1 if value & 1 else value >> 1
