"""The contract of substrings, kept through a mount: shells write, daemons come and go.

The scenarios are those of tests/vault, with files for conversations and redirections for calls.
"""

import json
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.mount.conftest import SOON, MakeMount
from tests.mount.mounted import Mount

WORDS = [
    f"{a}{b}{c}" for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("nd", "rk", "st", "mp", "l")
]
KINDS_REFERRING = ("0x04", "0x05")


def drift(seed: int, length: int = 250) -> str:
    """A long text that all seeds share, but for three words."""
    words = [WORDS[at % len(WORDS)] + str(at // len(WORDS)) for at in range(length)]
    for number, place in enumerate((seed, seed * 7, seed * 13)):
        words[place % length] = f"changed{(seed * 17 + number * 11) % 5000}"
    return " ".join(words)


def conversation(system: str, user: str) -> bytes:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
    return json.dumps({"model": "gpt-4o", "messages": messages}).encode()


class Vaulted:
    """A mounted vault, what was written to it, and a shell in it."""

    def __init__(self, mount: Mount) -> None:
        self.mount = mount
        self.files: dict[str, bytes] = {}

    def shell(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.mount.path,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def do(self, command: str) -> str:
        done = self.shell(command)
        assert done.returncode == 0, f"{command}: {done.stderr}{self.mount.log()[-2000:]}"
        return done.stdout

    def ask(self, name: str, words: str = "1") -> Any:
        """The report of a job."""
        self.do(f"echo '{words}' > .stowken/{name}")
        return self.json(name)

    def json(self, name: str) -> Any:
        return json.loads(self.do(f"cat .stowken/{name}.json"))

    def store(self, name: str, system: str, user: str) -> None:
        content = self.files[f"{name}.json"] = conversation(system, user)
        path = Path(self.mount.path, f"{name}.json")
        path.write_bytes(content)

    def store_drift(self, count: int, first: int = 0, length: int = 250) -> None:
        for seed in range(first, first + count):
            self.store(f"seed-{seed}", drift(seed, length), f"question {seed * 31}")
        self.mount.wait_sealed()

    def train(self, samples: int = 30) -> Any:
        return self.ask("train/substrings", f"samples={samples} min_occurrences=5")

    def substrings(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = self.json("substrings")["substrings"]
        return listed

    def frame(self, name: str) -> str:
        """How the system prompt of a file is stored."""
        first = json.loads(self.do(f"head -n 1 '.stowken/tokens/{name}.json'"))
        assert first["type"] == "system_prompt"
        kind: str = first["frame"]
        return kind

    def frames(self) -> dict[str, dict[str, int]]:
        frames: dict[str, dict[str, int]] = self.json("stats")["frames"]
        return frames

    def frame_bytes(self) -> int:
        return sum(kind["bytes"] for kind in self.frames().values())

    def assert_same(self) -> None:
        for name, content in self.files.items():
            assert (self.mount.path / name).read_bytes() == content, name

    def remount(self) -> None:
        self.mount.remount()
        self.assert_same()


@pytest.fixture
def vault(make_mount: MakeMount) -> Vaulted:
    return Vaulted(make_mount(SOON))


def test_an_empty_vault_gives_an_empty_list(vault: Vaulted) -> None:
    report = vault.ask("train/substrings", "samples=50 min_occurrences=5")
    assert report["promoted"] == []
    assert vault.substrings() == []
    assert "there are no substrings" in vault.do("cat .stowken/substrings")


def test_discovery_promotes_frequent_runs(vault: Vaulted) -> None:
    vault.store_drift(30, length=200)
    assert vault.substrings() == []
    report = vault.train()
    assert report["promoted"]
    listed = vault.substrings()
    assert len(listed) == len(report["promoted"])
    for info in listed:
        assert info["length"] >= 16
        assert info["source_occurrences"] >= 5
        assert info["created_at"] > 1e9
        assert info["id"] in vault.do("cat .stowken/substrings")
    vault.remount()
    assert vault.substrings() == listed


def test_what_is_stored_after_training_refers_to_it(vault: Vaulted) -> None:
    vault.store("pre", drift(1), "before")
    vault.store_drift(30, first=100)
    assert vault.frames().get("0x05", {"frames": 0})["frames"] == 0
    vault.train()
    assert vault.frame("pre") in ("0x01", "0x02")
    vault.store("post-train", drift(999), "after")
    vault.mount.wait_sealed()
    assert vault.frame("post-train") == "0x05"
    vault.assert_same()
    listed = vault.substrings()
    vault.remount()
    assert vault.substrings() == listed
    assert vault.frame("post-train") == "0x05"
    assert vault.frame("pre") in ("0x01", "0x02")


def test_without_training_nothing_refers_to_anything(vault: Vaulted) -> None:
    vault.store("only", drift(0, 200), "a question")
    vault.mount.wait_sealed()
    vault.assert_same()
    assert vault.frame("only") not in KINDS_REFERRING
    assert vault.substrings() == []


def test_compaction_rewrites_what_is_older(vault: Vaulted) -> None:
    vault.store_drift(30)
    before, stored = vault.frame_bytes(), vault.json("stats")["storage_bytes"]
    vault.train()
    assert vault.frame_bytes() == before, "training rewrites nothing"
    report = vault.ask("compact", "what=substrings")
    assert report["segments_rewritten"] > 0
    assert report["bytes_saved"] > 0
    assert report["kept"] is True
    assert vault.frame_bytes() < before
    assert vault.json("stats")["storage_bytes"] < stored, "the registry is counted"
    vault.assert_same()
    again = vault.ask("compact", "what=substrings")
    assert again["segments_rewritten"] == 0
    assert again["segments_skipped"] >= report["segments_rewritten"]
    vault.remount()
    assert vault.json("verify") is None
    vault.do("echo 1 > .stowken/verify")


def test_compaction_skips_deltas_and_what_refers_already(make_mount: MakeMount) -> None:
    vault = Vaulted(make_mount(f"{SOON},near_dedup=0.8"))
    canonical = drift(3000, 200)
    words = canonical.split()
    words[10], words[100] = "otherwise1", "otherwise2"
    vault.store("canon", canonical, "one")
    vault.mount.wait_sealed()
    vault.store("variant", " ".join(words), "two")
    vault.mount.wait_sealed()
    assert vault.frame("variant") == "0x04"
    vault.store_drift(30)
    vault.train()
    vault.store("substr", drift(999), "three")
    vault.mount.wait_sealed()
    report = vault.ask("compact", "what=substrings")
    assert report["segments_skipped"] >= 1
    assert vault.frame("variant") == "0x04"
    vault.assert_same()
    vault.remount()


def test_collection_drops_what_nothing_refers_to(vault: Vaulted) -> None:
    vault.store_drift(30)
    vault.train()
    before = len(vault.substrings())
    assert before > 0
    report = vault.ask("gc", "what=substrings")
    assert report["registry_size_before"] == before
    assert report["registry_size_after"] == 0
    assert report["substrings_dropped"] == before
    assert vault.substrings() == []
    assert f"Dropped {before} of {before} substring" in vault.do("cat .stowken/gc")
    vault.remount()
    assert vault.substrings() == []


def test_collection_keeps_what_compaction_used(vault: Vaulted) -> None:
    vault.store_drift(30)
    vault.train()
    vault.do("echo what=substrings > .stowken/compact")
    before = len(vault.substrings())
    report = vault.ask("gc", "what=substrings")
    assert report["registry_size_before"] == before
    assert report["registry_size_after"] > 0
    kept = vault.substrings()
    assert len(kept) == report["registry_size_after"]
    vault.assert_same()
    vault.remount()
    assert vault.substrings() == kept
    again = vault.ask("gc", "what=substrings")
    assert again["substrings_dropped"] == 0
    vault.assert_same()
    vault.do("echo 1 > .stowken/verify")


def test_a_shell_sees_what_was_refused_and_why(vault: Vaulted) -> None:
    vault.store_drift(3)
    done = vault.shell("echo 'samples=abc' > .stowken/train/substrings")
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr
    told = vault.do("cat .stowken/train/substrings")
    assert "refused: samples is a whole number from 1 to 1,000,000,000, not 'abc'" in told
    assert vault.do("cat .stowken/progress") == ""
    assert vault.json("train/substrings") is None
    vault.do("echo > .stowken/train/substrings")
    assert "refused" not in vault.do("cat .stowken/train/substrings")


# Dictionaries, near duplicates, collecting, rebuilding


def chatter(number: int) -> str:
    place = WORDS[number * 7 % len(WORDS)]
    return (
        f"Please check the weather forecast for the harbour of {place} before we sail on day "
        f"{number}, and tell me how high the waves are going to be in the afternoon."
    )


def test_a_dictionary_from_training_to_a_remount(vault: Vaulted) -> None:
    for number in range(300):
        vault.store(f"chat-{number}", f"Answer as a sailor would. {number}", chatter(number))
    vault.mount.wait_sealed()
    assert vault.json("dictionaries") == {"dictionaries": [], "activation": None}
    report = vault.ask("train/dictionary", "samples=200")
    assert report["clean"] is True
    listed = vault.json("dictionaries")["dictionaries"]
    if not report["kept"]:
        assert listed == []
        assert "No dictionary was kept: " in vault.do("cat .stowken/train/dictionary")
        return
    (info,) = listed
    assert info["is_active"] is False
    assert info["size_bytes"] > 0
    assert info["sample_count"] > 0
    done = vault.shell(f"echo {info['id']} > .stowken/dictionaries")
    if done.returncode:
        assert "Operation not permitted" in done.stderr
        assert "It failed: " in vault.do("cat .stowken/dictionaries")
        vault.do(f"echo {info['id']} force=yes > .stowken/dictionaries")
    assert f"* {info['id']}" in vault.do("cat .stowken/dictionaries")
    vault.store("later", "Answer as a sailor would. later", chatter(1000))
    vault.mount.wait_sealed()
    vault.remount()
    (info,) = vault.json("dictionaries")["dictionaries"]
    assert info["is_active"] is True
    vault.do("echo none > .stowken/dictionaries")
    assert vault.json("dictionaries")["dictionaries"][0]["is_active"] is False
    vault.remount()
    assert vault.json("dictionaries")["dictionaries"][0]["is_active"] is False


def test_an_unknown_dictionary_is_refused(vault: Vaulted) -> None:
    done = vault.shell("echo abcdef > .stowken/dictionaries")
    assert done.returncode != 0
    assert "Invalid argument" in done.stderr
    assert "refused" in vault.do("cat .stowken/dictionaries")


def test_near_duplicates_are_found(vault: Vaulted) -> None:
    vault.store_drift(4)
    report = vault.ask("near-duplicates", "threshold=0.7 limit=5")
    (cluster,) = report["clusters"]
    assert cluster
    assert report["threshold"] == 0.7
    assert vault.do("cat .stowken/near-duplicates").startswith("1 cluster of segments")
    assert vault.ask("near-duplicates", "min_refs=100")["clusters"] == []


def test_deleted_files_give_back_their_room(vault: Vaulted) -> None:
    for number in range(40):
        name = f"{number}.bin"
        vault.files[name] = bytes(f"{number} ", "ascii") * 3 + random.Random(number).randbytes(
            50_000
        )
        (vault.mount.path / name).write_bytes(vault.files[name])
    vault.mount.wait_sealed()
    for number in range(0, 40, 2):
        (vault.mount.path / f"{number}.bin").unlink()
        del vault.files[f"{number}.bin"]
    vault.do("sync .")
    before = vault.json("stats")["disk_bytes"]
    report = vault.ask("gc", "dry-run=yes")
    assert report["dry_run"] is True
    assert report["estimated_bytes"] > 900_000
    assert "Nothing was dropped. A collection would free about" in vault.do("cat .stowken/gc")
    assert vault.json("stats")["disk_bytes"] >= before - 100_000
    report = vault.ask("gc")
    assert report["bytes_after"] < before - 900_000
    assert " on disk before, " in vault.do("cat .stowken/gc")
    vault.assert_same()
    vault.remount()
    assert vault.json("stats")["disk_bytes"] < before - 900_000
    vault.do("echo 1 > .stowken/verify")
    assert vault.ask("gc")["freed"]["records"]["count"] == 0


def test_the_index_is_rebuilt_in_use(vault: Vaulted) -> None:
    vault.store_drift(5)
    (vault.mount.path / "seed-3.json").chmod(0o640)
    report = vault.ask("reindex")
    assert report["clean"] is True
    assert "nothing is missing" in vault.do("cat .stowken/reindex")
    vault.assert_same()
    vault.remount()
    assert (vault.mount.path / "seed-3.json").stat().st_mode & 0o777 == 0o640
    vault.do("echo 1 > .stowken/verify")
