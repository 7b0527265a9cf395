"""What a policy says, and how it is stored."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.ids import InodeNo
from stowkenfs.vault.retention.policy import (
    AGE_SECONDS_MAX,
    KEEP_MAX,
    NEVER,
    Policy,
    Unknown,
    decode_policies,
    encode_policies,
    format_age,
    parse_age,
)

DAY = 86400

policies = st.builds(
    Policy,
    max_age_seconds=st.integers(0, AGE_SECONDS_MAX),
    keep=st.none() | st.integers(1, KEEP_MAX),
) | st.builds(Policy, keep=st.integers(1, KEEP_MAX))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("90m", 5400),
        ("12h", 43200),
        ("30d", 30 * DAY),
        ("2w", 14 * DAY),
        ("1y", 365 * DAY),
        ("never", NEVER),
    ],
)
def test_ages(text: str, seconds: int) -> None:
    assert parse_age(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("", "0", "0d", "30", "d", "-1d", "1.5d", "1e3d", "٣d", "30D", "101y", "Never"),
        *("999999999999y", " 1d", "1d ", "1d\n"),
    ],
)
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(ValueError):
        parse_age(text)


@given(st.integers(0, AGE_SECONDS_MAX))
def test_an_age_is_shown_as_it_can_be_written(seconds: int) -> None:
    assert parse_age(format_age(seconds)) == seconds


def test_ages_are_shown_as_people_say_them() -> None:
    assert [format_age(s) for s in (30 * DAY, DAY + 3600, 90, 120, 0)] == [
        "30d", "25h", "90s", "2m", "never"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"keep": 0},
        {"keep": KEEP_MAX + 1},
        {"max_age_seconds": -1},
        {"max_age_seconds": AGE_SECONDS_MAX + 1},
    ],
)
def test_what_is_no_policy(said: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Policy(**said)


@given(st.dictionaries(st.integers(1, (1 << 62) - 1).map(InodeNo), policies))
def test_stored_and_read_again(stated: dict[InodeNo, Policy]) -> None:
    assert decode_policies(encode_policies(stated)) == stated


def test_what_is_stored() -> None:
    stated = {InodeNo(7): Policy(keep=5), InodeNo(3): Policy(max_age_seconds=30 * DAY, keep=2)}
    assert encode_policies(stated) == b"3 max-age=30d keep=2\n7 keep=5\n"


def test_what_a_later_release_states_is_kept() -> None:
    stored = b"3 keep=5 shred=yes\n4 keep=5\n5 keep=0\n"
    read = decode_policies(stored)
    assert read[InodeNo(3)] == Unknown("keep=5 shred=yes")
    assert read[InodeNo(4)] == Policy(keep=5)
    assert read[InodeNo(5)] == Unknown("keep=0")
    assert encode_policies(read) == stored


@given(st.binary(max_size=200))
def test_whatever_is_stored_is_read(stored: bytes) -> None:
    decode_policies(stored)
