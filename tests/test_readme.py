"""What README.md and docs/STATE.md show works as shown, from the first block to the last.

A block of ``sh`` or ``python`` is executed if the line before it is ``<!-- runnable -->``. All
of a page run in one directory, one process each, and nothing in them is substituted.
"""

import ast
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
PAGES = ("README.md", "docs/STATE.md")

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


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(
            line=text.count("\n", 0, found.start()) + 1,
            language=found[1],
            text=found[2],
            runnable=text.endswith(f"{TAG}\n", 0, found.start()),
        )
        for found in FENCED.finditer(text)
    ]


BLOCKS = {page: blocks_of(page) for page in PAGES}


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
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_run_in_order(page, directory):
    for block in BLOCKS[page]:
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
            f"{page}, {block.language} block at line {block.line}:\n"
            f"{block.text}\n{output.read_text(errors='replace')}"
        )
    assert mounts_under(directory) == [], f"{page} leaves something mounted"


@pytest.mark.parametrize("page", PAGES)
def test_every_tag_is_followed_by_a_block_that_can_run(page):
    runnable = [block for block in BLOCKS[page] if block.runnable]
    assert (ROOT / page).read_text().count(TAG) == len(runnable) > 0
    assert {block.language for block in runnable} <= {"sh", "python"}


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in BLOCKS[page]],
    ids=lambda value: value if isinstance(value, str) else f"line{value.line}",
)
def test_blocks_are_well_formed(page, block):
    if block.language == "python":
        allowed = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # of what is an excerpt
        compile(block.text, page, "exec", 0 if block.runnable else allowed)
    else:
        subprocess.run(["bash", "-n", "-c", block.text], check=True, timeout=60)


def test_files_named_in_the_readme_exist():
    named = set(re.findall(r"\]\((?!https?:)([^)#]+)\)|^(tools/\w+)", README, re.MULTILINE))
    paths = [link or tool for link, tool in named]
    assert "tools/mount" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []
