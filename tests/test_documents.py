"""What docs/CONTEXT.md shows is what comes out.

Blocks behind ``<!-- runnable -->`` run in order in one directory, as those of the README do. A
block behind ``<!-- output -->`` is all that the one before it printed. ``STOWKENFS_WRITE_OUTPUT=1``
writes what is printed to the page.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mount.mounted import skip_without_fuse
from tests.test_readme import ROOT, environment, mounts_under

PAGE = ROOT / "docs" / "CONTEXT.md"
TAGGED = re.compile(r"^<!-- (runnable|output) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def printed(language: str, text: str, directory: Path) -> str:
    command = {
        "python": [sys.executable, "-c", text],
        "sh": ["bash", "-euo", "pipefail", "-c", text],
    }[language]
    output = directory.parent / f"{directory.name}.output"
    with output.open("wb") as file:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
    told = output.read_text(errors="replace")
    assert done.returncode == 0, f"{text}\n{told}"
    return told


@pytest.mark.mount
def test_the_page_shows_what_comes_out(tmp_path):
    skip_without_fuse()
    directory = tmp_path / "here"
    directory.mkdir()
    page = PAGE.read_text()
    found = list(TAGGED.finditer(page))
    assert found, "the page has examples"
    told = ""
    new: list[str] = []
    end = 0
    try:
        for block in found:
            new.append(page[end : block.start(3)])
            end = block.end(3)
            if block[1] == "runnable":
                told = printed(block[2], block[3], directory)
                new.append(block[3])
            else:
                new.append(told)
    finally:
        for point in mounts_under(directory):
            subprocess.run(["fusermount3", "-u", "-z", point], check=False, timeout=60)
    new.append(page[end:])
    if os.environ.get("STOWKENFS_WRITE_OUTPUT"):
        PAGE.write_text("".join(new))
    assert "".join(new) == page
