"""Jobs of a mount: compaction, where the bytes are, one job at a time, and stopping it."""

import errno
import json
import os
import random
import re
import subprocess
import threading
import time

import pytest

from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount

WORDS = ["cod", "eel", "hake", "ling", "perch", "skate", "sprat", "tench", "trout", "turbot"]


def chat(seed: int, n_words: int) -> bytes:
    rng = random.Random(seed)
    text = " ".join(f"{word}{rng.randrange(5000)}" for word in rng.choices(WORDS, k=n_words))
    return json.dumps({"messages": [{"role": "user", "content": text}]}).encode()


def fill(mount: Mount, n_files: int, n_words: int = 300) -> dict[str, bytes]:
    files = {f"chats/{number}.json": chat(number, n_words) for number in range(n_files)}
    (mount.path / "chats").mkdir(exist_ok=True)
    for name, content in files.items():
        (mount.path / name).write_bytes(content)
    mount.wait_sealed()
    return files


def ask(mount: Mount, name: str, words: str = "1") -> int:
    """Write to a control file; 0, or the errno."""
    try:
        with (mount.control / name).open("wb", buffering=0) as file:
            file.write(f"{words}\n".encode())
    except OSError as error:
        return error.errno or -1
    return 0


def shown(mount: Mount, name: str) -> str:
    return (mount.control / name).read_text()


def fill_slowly_compacted(mount: Mount) -> dict[str, bytes]:
    """What takes seconds to compress at the highest level."""
    rng = random.Random(9)
    files = {f"{number}.bin": rng.randbytes(1 << 19).hex().encode() for number in range(16)}
    for name, content in files.items():
        (mount.path / name).write_bytes(content)
    mount.wait_sealed()
    return files


class Asked(threading.Thread):
    """A request that takes long; ``code`` is what ``ask`` gave."""

    def __init__(self, mount: Mount, name: str, words: str = "1") -> None:
        super().__init__(daemon=True)
        self._request = (mount, name, words)
        self.code: int | None = None
        self.start()
        deadline = time.monotonic() + 30
        while f"running: {name}" not in shown(mount, "jobs"):
            assert self.is_alive(), "it was over too soon to be looked at"
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def run(self) -> None:
        self.code = ask(*self._request)

    def over(self) -> int | None:
        self.join(60)
        assert not self.is_alive()
        return self.code


def test_compact_and_again(mount: Mount) -> None:
    assert "not run" in shown(mount, "compact")
    assert json.loads(shown(mount, "compact.json")) is None
    files = fill(mount, 60)
    assert ask(mount, "compact") == 0
    first = shown(mount, "compact")
    assert first.startswith("Compacted 60 files with ")
    assert "on disk before, " in first
    report = json.loads(shown(mount, "compact.json"))
    assert report["clean"] is True
    assert report["report"]["documents"] == 60
    assert report["bytes_after"] < report["bytes_before"]
    assert report["seconds"] > 0
    assert "compact: done after" in shown(mount, "progress")
    assert "past: compact, since " in shown(mount, "jobs")

    assert ask(mount, "compact", "level=3") == 0
    assert shown(mount, "compact").startswith("There was nothing to do: all is compacted.")
    assert json.loads(shown(mount, "compact.json"))["nothing_to_do"] is True
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    mount.remount()
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    assert ask(mount, "verify") == 0


def test_stats_and_where_of_what_is_compacted(mount: Mount) -> None:
    fill(mount, 30)
    (mount.path / "other").mkdir()
    (mount.path / "other" / "raw").write_bytes(random.Random(1).randbytes(50_000))
    mount.wait_sealed()
    assert "░ not compacted yet" in shown(mount, "stats")
    assert ask(mount, "compact") == 0
    stats = json.loads(shown(mount, "stats.json"))
    assert stats["documents"] == 31
    assert stats["dense_segments"] == stats["segments"] >= 30
    kinds = {kind["kind"]: kind["stored_bytes"] for kind in stats["kinds"]}
    assert sum(kinds.values()) == stats["disk_bytes"]
    assert kinds["segments"] > 50_000
    assert "compacted" in shown(mount, "stats")
    where = json.loads(shown(mount, "where.json"))
    folders = {folder["name"]: folder for folder in where["where"]["folders"]}
    assert set(folders) == {"chats", "other"}
    # A block's bytes are divided by length, so neighbours in it blur.
    assert sum(folder["stored_bytes"] for folder in folders.values()) > 50_000
    assert folders["other"]["bytes_in"] == 50_000
    page = shown(mount, "where")
    assert "segments" in page
    assert "By folder of /" in page


def test_hostile_folder_names_are_harmless(mount: Mount) -> None:
    names = [
        b"new\nline",
        b"\x1b[2J\x1b[31mred",
        b"\xff\xfe",
        "\u202eesrever".encode(),
        "潮".encode(),
    ]
    for name in names:
        folder = mount.path / os.fsdecode(name)
        folder.mkdir()
        (folder / "file").write_bytes(b"x" * 100)
    mount.wait_sealed()
    page = shown(mount, "where")
    rows = page[page.index("By folder") :].splitlines()
    assert len([row for row in rows if re.search(" 1 +100 B ", row)]) == len(names)
    assert all(c == "\n" or c.isprintable() for c in page)
    for told in (r"new\nline", r"\x1b[2J", r"\xff\xfe", r"\u202eesrever", "潮"):
        assert told in page
    folders = json.loads(shown(mount, "where.json"))["where"]["folders"]
    assert {folder["name"] for folder in folders} == {
        name.decode("utf-8", "backslashreplace") for name in names
    }


def test_cancel_while_files_are_read(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0")
    files = fill_slowly_compacted(mount)
    compacting = Asked(mount, "compact", "level=22")
    assert ask(mount, "verify") == errno.EBUSY
    assert "refused: compact is running" in shown(mount, "verify")
    read = 0
    for name in list(files)[:10]:
        assert (mount.path / name).read_bytes() == files[name]
        read += compacting.is_alive()
    assert read, "some were read while it ran"
    assert "job: compact\n" in shown(mount, "status")
    assert ask(mount, "jobs", "cancel") == 0
    assert compacting.over() == errno.ECANCELED
    assert shown(mount, "compact").startswith("Cancelled after ")
    report = json.loads(shown(mount, "compact.json"))
    assert (report["cancelled"], report["clean"], report["report"]) == (True, False, None)
    jobs = shown(mount, "jobs").splitlines()
    assert jobs[0] == "running: none"
    assert "past: compact, since " in jobs[1]
    assert ", cancelled after " in jobs[1]
    assert ask(mount, "jobs", "cancel") == errno.EINVAL
    assert "refused: no job is running" in shown(mount, "jobs")

    assert ask(mount, "compact", "level=1") == 0  # goes on
    assert json.loads(shown(mount, "compact.json"))["clean"] is True
    for name, content in files.items():
        assert (mount.path / name).read_bytes() == content
    assert ask(mount, "verify") == 0


@pytest.mark.parametrize("options", ["seal_after=0", "seal_after=0,writeback"])
def test_a_second_job_is_refused_at_once(make_mount: MakeMount, options) -> None:
    """Also by the same file, whose second writer the kernel would let wait for the first."""
    mount = make_mount(options)
    fill_slowly_compacted(mount)
    compacting = Asked(mount, "compact", "level=22")
    for name in ("compact", "compact.json", "verify", "train/substrings", "gc", "dictionaries"):
        for redirection in (">", ">>"):
            done = subprocess.run(
                ["bash", "-c", f"echo 1 {redirection} {mount.control}/{name}"],
                capture_output=True,
                text=True,
                check=False,
                timeout=20,
            )
            assert done.returncode != 0
            assert "Device or resource busy" in done.stderr, name
        shown_in = name.removesuffix(".json")
        assert "refused: compact is running; .stowken/progress shows" in shown(mount, shown_in)
    assert compacting.is_alive(), "none of them waited"
    assert ask(mount, "jobs", "cancel") == 0
    assert compacting.over() == errno.ECANCELED
    assert ask(mount, "compact", "level=1") == 0
    assert "refused" not in shown(mount, "compact")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("compact", "level=0"),
        ("compact", "level=23"),
        ("compact", "speed=9"),
        ("compact", "cancel"),
        ("compact", "what=words"),
        ("train/substrings", "samples=abc"),
        ("train/substrings", "samples=0"),
        ("train/substrings", "min_occurrences=1"),
        ("train/dictionary", "activate=maybe"),
        ("train/dictionary", "samples=5 samples=6"),
        ("dictionaries", "1"),
        ("dictionaries", "../../etc"),
        ("near-duplicates", "threshold=0"),
        ("near-duplicates", "limit=ten"),
        ("gc", "dry-run=perhaps"),
        ("gc", "what=substrings dry-run=yes"),
        ("reindex", "now"),
        ("jobs", "stop"),
        ("jobs", "1"),
        ("jobs", ""),
    ],
)
def test_words_that_are_refused(shared: Mount, name, words) -> None:
    assert ask(shared, name, words) == errno.EINVAL
    assert "refused: " in shown(shared, name)
    assert shown(shared, "progress") == ""


def test_the_mount_ends_though_a_job_runs(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0")
    fill_slowly_compacted(mount)
    compacting = Asked(mount, "compact", "level=22")
    began = time.monotonic()
    subprocess.run(["kill", "-TERM", str(mount.pid)], check=True)
    assert mount.wait_gone() == 0
    assert time.monotonic() - began < 20
    assert compacting.over() != 0
    mount.start()
    assert ask(mount, "verify") == 0
