import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    return tmp_path / "vault"


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty directory, on which nothing is left mounted."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    subprocess.run(["fusermount3", "-u", "-q", "-z", path], check=False, timeout=60)


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """A directory with two conversations."""
    path = tmp_path / "chats"
    path.mkdir()
    for number in (1, 2):
        turn = {"role": "user", "content": f"When is low water? ({number})"}
        (path / f"chat-{number}.json").write_text(json.dumps({"messages": [turn]}))
    return path
