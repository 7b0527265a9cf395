"""The first page of the second reader: bytes, varints, columns, zstd frames."""

import hashlib
import struct

import zstandard


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def unzigzag(number: int) -> int:
    return -(number + 1) // 2 if number % 2 else number // 2


class Bytes:
    """A byte string that is read from its start to its end."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.at = 0

    @property
    def rest(self) -> int:
        return len(self.content) - self.at

    def take(self, length: int) -> bytes:
        assert 0 <= length <= self.rest, "cut off"
        self.at += length
        return self.content[self.at - length : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value += (byte % 128) << shift
            shift += 7
            if byte < 128:
                return value

    def varints(self) -> list[int]:
        """All that is left."""
        numbers = []
        while self.rest:
            numbers.append(self.varint())
        return numbers

    def signed(self) -> int:
        return unzigzag(self.varint())

    def text(self) -> bytes:
        return self.take(self.varint())

    def column(self, count: int) -> list[int]:
        numbers = Bytes(self.text()).varints()
        assert len(numbers) == count
        return numbers

    def keys(self, count: int) -> list[int]:
        return list(struct.unpack(f"<{count}q", self.take(8 * count)))


def unzstd(content: bytes, length: int, base: bytes | None = None) -> bytes:
    """The content of a reduced frame; ``base`` is what it may refer to from before its start."""
    assert content[:1] == b"\0"
    dictionary = None
    if base is not None:
        raw = zstandard.DICT_TYPE_RAWCONTENT
        dictionary = zstandard.ZstdCompressionDict(base, dict_type=raw)
    reader = zstandard.ZstdDecompressor(
        format=zstandard.FORMAT_ZSTD1_MAGICLESS,
        dict_data=dictionary,
        max_window_size=1 << 27,
    )
    return reader.decompress(content, max_output_size=max(length, 1), allow_extra_data=False)
