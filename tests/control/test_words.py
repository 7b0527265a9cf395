"""The words that control files know, and what they answer to others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.control.words import (
    REQUIRED,
    Word,
    choices,
    explain,
    parse_words,
    share,
    text_of,
    whole,
    yes_or_no,
)
from stowkenfs.errors import BadRequest

SAMPLES = whole("samples", "how many are looked at", 1, 1000, 500)
THRESHOLD = share("threshold", "how alike", 0.85)
DRY_RUN = yes_or_no("dry-run", "whether nothing is done")
LEVEL = whole("level", "effort", 1, 22, None, "a zstd level")
WORDS = (SAMPLES, THRESHOLD, DRY_RUN)


def digits(text: str) -> str:
    if not text.isdigit():
        raise ValueError
    return text


ID = Word("id", "which one", "an id of the list", digits, REQUIRED, bare=True)


@pytest.mark.parametrize("written", [b"", b"\n", b"1\n", b" 1 \n", b"1"])
def test_one_or_nothing_means_the_defaults(written) -> None:
    values = parse_words(text_of(written), WORDS)
    assert values == {"samples": 500, "threshold": 0.85, "dry_run": False}


def test_values_have_types() -> None:
    values = parse_words("dry-run=yes  threshold=1 samples=7", WORDS)
    assert values == {"samples": 7, "threshold": 1.0, "dry_run": True}
    assert type(values["threshold"]) is float
    assert parse_words("level=22", [LEVEL]) == {"level": 22}
    assert parse_words("", [LEVEL]) == {"level": None}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("samples=abc", "samples is a whole number from 1 to 1,000, not 'abc'"),
        ("samples=0", "samples is a whole number from 1 to 1,000, not '0'"),
        ("samples=1001", "samples is a whole number from 1 to 1,000, not '1001'"),
        ("samples=²", "samples is a whole number from 1 to 1,000, not '²'"),
        ("samples=-1", "samples is a whole number from 1 to 1,000, not '-1'"),
        ("samples=" + "9" * 5000, "samples is a whole number from 1 to 1,000, not"),
        ("samples=", "samples is a whole number from 1 to 1,000, not ''"),
        ("threshold=nan", "threshold is a number above 0 and up to 1, not 'nan'"),
        ("threshold=0", "threshold is a number above 0 and up to 1, not '0'"),
        ("threshold=1.1", "threshold is a number above 0 and up to 1, not '1.1'"),
        ("dry-run=maybe", "dry-run is yes or no, not 'maybe'"),
        ("samples=1 samples=2", "samples is given twice"),
        ("sample=1", "unknown word 'sample=1'; write 1 or samples=… or threshold=… or dry-run=yes"),
        ("samples", "unknown word 'samples'; write 1 or samples=…"),
        ("1 samples=3", "unknown word '1'; write 1 or samples=…"),
    ],
)
def test_other_words_are_refused_and_told_what_is_allowed(text, why) -> None:
    with pytest.raises(BadRequest) as refused:
        parse_words(text, WORDS)
    assert str(refused.value).startswith(why)


def test_a_bare_word_that_has_to_be_there() -> None:
    words = (ID, yes_or_no("force", "whether anyhow"))
    assert parse_words("123 force=yes", words) == {"id": "123", "force": True}
    assert parse_words("force=no 123", words) == {"id": "123", "force": False}
    for text, why in (
        ("", "id is missing: write an id of the list"),
        ("force=yes", "id is missing: write an id of the list"),
        ("x", "id is an id of the list, not 'x'"),
        ("1 2", "id is given twice"),
        ("id=1", "unknown word 'id=1'; write the id or force=yes"),
    ):
        with pytest.raises(BadRequest, match=why):
            parse_words(text, words)


def test_what_can_be_written_is_explained() -> None:
    assert choices(WORDS) == "1 or samples=… or threshold=… or dry-run=yes"
    assert explain(WORDS) == (
        "  samples=500     how many are looked at: a whole number from 1 to 1,000\n"
        "  threshold=0.85  how alike: a number above 0 and up to 1\n"
        "  dry-run=no      whether nothing is done: yes or no\n"
    )
    assert explain([ID]) == "  an id of the list  which one\n"
    assert explain([]) == ""


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(BadRequest, match="not UTF-8"):
        text_of(b"\xff")


@given(st.binary(max_size=60))
def test_hostile_bytes_are_parsed_or_refused(written) -> None:
    try:
        values = parse_words(text_of(written), (*WORDS, ID))
    except BadRequest:
        return
    assert set(values) == {"samples", "threshold", "dry_run", "id"}


@given(st.integers(1, 1000), st.floats(0, 1, exclude_min=True), st.booleans())
def test_what_was_written_is_what_is_meant(samples, threshold, dry_run) -> None:
    text = f"samples={samples} threshold={threshold!r} dry-run={'yes' if dry_run else 'no'}"
    assert parse_words(text, WORDS) == {
        "samples": samples,
        "threshold": threshold,
        "dry_run": dry_run,
    }
