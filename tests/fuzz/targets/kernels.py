"""The compiled functions, with arguments that nobody would give them."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stowkenfs import kernels
from tests.fuzz.target import Target

_ARRAYS_MAX = 12


def _parts(content: bytes) -> list[bytes]:
    """Content as byte strings, each with its length in two bytes before it."""
    parts: list[bytes] = []
    at = 0
    while at + 2 <= len(content) and len(parts) < _ARRAYS_MAX:
        (length,) = struct.unpack_from("<H", content, at)
        parts.append(content[at + 2 : at + 2 + length])
        at += 2 + length
    return parts + [b""] * (_ARRAYS_MAX - len(parts))


def _join(*parts: bytes) -> bytes:
    return b"".join(struct.pack("<H", len(part)) + part for part in parts)


def _array(content: bytes, dtype: str) -> kernels.Array:
    size = np.dtype(dtype).itemsize
    return np.frombuffer(content[: len(content) // size * size], dtype)


def _numbers(content: bytes) -> kernels.Array:
    """Small numbers mostly, or one would never be in range: a byte each, 255 for odd ones."""
    numbers = np.frombuffer(content, np.uint8).astype(np.int64)
    numbers[numbers == 255] = -1
    numbers[numbers == 254] = (1 << 63) - 1
    numbers[numbers == 253] = -(1 << 63)
    return numbers


def _spell_ranked(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    entries = _array(parts[4], "<u8")
    compiled.spell_ranked(
        parts[0], _numbers(parts[1]), _numbers(parts[2]), parts[3], entries,
        _array(parts[5], "<u8"), int.from_bytes(parts[6][:3], "little"),
        _numbers(parts[7]).astype(np.uint32), _array(parts[8], "u1"), _array(parts[9], "<u8"),
    )  # fmt: skip


def _spell_varints(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    compiled.spell_varints(
        parts[0], _numbers(parts[1]), _numbers(parts[2]), parts[3], _array(parts[4], "<u8"),
        _array(parts[5], "<u8"), int.from_bytes(parts[6][:3], "little"),
    )  # fmt: skip


def _scan(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    types = np.frombuffer(parts[3].ljust(256, b"\1")[:256], np.uint8)
    compiled.scan_bodies(parts[0], _numbers(parts[1]), _numbers(parts[2]), types)


def _fill(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    compiled.fill(
        parts[0].split(b"|"), _numbers(parts[1]), _numbers(parts[2]), parts[3],
        _array(parts[4], "u1"), _numbers(parts[5]), _numbers(parts[6]), _numbers(parts[7]),
        _numbers(parts[8]), parts[9].split(b"|"),
    )  # fmt: skip


def _identifiers(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    characters = parts[3][: len(parts[3]) // 64 * 64]
    count = int.from_bytes(parts[1][:2], "little", signed=True)
    compiled.identifiers(parts[0], count, parts[2], characters, parts[4])


def _flat(compiled: kernels.Compiled, parts: list[bytes]) -> None:
    compiled.varints32(parts[0])
    compiled.varints56(parts[0])
    compiled.places_of(parts[0], int.from_bytes(parts[1][:2], "little"))


def _target(
    name: str, call: Callable[[kernels.Compiled, list[bytes]], None], seeds: Sequence[bytes]
) -> Target:
    def run(content: bytes) -> Any:
        if kernels.built is not None:
            call(kernels.built, _parts(content))

    return Target(f"kernel-{name}", run, lambda: seeds, (ValueError, TypeError))


_ENTRIES = struct.pack("<8Q", 0x6161, 2, 0x62, 1, 0x6363636363636363, 12, 0, 0)
_REST = struct.pack("<2Q", 0x64646464, 0)
_SPELL = (b"\0\1\2\xff\1\0", bytes((0, 4)), bytes((3, 6)), b"", _ENTRIES, _REST, b"\xff\xff")

TARGETS = (
    _target("spell-ranked", _spell_ranked, [
        _join(*_SPELL, bytes((0, 1, 2)), b"\1\1\1", _ENTRIES[:32]),
        _join(*_SPELL, bytes((2, 1)), b"", b""),
    ]),
    _target("spell-varints", _spell_varints, [_join(*_SPELL), _join(b"\1\1\0", b"\0", b"\3", b"\1",
                                                                    *_SPELL[4:])]),
    _target("scan-bodies", _scan, [
        _join(bytes.fromhex("01001668656c6c6f20776f726c64"), b"\0", b"\x0e"),
        _join(bytes.fromhex("04010202032102522103012100000105"), b"\0\x0d", b"\x0d\x10"),
    ]),
    _target("fill", _fill, [
        _join(b"a\0b|\0\0", b"\0\1", b"\1\2", b"hello", b"\0\0\1", b"\0\1\0", b"\2\5\2",
              b"\1\3", b"\0\1", b"xx|yyy"),
    ]),
    _target("identifiers", _identifiers, [
        _join(bytes(range(40)), b"\4\0", b"\0\0\x41\1", b"0123456789abcdef".ljust(64) * 2,
              b"\x10\x0a"),
        _join(bytes(80), b"\x08\0", b"\1" * 30, b"x" * 128, b"\x02\x40"),
    ]),
    _target("flat", _flat, [_join(b"\x01\xac\x02\xff\xff\xff\xff\x0f\n\n", b"\n\0")]),
)  # fmt: skip
