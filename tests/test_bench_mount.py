"""``tools/bench DIR``: files through a mount, each row measured here and on the plain disk."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lib.mount.command import ROWS

ROOT = Path(__file__).parents[1]


def bench(*words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench", "--rounds", "1", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        folder.mkdir()
        for number in range(5):
            turns = [{"role": "user", "content": f"{folder.name} says {number} " * 20}]
            (folder / f"{number}.json").write_text(json.dumps({"messages": turns}))
    return made


def test_each_row_of_both_filesystems(folders: list[Path]) -> None:
    one, two = (json.loads(line) for line in bench("--json", *folders).splitlines())
    assert (one["name"], two["name"]) == ("one", "two")
    assert one["files"] == 5
    assert one["bytes_in"] == sum(path.stat().st_size for path in folders[0].iterdir())
    assert one["vault_bytes"] > 0
    for seconds in (one["seconds"], one["plain_seconds"]):
        assert list(seconds) == list(ROWS)
        assert all(took > 0 for took in seconds.values())
    assert one["seconds"]["cp in"] < one["seconds"]["cp in, umount"]


def test_all_of_them_in_one_vault(folders: list[Path]) -> None:
    told = bench("--together", *folders)
    assert told.startswith("one, two: 10 files, ")
    assert [line.split("|")[1].strip() for line in told.splitlines()[4:14]] == list(ROWS)
