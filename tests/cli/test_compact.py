"""compact and stats --where, of a vault and through its mount."""

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stowkenfs.cli.terminal import page_look
from tests.cli.program import environment, started, stowkenfs


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A directory with two folders of conversations."""
    path = tmp_path / "logs"
    rng = random.Random(2)
    for number in range(40):
        text = " ".join(rng.choices(["anchor", "bilge", "cleat", "davit", "fender"], k=200))
        turn = {"role": "user", "content": f"{number}: {text}"}
        file = path / f"part-{number % 2}" / f"{number}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"messages": [turn]}))
    return path


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A directory with what takes seconds to compress at the highest level."""
    path = tmp_path / "slow"
    path.mkdir()
    rng = random.Random(9)
    for number in range(8):
        (path / f"{number}.bin").write_bytes(rng.randbytes(1 << 20))
    return path


def same(vault: Path, source: Path, out: Path) -> None:
    assert stowkenfs("export", vault, out).code == 0
    subprocess.run(["diff", "-r", source, out / source.name], check=True)


def test_compact_says_what_it_did_and_then_that_there_is_nothing_to_do(logs, vault, tmp_path):
    stowkenfs("import", vault, logs)
    ended = stowkenfs("compact", vault)
    assert (ended.code, ended.err) == (0, "")
    first, second = ended.out.splitlines()
    assert re.fullmatch(r"Compacted 40 files with [0-9.]+ KiB in [0-9.]+ s, .+/s\.", first)
    assert re.fullmatch(r".+ on disk before, .+ now: ratio [0-9.]+\.", second)
    ended = stowkenfs("compact", vault)
    assert ended.code == 0
    assert ended.out.startswith("There was nothing to do: all is compacted. ")
    assert ended.out.count("\n") == 1
    assert stowkenfs("verify", vault).code == 0
    same(vault, logs, tmp_path / "out")


def test_compact_as_json(logs, vault):
    stowkenfs("import", vault, logs)
    before = json.loads(stowkenfs("stats", vault, "--json").out)
    told = json.loads(stowkenfs("compact", vault, "--level", "3", "--json").out)
    assert (told["clean"], told["nothing_to_do"], told["cancelled"]) == (True, False, False)
    assert told["report"]["documents"] == 40
    assert told["bytes_in"] == before["bytes_in"]
    assert told["bytes_after"] < told["bytes_before"]
    assert json.loads(stowkenfs("compact", vault, "--json").out)["nothing_to_do"] is True


@pytest.mark.parametrize("level", ["0", "23", "fast"])
def test_a_level_that_is_none_is_wrong_usage(level, logs, vault):
    stowkenfs("import", vault, logs)
    assert stowkenfs("compact", vault, "--level", level).code == 2


def test_what_cannot_be_compacted(vault, logs):
    ended = stowkenfs("compact", vault)
    assert (ended.code, ended.err) == (1, f"stowkenfs: there is no vault {vault}\n")
    assert stowkenfs("compact", logs).code == 4


def test_an_interrupted_compaction_is_harmless(slow, vault, tmp_path):
    stowkenfs("import", vault, slow)
    before = set((vault / "packs").iterdir())
    process = started("compact", vault, "--level", "22")
    deadline = time.monotonic() + 60
    while not (vault / "index.db-wal").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "what was compacted until then is kept" in errors
    assert errors.endswith("stowkenfs: interrupted\n")
    assert before <= set((vault / "packs").iterdir())
    assert stowkenfs("verify", vault).code == 0
    same(vault, slow, tmp_path / "out")


# Through the mount


@pytest.mark.mount
def test_compact_goes_through_the_mount(logs, vault, mountpoint):
    stowkenfs("import", vault, logs)
    stowkenfs("mount", vault, mountpoint)
    ended = stowkenfs("compact", mountpoint, "--level", "5")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Compacted 40 files with ")
    assert ended.out == (mountpoint / ".stowken" / "compact").read_text()
    ended = stowkenfs("compact", vault, "--json")
    assert json.loads(ended.out)["nothing_to_do"] is True
    subprocess.run(["diff", "-r", logs, mountpoint / "logs"], check=True)
    for option in ([], ["--where"]):
        ended = stowkenfs("stats", mountpoint, *option)
        assert ended.code == 0
        assert "Where the bytes are, by kind" in ended.out
    folders = json.loads(stowkenfs("stats", vault, "--where", "--json").out)["where"]["folders"]
    assert {folder["name"] for folder in folders} == {"part-0", "part-1"}


@pytest.mark.mount
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_it_stops_the_job_in_the_mount(number, slow, vault, mountpoint):
    stowkenfs("import", vault, slow)
    stowkenfs("mount", vault, mountpoint)
    process = started("compact", mountpoint, "--level", "22")
    jobs = mountpoint / ".stowken" / "jobs"
    deadline = time.monotonic() + 60
    while "running: compact" not in jobs.read_text():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    for command in ("verify", "compact"):
        ended = stowkenfs(command, mountpoint)
        assert ended.code == 3
        assert ended.err.startswith(f"stowkenfs: the mount runs another job: 'cat {jobs}' says")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.endswith("stowkenfs: interrupted\n")
    lines = jobs.read_text().splitlines()
    assert lines[0] == "running: none"
    assert ", cancelled after " in lines[1]
    assert stowkenfs("verify", mountpoint).code == 0


@pytest.mark.mount
def test_who_compacts_is_told_when_somebody_else_stops_it(slow, vault, mountpoint):
    stowkenfs("import", vault, slow)
    stowkenfs("mount", vault, mountpoint)
    process = started("compact", mountpoint, "--level", "22")
    jobs = mountpoint / ".stowken" / "jobs"
    while "running: compact" not in jobs.read_text():
        assert process.poll() is None
        time.sleep(0.02)
    jobs.write_text("cancel\n")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors == "stowkenfs: compact was cancelled through .stowken/jobs\n"


# stats --where


def test_where_the_bytes_are(logs, vault):
    stowkenfs("import", vault, logs)
    ended = stowkenfs("stats", vault, "--where")
    assert (ended.code, ended.err) == (0, "")
    assert re.match(r"[0-9.]+ KiB in 40 files, [0-9.]+ KiB on disk: ratio [0-9.]+\n", ended.out)
    assert "By folder of /logs" in ended.out
    assert {"part-0", "part-1"} <= {line.split()[0] for line in ended.out.splitlines() if line}
    assert "░ not compacted yet" in ended.out
    assert "\x1b" not in ended.out
    stowkenfs("compact", vault)
    told = json.loads(stowkenfs("stats", vault, "--where", "--json").out)
    assert told["documents"] == 40
    assert {folder["files"] for folder in told["where"]["folders"]} == {20}


def test_hostile_names_of_folders_are_escaped(vault, tmp_path):
    source = tmp_path / "names"
    for name in (b"new\nline", b"\x1b[31mred", b"\xff"):
        folder = source / os.fsdecode(name)
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x")
    stowkenfs("import", vault, source)
    ended = stowkenfs("stats", vault, "--where")
    assert ended.code == 0
    assert all(letter == "\n" or letter.isprintable() for letter in ended.out)
    for told in (r"new\nline", r"\x1b[31mred", r"\xff"):
        assert told in ended.out
    names = {
        folder["name"]
        for folder in json.loads(stowkenfs("stats", vault, "--where", "--json").out)["where"][
            "folders"
        ]
    }
    assert names == {"new\nline", "\x1b[31mred", r"\xff"}


def test_ascii_where_nothing_else_can_be_shown(logs, vault):
    stowkenfs("import", vault, logs)
    ended = stowkenfs("stats", vault, "--where", PYTHONIOENCODING="ascii")
    assert ended.code == 0
    assert ended.out.isascii()
    assert "\\u" not in ended.out
    assert ". not compacted yet\n" in ended.out
    assert "####" in ended.out


def on_terminal(columns: int, *arguments: object, **more: str) -> str:
    """What the program shows on a terminal of so many columns."""
    import fcntl
    import struct
    import termios

    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    known = {"LC_ALL": "C.UTF-8", "TERM": "xterm", "COLUMNS": "", "NO_COLOR": ""} | more
    with subprocess.Popen(
        [sys.executable, "-m", "stowkenfs", *map(str, arguments)],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(**known),
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                piece = os.read(leader, 65536)
            except OSError:  # the program has ended
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(leader)
    return shown.decode()


def test_on_a_terminal_the_page_has_colors_and_its_width(logs, vault):
    stowkenfs("import", vault, logs)
    widths = {}
    for columns in (50, 120):
        shown = on_terminal(columns, "stats", vault, "--where")
        assert "\x1b[1mWhere the bytes are" in shown
        lines = re.sub("\x1b\\[[0-9]*m", "", shown).splitlines()
        widths[columns] = max(len(line) for line in lines if line.startswith(("index", "part-")))
        assert widths[columns] <= columns
    assert widths[120] > widths[50]
    for setting in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in on_terminal(80, "stats", vault, "--where", **setting)


def test_compact_shows_a_bar_on_a_terminal(logs, vault):
    stowkenfs("import", vault, logs)
    shown = on_terminal(100, "compact", vault)
    assert "compact" in shown
    assert "Compacted 40 files with " in shown


def test_the_width_that_the_environment_tells(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "133")
    assert page_look().width == 133
    assert page_look().color is False  # not a terminal
