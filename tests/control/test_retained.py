"""Policies as they are written to the control file, and shown."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stowkenfs.control.retained import (
    escape_path,
    folder_name,
    format_applied,
    format_plan,
    parse_lines,
    unescape_path,
)
from stowkenfs.errors import BadRequest
from stowkenfs.ids import InodeNo
from stowkenfs.vault.retention.policy import NEVER, Policy
from stowkenfs.vault.retention.report import FolderReport

DAY = 86400

names = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)


@pytest.mark.parametrize(
    ("text", "path", "policy"),
    [
        ("sessions/ max-age=30d", b"sessions", Policy(max_age_seconds=30 * DAY)),
        ("checkpoints keep=5", b"checkpoints", Policy(keep=5)),
        ("/a/b/ keep=5 max-age=never", b"a/b", Policy(max_age_seconds=NEVER, keep=5)),
        ("a versions=0", b"a", Policy(versions=0)),
        ("a//b/ versions=100", b"a/b", Policy(versions=100)),
        ("/ max-age=1w", b"", Policy(max_age_seconds=7 * DAY)),
        ("  two  blanks/\tkeep=1 ", b"two  blanks", Policy(keep=1)),
        ("a%20b%2520 keep=1", b"a b%20", Policy(keep=1)),
        ("100% keep=1", b"100%", Policy(keep=1)),
        ("keep=1 keep=2", b"keep=1", Policy(keep=2)),
        ("a=b/c=d keep=2", b"a=b/c=d", Policy(keep=2)),
        ("\udcff keep=2", b"\xff", Policy(keep=2)),
        ("none none", b"none", None),
        ("apply keep=2", b"apply", Policy(keep=2)),
    ],
)
def test_a_line(text: str, path: bytes, policy: Policy | None) -> None:
    assert parse_lines(text) == {path: policy}


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n \n", "a", "a b c", "keep=5", "max-age=30d", "none", "a\0keep=5"),
        *("a keep", "a keep=", "a keep=0", "a keep=1e3", "a keep=100001", "a keep=٣"),
        *("a max-age=", "a max-age=0d", "a max-age=-1d", "a max-age=30"),
        *("a versions=101", "a versions=-1", "a keep=5 none", "a keep=1 keep=1"),
        *("a maxage=30d", "a KEEP=5", "a keep=1\na/ none", "a keep=1\nb", "a dir=b keep=1"),
    ],
)
def test_what_is_refused(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_lines(text)


def test_lines() -> None:
    assert parse_lines("a keep=1\n\n  b/ none\n") == {b"a": Policy(keep=1), b"b": None}


@given(paths)
@example(b"keep=5")
@example(b"a keep=5")
@example("ä\u2028\u200f".encode())
@example(b"\xff \n\r\t%41")
def test_what_is_shown_can_be_written(path: bytes) -> None:
    shown = escape_path(path)
    assert unescape_path(shown) == path
    assert shown.isprintable()
    assert shown.split() == [shown]
    assert parse_lines(f"{folder_name(path)} keep=5") == {path: Policy(keep=5)}


@given(st.text(max_size=60))
def test_whatever_is_written_is_answered(text: str) -> None:
    with suppress(BadRequest):
        parse_lines(text)


def test_pages() -> None:
    assert format_plan([]) == "no folder has a policy yet\n"
    folder = FolderReport(InodeNo(7), b"/a b", Policy(keep=5), 7, 2048, 1, [b"/a b/x\n"])
    told = FolderReport.from_dict(folder.to_dict())
    for one in (folder, told):
        assert format_plan([one]) == (
            "a%20b/ keep=5\n"
            "  would remove now: 7 files, 2.0 KiB\n"
            "    /a%20b/x%0A\n"
            "    and 6 more files\n"
            "  waiting, being open or not sealed yet: 1 file\n"
        )
    assert format_applied([]) == "There was nothing to remove.\n"
    assert format_applied([folder]).startswith("7 files removed, 2.0 KiB; gc gives")
