"""Jobs of a mounted vault, killed with its daemon at random moments, and the mount after that."""

import json
import os
import random
import subprocess
import threading
import time
from pathlib import Path

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, cli_command, environment

KILL_ROUNDS = int(os.environ.get("STOWKENFS_KILL_ROUNDS", "2"))
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]
SECONDS_MAX = 1.5
"""As long as the longest job takes."""

JOBS = (
    ("train/substrings", "samples=200 min_occurrences=3"),
    ("compact", "what=substrings"),
    ("gc", "what=substrings"),
    ("train/dictionary", "samples=200 activate=yes"),
    ("gc", "1"),
    ("compact", "1"),
    ("reindex", "1"),
)
"""In an order in which each has something to do."""

TOTAL = "reindex, unmounted"


def drift(seed: int, turns: int = 6) -> bytes:
    """A conversation of which each text nearly is one of a few, but for some words."""
    rng = random.Random(seed % 5)
    messages = []
    for at in range(turns):
        words = rng.choices(WORDS, k=120)
        for place in (seed % 120, seed * 7 % 120, seed * 13 % 120):
            words[place] = f"w{seed}x{place}"
        messages.append({"role": "user" if at % 2 else "assistant", "content": " ".join(words)})
    return json.dumps({"id": f"c{seed}", "messages": messages}).encode()


def write_files(folder: Path, start: int, count: int) -> dict[Path, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"chat-{n}.json": drift(n) for n in range(start, start + count)}
    for path, content in files.items():
        path.write_bytes(content)
    return files


def assert_same(mount: Mount, files: dict[Path, bytes], gone: set[Path], job: str) -> None:
    different = [path.name for path, content in files.items() if path.read_bytes() != content]
    assert not different, (job, mount.log()[-3000:])
    back = [path for path in gone if path.exists()]
    assert not back, (job, back)


class Request(threading.Thread):
    """Words written to a control file, in a thread; the daemon may die meanwhile."""

    def __init__(self, mount: Mount, name: str, words: str) -> None:
        super().__init__(daemon=True)
        self._path = mount.control / name
        self._words = words
        self.start()

    def run(self) -> None:
        try:
            with self._path.open("wb", buffering=0) as file:
                file.write(self._words.encode() + b"\n")
        except OSError:  # refused, stopped, or nobody there any more
            pass


def kill_rebuilding(mount: Mount, seconds: float) -> None:
    """Lose the index of a vault that is not mounted; kill its rebuilding."""
    mount.unmount()
    for path in mount.vault.glob("index.db*"):
        path.unlink()
    rebuilding = subprocess.Popen(
        cli_command("reindex", mount.vault),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        rebuilding.wait(seconds)
    except subprocess.TimeoutExpired:
        rebuilding.kill()
        rebuilding.wait()
    mount.start()


def test_jobs_survive_kills_at_random_moments(make_mount: MakeMount, say) -> None:
    mount = make_mount("seal_after=0,workers=1")
    chance = random.Random(KILL_ROUNDS)
    files: dict[Path, bytes] = {}
    gone: set[Path] = set()
    killed: dict[str, int] = {}
    for at in range(KILL_ROUNDS):
        files |= write_files(mount.path / f"round {at}", at * 100, 40)
        for path in chance.sample(sorted(files), len(files) // 4):
            path.unlink()
            gone.add(path)
            del files[path]
        name, words = chance.choice((*JOBS, (TOTAL, "")))
        seconds = chance.random() * SECONDS_MAX
        killed[name] = killed.get(name, 0) + 1
        if name == TOTAL:
            kill_rebuilding(mount, seconds)
        else:
            for before, its_words in JOBS:
                if (before, its_words) == (name, words):
                    break
                if chance.random() < 0.4:
                    Request(mount, before, its_words).join(60)
            request = Request(mount, name, words)
            time.sleep(seconds)
            mount.crash()
            request.join(10)
        assert_same(mount, files, gone, name)
        if at % 10 == 9 or at == KILL_ROUNDS - 1:
            (mount.control / "verify").write_text("1\n")
    say(f"{KILL_ROUNDS} kills, 0 lost: {killed}")
    for name, words in JOBS:
        Request(mount, name, words).join(100)
        assert_same(mount, files, gone, name)
    mount.remount()
    assert_same(mount, files, gone, "all")
    (mount.control / "verify").write_text("1\n")
