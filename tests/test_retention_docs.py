"""What docs/RETENTION.md shows works as shown, from its first block to its last."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_readme import FENCED, ROOT, TAG, environment, mounts_under

PAGE = (ROOT / "docs" / "RETENTION.md").read_text()


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for point in mounts_under(tmp_path):  # of a block that failed before it unmounted
        subprocess.run(["fusermount3", "-u", "-z", point], check=False, timeout=60)


@pytest.mark.mount
def test_the_blocks_run_in_order(directory: Path) -> None:
    ran = 0
    for found in FENCED.finditer(PAGE):
        if not PAGE.endswith(f"{TAG}\n", 0, found.start()):
            continue
        command = {
            "sh": ["bash", "-euo", "pipefail", "-c", found[2]],
            "python": [sys.executable, "-c", found[2]],
        }[found[1]]
        output = directory.parent / f"{directory.name}.output"
        with output.open("wb") as file:  # which a daemon may keep open
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
        assert done.returncode == 0, f"{found[2]}\n{output.read_text(errors='replace')}"
        ran += 1
    assert ran == PAGE.count(TAG) == 8
    assert mounts_under(directory) == [], "the page leaves something mounted"
