"""``tools/bench --models`` tells what models make of segments, on a small directory."""

import json
import random
import subprocess
import sys
from pathlib import Path

from lib.models import command

ROOT = Path(__file__).parent.parent
WORDS = [
    "the",
    "model",
    "says",
    "that",
    "a",
    "tool",
    "was",
    "called",
    "with",
    "these",
    "words",
    "and",
    "gave",
    "another",
    "one",
]


def test_bytes_and_speed_of_a_directory(tmp_path: Path) -> None:
    chance = random.Random(5)
    folder = tmp_path / "chats"
    folder.mkdir()
    for number in range(60):
        messages = [
            {"role": role, "content": " ".join(chance.choices(WORDS, k=60))}
            for role in ("user", "assistant")
        ]
        (folder / f"{number}.json").write_text(json.dumps({"messages": messages}))
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "bench", "--models", "--json", "--corpora", folder],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    model, dictionary = told["model"], told["dictionary"]
    assert told["segments"] == 120
    assert 0 < model["coded_bytes"] < told["frames_bytes"] < told["text_bytes"]
    assert 0 < dictionary["coded_bytes"] < told["frames_bytes"]
    assert 0 < told["held_out"]["model_bytes"] < told["held_out"]["text_bytes"] / 4
    assert told["sealed_bytes"] > 0
    tables = [command.bytes_table([told]), command.speed_table([told])]
    for table in tables:
        header, _, row = table.splitlines()
        assert header.count("|") == row.count("|")
        assert row.startswith("| chats")
