"""What pages show works as shown, from the first block to the last.

A block of ``sh`` or ``python`` is executed if the line before it is ``<!-- runnable -->``. All
of a page run in one directory, one process each, and nothing in them is substituted. A block
behind ``<!-- output -->`` is all that the one before it printed; ``STOWKENFS_WRITE_OUTPUT=1``
writes what is printed to the page.
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
PAGES = (
    "README.md",
    "docs/CONTEXT.md",
    "docs/PREDICT.md",
    "docs/RETENTION.md",
    "docs/STATE.md",
)

RUNNABLE, OUTPUT = "runnable", "output"
TAG = re.compile(r"^<!-- (\w+) -->$", re.MULTILINE)
FENCED = re.compile(r"(?:^<!-- (\w+) -->\n)?^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """``start`` and ``end``: where the text is in the page, in characters."""

    start: int
    end: int
    line: int
    language: str
    text: str
    tag: str | None

    @property
    def command(self) -> list[str]:
        if self.language == "python":
            return [sys.executable, "-c", self.text]
        return ["bash", "-euo", "pipefail", "-c", self.text]


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(
            start=found.start(3),
            end=found.end(3),
            line=text.count("\n", 0, found.start(2)) + 1,
            language=found[2],
            text=found[3],
            tag=found[1],
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


def printed(page: str, block: Block, directory: Path) -> str:
    """What a block prints; it has to succeed."""
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
    told = output.read_text(errors="replace")
    assert done.returncode == 0, (
        f"{page}, {block.language} block at line {block.line}:\n{block.text}\n{told}"
    )
    return told


@pytest.mark.mount
@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_run_in_order(page, directory):
    before = (ROOT / page).read_text()
    told, after, end = "", [], 0
    for block in BLOCKS[page]:
        after.append(before[end : block.start])
        end = block.end
        if block.tag == RUNNABLE:
            told = printed(page, block, directory)
        after.append(told if block.tag == OUTPUT else block.text)
    after.append(before[end:])
    if os.environ.get("STOWKENFS_WRITE_OUTPUT"):
        (ROOT / page).write_text("".join(after))
    assert "".join(after) == before
    assert mounts_under(directory) == [], f"{page} leaves something mounted"


@pytest.mark.parametrize("page", PAGES)
def test_every_tag_is_known_and_followed_by_a_block(page):
    tags = TAG.findall((ROOT / page).read_text())
    assert tags == [block.tag for block in BLOCKS[page] if block.tag]
    assert RUNNABLE in tags
    assert set(tags) <= {RUNNABLE, OUTPUT}
    runnable = {block.language for block in BLOCKS[page] if block.tag == RUNNABLE}
    assert runnable <= {"sh", "python"}


@pytest.mark.parametrize(
    ("page", "block"),
    [(page, block) for page in PAGES for block in BLOCKS[page]],
    ids=lambda value: value if isinstance(value, str) else f"line{value.line}",
)
def test_blocks_are_well_formed(page, block):
    if block.language == "python":
        allowed = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT  # of what is an excerpt
        compile(block.text, page, "exec", 0 if block.tag == RUNNABLE else allowed)
    elif block.language == "sh":
        subprocess.run(["bash", "-n", "-c", block.text], check=True, timeout=60)


def test_files_named_in_the_readme_exist():
    named = set(re.findall(r"\]\((?!https?:)([^)#]+)\)|^(tools/\w+)", README, re.MULTILINE))
    paths = [link or tool for link, tool in named]
    assert "tools/mount" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).is_file()] == []
