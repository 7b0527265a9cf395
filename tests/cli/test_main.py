"""The command line as such: help, usage, and that it starts fast."""

import os
import subprocess
import sys

import pytest

from stowkenfs.cli.main import COMMANDS
from tests.cli.program import environment, stowkenfs


def test_help_lists_all_commands():
    ended = stowkenfs("--help")
    assert ended.code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in ended.out


@pytest.mark.parametrize("name", [*COMMANDS, "train substrings", "train dictionary"])
def test_help_of_each_command_has_example_and_exit_status(name):
    ended = stowkenfs(*name.split(), "--help")
    assert ended.code == 0
    assert "Example:\n" in ended.out
    assert f"    stowkenfs {name} " in ended.out
    status = ended.out.partition("EXIT STATUS")[2]
    assert [line.split()[0] for line in status.splitlines()[1:4]] == ["0", "1", "2"]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["frobnicate"],
        ["--frobnicate"],
        ["mount", "only-a-vault"],
        ["import", "only-a-vault"],
        ["stats", "a", "b"],
        ["stats", "--xml", "a"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, tmp_path):
    ended = stowkenfs(*arguments)
    assert ended.code == 2
    assert "Usage: stowkenfs" in ended.out + ended.err


def test_version():
    ended = stowkenfs("--version")
    assert ended.code == 0
    assert ended.out.startswith("stowkenfs ")


def test_help_loads_nothing_heavy():
    """What takes long to import: this is what keeps ``--help`` under 0.2 s."""
    program = (
        "import sys; from stowkenfs.cli.main import run; run(['--help']);"
        "print([m for m in ('numpy', 'trio', 'anyio', 'rich', 'sqlite3', 'pyfuse3')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
        timeout=60,
    )
    assert done.stdout.endswith("[]\n")


def test_a_reader_that_has_enough_is_no_error_message(chats, vault):
    assert stowkenfs("import", vault, chats).code == 0
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "stowkenfs", "stats", str(vault)],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=60,
    )
    os.close(writer)
    assert done.stderr == b""
