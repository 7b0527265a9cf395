"""Ids under a frozen model: a range coder, integers only (FORMAT.md, "Coded ids").

The coder keeps ``low``, below 2^48, and ``range``, from 2^40 to 2^48. Of ``total`` numbers one
that takes ``size`` from ``start`` narrows both: with ``unit = range // total``, ``low`` grows by
``start * unit`` and ``range`` is ``size * unit``. No total is above 2^24, so no product is above
2^48. Where ``low`` reaches 2^48 that is carried into the bytes before; while ``range`` is below
2^40, the highest byte of ``low`` is written.

Each id is coded in at most five steps. Where the last two ids came before, whether what followed
them then comes now. Then from the longest context that the model has to the empty one: an
entry, or the escape. Then the id itself, of 2^18. The end of a segment is an id.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from stowkenfs import kernels
from stowkenfs.errors import FrameCorrupt, Unstorable
from stowkenfs.predict.match import Matcher
from stowkenfs.predict.model import END, ESCAPE, HASH_FACTOR, ID_BITS, ORDERS_MAX, Model

IDS_MAX = 1 << 24
"""The most ids of a segment."""

Ids = npt.NDArray[np.uint32]

_WINDOW_BITS = 48
_WINDOW = (1 << _WINDOW_BITS) - 1
_RANGE_MIN = 1 << 40
_MASK = (1 << 64) - 1
_FLAG_TOTAL = 1 << 16


def encode(ids: Ids, model: Model) -> bytes:
    """``ids`` (uint32, shape (n,)) under ``model``. Raises Unstorable, see ``encode_many``."""
    return encode_many([ids], model)[0]


def encode_many(rows: Sequence[Ids], model: Model) -> list[bytes]:
    """``encode`` of each. The same on every machine.

    Raises Unstorable for an id from END on, and more than IDS_MAX of them.
    """
    for ids in rows:
        if len(ids) > IDS_MAX or int(ids.max(initial=0)) >= END:
            raise Unstorable(f"a model codes at most {IDS_MAX} ids, each below {END}")
    if kernels.compiled is None:
        return [_encode(ids.tolist(), model) for ids in rows]
    ends = np.cumsum([len(ids) for ids in rows], dtype=np.int64)
    flat = np.concatenate([np.zeros(0, np.uint32), *rows]).astype(np.uint32, copy=False)
    found = kernels.compiled.model_encode(flat, ends, *_arguments(model))
    return [_encode(ids.tolist(), model) if one is None else one
            for ids, one in zip(rows, found, strict=True)]  # fmt: skip


def decode(content: bytes, model: Model, limit: int = IDS_MAX) -> Ids:
    """Inverse of ``encode``: uint32, read-only. Raises FrameCorrupt, see ``decode_many``."""
    return decode_many([content], model, limit)[0]


def decode_many(contents: Sequence[bytes], model: Model, limit: int = IDS_MAX) -> list[Ids]:
    """``decode`` of each.

    Raises FrameCorrupt for more than ``limit`` ids in one, and for all bytes but those that
    ``encode`` gives.
    """
    if kernels.compiled is None:
        return [_as_ids(_decode(content, model, limit)) for content in contents]
    ends = np.cumsum([len(content) for content in contents], dtype=np.int64)
    starts = ends - np.array([len(content) for content in contents], np.int64)
    source = b"".join(contents)
    found = kernels.compiled.model_decode(source, starts, ends, limit, *_arguments(model))
    return [
        _as_ids(_decode(content, model, limit)) if one is None else np.frombuffer(one, np.uint32)
        for content, one in zip(contents, found, strict=True)
    ]


def _arguments(model: Model) -> tuple[object, ...]:
    arrays = model.arrays
    return (
        model.orders, model.hits_array, arrays.keys, arrays.slots, arrays.first, arrays.tokens,
        arrays.starts, arrays.totals,
    )  # fmt: skip


def _as_ids(found: list[int]) -> Ids:
    ids = np.array(found, np.uint32)
    ids.flags.writeable = False
    return ids


class _Range:
    """What encoder and decoder keep alike."""

    def __init__(self) -> None:
        self.low = 0
        self.range = 1 << _WINDOW_BITS

    def shortest(self) -> int:
        """The number within the range of which the fewest bytes are not 0; it may carry."""
        for bits in range(_WINDOW_BITS, 0, -8):
            number = -(-self.low >> bits) << bits
            if number - self.low < self.range:
                return number
        return self.low


class _Encoder(_Range):
    def __init__(self) -> None:
        super().__init__()
        self.out = bytearray()

    def put(self, start: int, size: int, total: int) -> None:
        unit = self.range // total
        self.low += start * unit
        self.range = size * unit
        self._carry()
        while self.range < _RANGE_MIN:
            self.out.append(self.low >> 40)
            self.low = self.low << 8 & _WINDOW
            self.range <<= 8

    def _carry(self) -> None:
        if self.low > _WINDOW:
            self.low &= _WINDOW
            at = len(self.out) - 1
            while self.out[at] == 0xFF:
                self.out[at] = 0
                at -= 1
            self.out[at] += 1

    def finish(self) -> bytes:
        self.low = self.shortest()
        self._carry()
        return bytes(self.out + self.low.to_bytes(6, "big")).rstrip(b"\0")


class _Decoder(_Range):
    """``code`` is how far what is read lies above ``low``."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        if content.endswith(b"\0"):
            raise FrameCorrupt("coded ids with a 0 at the end")
        self.content = content
        self.at = 6
        self.code = int.from_bytes(content[:6].ljust(6, b"\0"), "big")

    def number(self, total: int) -> int:
        """Which of ``total`` numbers is next. Raises FrameCorrupt."""
        found = self.code // (self.range // total)
        if found >= total:
            raise FrameCorrupt("coded ids with a number that is none")
        return found

    def take(self, start: int, size: int, total: int) -> None:
        unit = self.range // total
        self.low = self.low + start * unit & _WINDOW
        self.code -= start * unit
        self.range = size * unit
        while self.range < _RANGE_MIN:
            byte = self.content[self.at] if self.at < len(self.content) else 0
            self.code = self.code << 8 | byte
            self.at += 1
            self.low = self.low << 8 & _WINDOW
            self.range <<= 8

    def finish(self) -> None:
        """Raises FrameCorrupt where no encoder ends like this."""
        if self.at < len(self.content) or self.shortest() - self.low != self.code:
            raise FrameCorrupt("coded ids that do not end where they should")


class _Lookup:
    """Contexts and entries of a model, for the Python coder."""

    def __init__(self, model: Model) -> None:
        self.arrays = model.arrays
        self.orders = model.orders
        self.bits = (len(self.arrays.slots) - 1).bit_length()

    def contexts(self, ids: Sequence[int]) -> list[int]:
        """Those of the model that end here, longest first."""
        last = [*ids[: -ORDERS_MAX - 1 : -1], END][:ORDERS_MAX]
        found = []
        for order in range(min(len(ids) + 1, self.orders), -1, -1):
            key = order << 3 * ID_BITS
            for at, token in enumerate(last[:order]):
                key |= token << (2 - at) * ID_BITS
            if (context := self._context(key)) is not None:
                found.append(context)
        return found

    def _context(self, key: int) -> int | None:
        at = (key * HASH_FACTOR & _MASK) >> (64 - self.bits)
        while slot := int(self.arrays.slots[at]):
            if int(self.arrays.keys[slot - 1]) == key:
                return slot - 1
            at = at + 1 & len(self.arrays.slots) - 1
        return None

    def entry_of(self, context: int, token: int) -> int:
        """The entry of a token, or of the escape."""
        first, end = self.arrays.first[context : context + 2].tolist()
        tokens = self.arrays.tokens
        at = int(first) + 1 + int(np.searchsorted(tokens[first + 1 : end], token))
        return at if at < end and int(tokens[at]) == token else int(first)

    def entry_at(self, context: int, number: int) -> int:
        first, end = self.arrays.first[context : context + 2].tolist()
        found = np.searchsorted(self.arrays.starts[first:end], number, "right")
        return int(first) + int(found) - 1

    def part(self, context: int, entry: int) -> tuple[int, int, int]:
        """Start, size and total of an entry."""
        total = int(self.arrays.totals[context])
        start = int(self.arrays.starts[entry])
        is_last = entry + 1 == int(self.arrays.first[context + 1])
        return start, (total if is_last else int(self.arrays.starts[entry + 1])) - start, total


def _encode(ids: list[int], model: Model) -> bytes:
    lookup, coder, match = _Lookup(model), _Encoder(), Matcher()
    for at, token in enumerate([*ids, END]):
        predicted = match.predicted
        if predicted is not None:
            hits = model.hits[match.bucket]
            if token == predicted:
                coder.put(0, hits, _FLAG_TOTAL)
            else:
                coder.put(hits, _FLAG_TOTAL - hits, _FLAG_TOTAL)
        if token != predicted:
            for context in lookup.contexts(match.ids):
                entry = lookup.entry_of(context, token)
                coder.put(*lookup.part(context, entry))
                if int(lookup.arrays.tokens[entry]) != ESCAPE:
                    break
            else:
                coder.put(token, 1, 1 << ID_BITS)
        if at < len(ids):
            match.append(token)
    return coder.finish()


def _decode(content: bytes, model: Model, limit: int) -> list[int]:
    lookup, coder, match = _Lookup(model), _Decoder(content), Matcher()
    while True:
        predicted = match.predicted
        token: int | None = None
        if predicted is not None:
            hits = model.hits[match.bucket]
            if coder.number(_FLAG_TOTAL) < hits:
                coder.take(0, hits, _FLAG_TOTAL)
                token = predicted
            else:
                coder.take(hits, _FLAG_TOTAL - hits, _FLAG_TOTAL)
        if token is None:
            token = _decode_id(lookup, coder, match.ids)
            if token == predicted:
                raise FrameCorrupt("coded ids that miss what they match")
        if token == END:
            break
        if len(match.ids) == limit:
            raise FrameCorrupt(f"more than {limit} coded ids")
        match.append(token)
    coder.finish()
    return match.ids


def _decode_id(lookup: _Lookup, coder: _Decoder, ids: list[int]) -> int:
    escaped = []
    for context in lookup.contexts(ids):
        number = coder.number(int(lookup.arrays.totals[context]))
        entry = lookup.entry_at(context, number)
        coder.take(*lookup.part(context, entry))
        token = int(lookup.arrays.tokens[entry])
        if token != ESCAPE:
            break
        escaped.append(context)
    else:
        token = coder.number(1 << ID_BITS)
        coder.take(token, 1, 1 << ID_BITS)
    for context in escaped:
        if int(lookup.arrays.tokens[lookup.entry_of(context, token)]) != ESCAPE:
            raise FrameCorrupt("coded ids that escape from where they are")
    return token
