"""Compaction of a mounted vault: beside programs, killed, on a full disk."""

import errno
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount

KILL_ROUNDS = int(os.environ.get("STOWKENFS_KILL_ROUNDS", "2"))
WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in ("n", "r", "st", "")]


def chat(seed: int, turns: int = 12) -> bytes:
    rng = random.Random(seed - seed % 3)
    messages = [
        {"role": "user" if at % 2 else "assistant", "content": " ".join(rng.choices(WORDS, k=60))}
        for at in range(turns - seed % 3)
    ]
    return json.dumps({"id": f"c{seed}", "messages": messages}, indent=1).encode()


def write_files(folder: Path, start: int, end: int) -> dict[Path, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    files = {folder / f"chat-{n}.json": chat(n) for n in range(start, end)}
    files[folder / f"{start}.jsonl"] = b"".join(
        json.dumps(json.loads(chat(n))).encode() + b"\n" for n in range(start, end, 5)
    )
    for path, content in files.items():
        path.write_bytes(content)
    return files


def assert_same(files: dict[Path, bytes]) -> None:
    different = [path.name for path, content in files.items() if path.read_bytes() != content]
    assert not different


class Compacting(threading.Thread):
    """``echo 1 > compact``, in a thread; ``error`` is what the write was answered."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(daemon=True)
        self._path = mount.control / "compact"
        self.error: OSError | None = None
        self.start()

    def run(self) -> None:
        try:
            with self._path.open("wb", buffering=0) as file:
                file.write(b"1\n")
        except OSError as error:
            self.error = error


def compact(mount: Mount) -> None:
    compacting = Compacting(mount)
    compacting.join(100)
    assert not compacting.is_alive()
    assert compacting.error is None, compacting.error


def test_killed_amid_compaction(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0,workers=2")
    chance = random.Random(KILL_ROUNDS)
    files: dict[Path, bytes] = {}
    began = time.monotonic()
    for at in range(KILL_ROUNDS):
        files |= write_files(mount.path / f"round {at}", at * 1000, at * 1000 + 120)
        mount.wait_sealed()
        if at == 0:
            began = time.monotonic()
        compacting = Compacting(mount)
        # The first one is measured, so that the others are killed somewhere inside of it.
        if at == 0:
            compacting.join(60)
            took = time.monotonic() - began
        else:
            compacting.join(chance.random() * took)
        mount.crash()
        compacting.join(10)
        assert_same(files)
    compact(mount)
    assert_same(files)
    (mount.control / "verify").write_text("1\n")
    stats = json.loads((mount.control / "stats.json").read_text())
    assert stats["segments"] == stats["dense_segments"]
    mount.remount()
    assert_same(files)


def test_programs_go_on_beside_it(make_mount: MakeMount) -> None:
    """Whatever is read, written, renamed and removed meanwhile is what it should be."""
    mount = make_mount("seal_after=0,workers=2")
    old = write_files(mount.path / "old", 0, 300)
    mount.wait_sealed(60)
    compacting = Compacting(mount)
    chance = random.Random(3)
    new: dict[Path, bytes] = {}
    at = 0
    while len(old) > 1 and (compacting.is_alive() or at < 20):
        at += 1
        path = chance.choice(list(old))
        assert path.read_bytes() == old[path]
        what = at % 5
        if what == 0:
            new |= write_files(mount.path / f"new {at}", 10_000 + at, 10_003 + at)
        elif what == 1:
            with path.open("ab") as file:
                file.write(b"more\n")
            old[path] += b"more\n"
        elif what == 2:
            renamed = path.with_name(f"renamed {at}")
            path.rename(renamed)
            old[renamed] = old.pop(path)
        elif what == 3:
            path.unlink()
            del old[path]
        else:
            os.truncate(path, len(old[path]) // 2)
            old[path] = old[path][: len(old[path]) // 2]
    compacting.join()
    assert compacting.error is None
    assert_same(old | new)
    mount.wait_sealed(60)
    compact(mount)
    assert_same(old | new)
    mount.crash()
    assert_same(old | new)
    found = {path for path in mount.path.rglob("*") if path.is_file()}
    assert found == set(old | new)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of a few megabytes."""
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "none", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small filesystem takes root")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_stops_it_and_nothing_is_lost(small_disk: Path) -> None:
    mount = Mount(small_disk, "seal_after=0").start()
    mount.expected = ["No space left", "ENOSPC", "Traceback", "full"]
    try:
        files = write_files(mount.path / "a", 0, 300)
        mount.wait_sealed(60)
        filler = small_disk / "filler"
        free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        filler.write_bytes(bytes(max(free - 40_000, 0)))
        compacting = Compacting(mount)
        compacting.join(60)
        assert compacting.error is not None
        assert compacting.error.errno == errno.ENOSPC
        assert_same(files)
        filler.unlink()
        compact(mount)
        assert_same(files)
        mount.remount()
        assert_same(files)
        (mount.control / "verify").write_text("1\n")
        mount.unmount()
    finally:
        mount.close()
