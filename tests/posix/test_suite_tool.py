"""``tools/posix-suite`` counts what a suite prints, and fails when anything in it does."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from lib.tap import PROBLEMS_MAX, count

from tests.mount.mounted import Mount, is_fuse_mount, listed, skip_without_fuse
from tests.posix.users import ALICE

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "tools" / "posix-suite"


# Counting


def numbers(text: str, exit_code: int | None = 0) -> tuple[int, int, int, int]:
    """ok, failed, todo, skipped."""
    counted = count(text, exit_code)
    assert counted.asserts == counted.ok + counted.failed + counted.todo + counted.skipped
    assert bool(counted.problems) == bool(counted.failed)
    return counted.ok, counted.failed, counted.todo, counted.skipped


def test_all_in_order() -> None:
    assert numbers("1..3\nok 1\nok 2 - with a name\nok 3 # a remark\n") == (3, 0, 0, 0)
    assert numbers("ok\nok\n1..2\n") == (2, 0, 0, 0)  # no numbers, and the plan at the end
    assert numbers("# a remark\n1..1\nanything else\nok 1\n") == (1, 0, 0, 0)


def test_failures_are_told_by_number() -> None:
    text = "1..4\nok 1\nnot ok 2 - tried 'mkdir a', expected 0, got EPERM\nok 3\nnot ok 4\n"
    assert numbers(text) == (2, 2, 0, 0)
    assert count(text, 0).problems == ["2: tried 'mkdir a', expected 0, got EPERM", "4: not ok"]


def test_expected_failures_are_apart() -> None:
    text = "1..4\nnot ok 1 # TODO one day\nok 2 # TODO it works\nok 3 # skip no chflags\nok 4\n"
    assert numbers(text) == (2, 0, 1, 1)
    assert numbers("1..1\nnot ok 1 - as it was # todo later\n") == (0, 0, 1, 0)


def test_a_file_that_is_skipped() -> None:
    assert numbers("1..0 # SKIP not here\n") == (0, 0, 0, 1)
    assert numbers("1..0\n") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected", "problem"),
    [
        ("", (0, 1, 0, 0), "printed no plan"),
        ("ok 1\nok 2\n", (2, 1, 0, 0), "printed no plan"),
        ("1..5\nok 1\nok 2\n", (2, 3, 0, 0), "3: 3 of 5 never came"),
        ("1..3\nok 1\nok 3\n", (2, 1, 0, 0), "2: 1 of 3 never came"),
        ("1..1\nok 1\nok 2\n", (2, 1, 0, 0), "2: beyond the plan of 1"),
        ("1..2\nok 1\nok 1\n", (1, 2, 0, 0), "1: a second time"),
        ("1..1\n1..1\nok 1\n", (1, 1, 0, 0), "a second plan"),
        ("1..2\nok 1\nBail out! No disk.\n", (1, 2, 0, 0), "Bail out! No disk."),
    ],
)
def test_plans_that_fail(text: str, expected: tuple[int, int, int, int], problem: str) -> None:
    assert numbers(text) == expected
    assert problem in count(text, 0).problems


def test_how_a_file_ended() -> None:
    assert count("1..1\nok 1\n", 3).problems == ["ended with exit code 3"]
    assert count("1..1\nok 1\n", None).problems == ["was stopped: it took too long"]


def test_problems_are_bounded() -> None:
    counted = count("1..500\n" + "".join(f"not ok {at}\n" for at in range(1, 501)), 0)
    assert counted.failed == 500
    assert len(counted.problems) == PROBLEMS_MAX


# Running

GOOD = """
. "$(dirname "$0")/../conf"
echo 1..3
[ "$fs" = EXT4 ] && echo ok 1 || echo not ok 1
echo text > file && [ "$(cat file)" = text ] && echo ok 2 || echo not ok 2
[ "$(ls)" = file ] && echo ok 3 || echo not ok 3
"""
BAD = "echo 1..4; echo ok 1; echo not ok 2 - tried to, could not; echo not ok 3 '# TODO ever'"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A suite of the same shape as pjdfstest."""
    path = tmp_path / "suite"
    for group in ("good", "bad", "slow"):
        (path / "tests" / group).mkdir(parents=True)
    (path / "pjdfstest").write_text("#!/bin/sh\n")
    (path / "pjdfstest").chmod(0o755)
    (path / "tests" / "conf").write_text("fs=UNKNOWN\n")
    (path / "tests" / "good" / "00.t").write_text(GOOD)
    (path / "tests" / "good" / "01.t").write_text("echo 1..1; echo ok 1")
    (path / "tests" / "bad" / "00.t").write_text(BAD)
    (path / "tests" / "slow" / "00.t").write_text("echo 1..1; echo ok 1; sleep 60")
    return path


def posix_suite(
    *words: str | Path, user: int | None = None, scratch: Path | None = None
) -> subprocess.CompletedProcess[str]:
    more = {"PYTHONPATH": str(ROOT)} | ({"TMPDIR": str(scratch)} if scratch else {})
    return subprocess.run(
        [sys.executable, TOOL, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        user=user,
        env=os.environ | more,
    )


def row(output: str, name: str) -> list[str]:
    """The numbers of a line of the table, without the seconds."""
    (line,) = (line for line in output.splitlines() if line.startswith(f"{name} "))
    return line.split()[1:-1]


@pytest.fixture
def _as_root() -> None:
    if os.getuid() != 0:
        pytest.skip("the suite needs root")


@pytest.mark.usefixtures("_as_root")
def test_a_suite_runs_on_a_fresh_mount(suite: Path, tmp_path: Path) -> None:
    skip_without_fuse()
    (scratch := tmp_path / "scratch").mkdir()
    done = posix_suite("--only", "good", suite, scratch=scratch)
    assert done.returncode == 0, done.stderr
    assert row(done.stdout, "good") == row(done.stdout, "total")[0:6]
    assert row(done.stdout, "good") == ["2", "4", "4", "0", "0", "0"]
    assert "peak memory of the daemon" in done.stderr
    assert str(scratch) not in Path("/proc/self/mounts").read_text()
    assert listed(scratch) == []
    assert (suite / "tests" / "conf").read_text() == "fs=UNKNOWN\n"


@pytest.mark.usefixtures("_as_root")
def test_what_fails_on_a_mount_that_is_given_is_told(suite: Path, mount: Mount) -> None:
    done = posix_suite("--timeout", "0.5", suite, mount.path)
    assert done.returncode == 1, done.stderr
    assert row(done.stdout, "bad") == ["1", "4", "1", "2", "1", "0"]
    assert row(done.stdout, "good") == ["2", "4", "4", "0", "0", "0"]
    assert row(done.stdout, "total") == ["4", "10", "6", "3", "1", "0"]
    assert done.stdout.splitlines()[-3:] == [
        "bad/00.t: 2: tried to, could not",
        "bad/00.t: 4: 1 of 4 never came",
        "slow/00.t: was stopped: it took too long",
    ]
    assert is_fuse_mount(mount.path)
    assert listed(mount.path) == []
    told = posix_suite("--json", "--only", "bad/00", "--only", "good/01.t", suite, mount.path)
    assert told.returncode == 1
    files = [json.loads(line) for line in told.stdout.splitlines()]
    assert [each["file"] for each in files] == ["bad/00.t", "good/01.t"]
    assert [each["failed"] for each in files] == [2, 0]


@pytest.mark.usefixtures("_as_root")
def test_what_cannot_be_run_is_told(suite: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[str | Path], str]] = [
        (["--only", "absent", suite], "has no absent"),
        (["--only", "good/77", suite], "has no good/77"),
        ([tmp_path], "not a tree of pjdfstest"),
        ([suite, tmp_path / "absent"], "cannot write in"),
    ]
    for words, reason in cases:
        done = posix_suite(*words)
        assert (done.returncode, done.stdout.count("Traceback")) == (2, 0)
        assert reason in done.stderr
    (suite / "pjdfstest").unlink()
    done = posix_suite(suite)
    assert done.returncode == 2
    assert "is not built" in done.stderr
    assert "make pjdfstest" in done.stderr


def test_a_suite_needs_root(suite: Path) -> None:
    try:
        done = posix_suite(suite, user=ALICE if os.getuid() == 0 else None)
    except PermissionError:
        pytest.skip("the Python that runs this is root's alone")
    assert done.returncode == 2
    assert "needs root" in done.stderr
