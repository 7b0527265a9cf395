"""What README.md shows works as shown, from its first block to its last.

A block of ``sh`` or ``python`` is executed if the line before it is ``<!-- runnable -->``. All
run in one directory, one process each, and nothing in them is substituted.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()

TAG = "<!-- runnable -->"
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    text: str
    runnable: bool

    @property
    def command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-c", self.text]
        return ["bash", "-euo", "pipefail", "-c", self.text]


BLOCKS = [
    Block(
        line=README.count("\n", 0, found.start()) + 1,
        language=found[1],
        text=found[2],
        runnable=README.endswith(f"{TAG}\n", 0, found.start()),
    )
    for found in FENCED.finditer(README)
]


def mounts_under(directory: Path) -> list[str]:
    """Mount points in and below a directory, innermost first."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    # proc(5): space, tab, newline and backslash are written in octal.
    unescaped = (re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), p) for p in points)
    return sorted((p for p in unescaped if Path(p).is_relative_to(directory)), reverse=True)


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for point in mounts_under(tmp_path):  # of a block that failed before it unmounted
        subprocess.run(["fusermount3", "-u", "-z", point], check=False, timeout=60)


def environment() -> dict[str, str]:
    """The reader's: the program is on PATH, ahead of any other that is installed."""
    programs = [str(Path(sys.executable).parent), str(ROOT / ".venv" / "bin")]
    return os.environ | {"PATH": os.pathsep.join([*programs, os.environ["PATH"]])}


@pytest.mark.mount
def test_the_blocks_run_in_order(directory):
    for block in BLOCKS:
        if not block.runnable:
            continue
        # Into a file: a daemon that kept a pipe open would keep this waiting for its end.
        output = directory.parent / f"{directory.name}.output"
        with output.open("wb") as file:
            done = subprocess.run(
                block.command,
                cwd=directory,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=120,
                check=False,
            )
        assert done.returncode == 0, (
            f"README.md, {block.language} block at line {block.line}:\n"
            f"{block.text}\n{output.read_text(errors='replace')}"
        )
    assert mounts_under(directory) == [], "the README leaves something mounted"


def test_every_tag_is_followed_by_a_block_that_can_run():
    assert README.count(TAG) == sum(block.runnable for block in BLOCKS)
    assert {block.language for block in BLOCKS if block.runnable} == {"sh", "python"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"line{block.line}")
def test_blocks_are_well_formed(block):
    if block.language == "python":
        compile(block.text, "README.md", "exec")
    else:
        subprocess.run(["bash", "-n", "-c", block.text], check=True, timeout=60)


def test_files_named_in_the_readme_exist():
    named = set(re.findall(r"\]\((?!https?:)([^)#]+)\)|^(tools/\w+)", README, re.MULTILINE))
    paths = [link or tool for link, tool in named]
    assert "tools/mount" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []
