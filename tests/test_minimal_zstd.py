"""Many reduced frames at once are what they are one by one."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs import minimal_zstd
from stowkenfs.errors import Corrupt
from stowkenfs.minimal_zstd import compress, decompress_many

CONTENTS = st.lists(st.binary(min_size=1, max_size=300).map(lambda part: part * 3), max_size=40)
WINDOW = 1 << 24


def frames_of(contents: Sequence[bytes]) -> list[bytes]:
    return [bytes(compress(content, 3)) for content in contents]


@given(CONTENTS)
def test_many_are_read_as_one(contents: list[bytes]) -> None:
    lengths = list(map(len, contents))
    assert decompress_many(frames_of(contents), lengths, window_bytes_max=WINDOW) == contents


@given(CONTENTS.filter(bool), st.data())
def test_one_that_is_damaged_is_told(contents: list[bytes], data: st.DataObject) -> None:
    frames, lengths = frames_of(contents), list(map(len, contents))
    at = data.draw(st.integers(0, len(frames) - 1))
    kind = data.draw(st.sampled_from(("length", "cut", "header")))
    if kind == "length":
        lengths[at] += data.draw(st.sampled_from((-1, 1)))
    elif kind == "cut":
        frames[at] = frames[at][:-1]
    else:
        frames[at] = b"\xff" + frames[at][1:]
    with pytest.raises(Corrupt):
        decompress_many(frames, lengths, window_bytes_max=WINDOW)


def test_many_take_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [b"%d " % number * 20 for number in range(100)]
    frames, lengths = frames_of(contents), list(map(len, contents))
    if minimal_zstd._CAN_TAKE_MANY:
        monkeypatch.delattr(minimal_zstd, "decompress")
    assert decompress_many(frames, lengths, window_bytes_max=WINDOW) == contents
