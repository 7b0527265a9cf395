"""Training, lists, near duplicates, gc and reindex, of a vault and through its mount."""

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.program import Ended, stowkenfs

WORDS = [
    f"{a}{b}{c}" for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("nd", "rk", "st", "mp", "l")
]


def drift(seed: int) -> str:
    """A text that all seeds share, but for three words."""
    words = [WORDS[at % 50] + str(at // 50) for at in range(250)]
    for place in (seed, seed * 7, seed * 13):
        words[place % 250] = f"changed{place}"
    return " ".join(words)


def write_logs(path: Path) -> Path:
    path.mkdir()
    for seed in range(30):
        turns = [
            {"role": "system", "content": drift(seed)},
            {"role": "user", "content": f"question {seed}"},
        ]
        (path / f"{seed}.json").write_text(json.dumps({"messages": turns}))
    return path


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return write_logs(tmp_path / "logs")


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vault with ``logs`` in it, to be copied, or left as it is."""
    folder = tmp_path_factory.mktemp("imported")
    assert stowkenfs("import", folder / "vault", write_logs(folder / "logs")).code == 0
    return folder / "vault"


@pytest.fixture(params=["unmounted", pytest.param("mounted", marks=pytest.mark.mount)])
def target(
    request: pytest.FixtureRequest, imported: Path, vault: Path, mountpoint: Path
) -> Iterator[Path]:
    """A vault with ``logs`` in it, or its mount."""
    shutil.copytree(imported, vault)
    if request.param == "unmounted":
        yield vault
        return
    assert stowkenfs("mount", vault, mountpoint).code == 0
    yield mountpoint
    assert stowkenfs("umount", mountpoint).code == 0


def same(target: Path, logs: Path, tmp_path: Path) -> None:
    if not (target / ".stowken").is_dir():
        assert stowkenfs("export", target, tmp_path / "out").code == 0
        target = tmp_path / "out"
    subprocess.run(["diff", "-r", logs, target / "logs"], check=True)


def told(*arguments: str | Path) -> Ended:
    ended = stowkenfs(*arguments)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    return ended


def test_substrings_from_training_to_their_end(target, logs, tmp_path):
    assert told("substrings", target).out.startswith("there are no substrings")
    ended = told("train", "substrings", target, "--samples", "100")
    assert ended.out.startswith("Looked at ")
    listed = json.loads(told("substrings", target, "--json").out)["substrings"]
    assert listed
    assert f"{len(listed)} substring" in ended.out
    assert listed[0]["id"] in told("substrings", target).out
    ended = told("compact", target, "--what", "substrings")
    assert ended.out.startswith("Examined ")
    assert " rewritten, " in ended.out
    report = json.loads(told("compact", target, "--what", "substrings", "--json").out)
    assert report["segments_rewritten"] == 0
    report = json.loads(told("gc", target, "--what", "substrings", "--json").out)
    assert report["registry_size_before"] == len(listed)
    assert report["registry_size_after"] > 0
    same(target, logs, tmp_path)
    assert told("verify", target).out.endswith("all is well\n")


def test_dictionaries(target, logs, tmp_path):
    assert told("dictionaries", target).out.startswith("there are no dictionaries")
    report = json.loads(told("train", "dictionary", target, "--samples", "50", "--json").out)
    assert report["clean"] is True
    listed = json.loads(told("dictionaries", target, "--json").out)["dictionaries"]
    assert len(listed) == bool(report["kept"])
    ended = stowkenfs("dictionaries", target, "--activate", "abcdef")
    assert ended.code == 2
    assert ended.err.startswith("stowkenfs: ")
    told("dictionaries", target, "--activate", "none")
    if listed:
        told("dictionaries", target, "--activate", listed[0]["id"], "--force")
        assert f"* {listed[0]['id']}" in told("dictionaries", target).out
    same(target, logs, tmp_path)


def test_near_duplicates(target):
    ended = told("near-duplicates", target, "--threshold", "0.7")
    assert ended.out.startswith(
        "1 cluster of segments that are at least 0.7 alike; the search took "
    )
    report = json.loads(told("near-duplicates", target, "--min-refs", "1000", "--json").out)
    assert (report["clusters"], report["clean"]) == ([], True)


@pytest.mark.mount
def test_gc_of_what_was_deleted(logs, vault, mountpoint):
    rng = random.Random(1)
    for number in range(20):
        (logs / f"{number}.bin").write_bytes(rng.randbytes(50_000))
    assert stowkenfs("import", vault, logs).code == 0
    assert stowkenfs("mount", vault, mountpoint).code == 0
    for number in range(20):
        (mountpoint / "logs" / f"{number}.bin").unlink()
        (logs / f"{number}.bin").unlink()
    dry = json.loads(told("gc", mountpoint, "--dry-run", "--json").out)
    assert dry["dry_run"] is True
    assert dry["estimated_bytes"] > 500_000
    assert told("gc", mountpoint, "--dry-run").out.startswith("Nothing was dropped. A collection")
    report = json.loads(told("gc", mountpoint, "--json").out)
    assert report["bytes_after"] < report["bytes_before"] - 900_000
    subprocess.run(["diff", "-r", logs, mountpoint / "logs"], check=True)
    assert stowkenfs("umount", mountpoint).code == 0
    assert told("gc", vault).out.startswith("There was nothing to do")
    assert told("verify", vault).out.endswith("all is well\n")


def test_reindex(target, logs, tmp_path):
    ended = told("reindex", target)
    assert ended.out.startswith("Made an index from ")
    assert ended.out.endswith("nothing is missing\n")
    assert json.loads(told("reindex", target, "--json").out)["clean"] is True
    same(target, logs, tmp_path)


@pytest.mark.parametrize("what", ["lost", "damaged"])
def test_reindex_without_a_good_index(what, logs, imported, vault, tmp_path):
    shutil.copytree(imported, vault)
    for path in vault.glob("index.db*"):
        path.unlink()
    if what == "damaged":
        (vault / "index.db").write_bytes(b"not a database" * 100)
    told("reindex", vault)
    same(vault, logs, tmp_path)
    assert told("verify", vault).out.endswith("all is well\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "substrings", "--samples", "none"],
        ["train", "substrings", "--min-occurrences", "1"],
        ["train", "dictionary", "--samples", "0"],
        ["train", "words"],
        ["train"],
        ["dictionaries", "--force"],
        ["dictionaries", "--activate", "../x"],
        ["near-duplicates", "--threshold", "1.5"],
        ["near-duplicates", "--limit", "0"],
        ["gc", "--what", "records"],
        ["gc", "--what", "substrings", "--dry-run"],
        ["compact", "--what", "substrings", "--level", "3"],
    ],
)
def test_wrong_usage_ends_with_2_and_touches_nothing(arguments, imported):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in imported.iterdir())
    ended = stowkenfs(*arguments, imported)
    assert ended.code == 2
    assert ended.err
    assert sorted((path.name, path.stat().st_mtime_ns) for path in imported.iterdir()) == before


@pytest.mark.mount
def test_a_read_only_mount_runs_no_job_and_says_so(imported, vault, mountpoint):
    shutil.copytree(imported, vault)
    assert stowkenfs("mount", vault, mountpoint, "-o", "ro").code == 0
    ended = stowkenfs("gc", mountpoint)
    assert ended.code == 1
    assert f"{mountpoint} is mounted read-only, where no job runs: unmount it" in ended.err
    with pytest.raises(OSError, match="Read-only file system"):
        (mountpoint / ".stowken" / "train" / "substrings").write_text("1\n")
    assert told("substrings", mountpoint).out.startswith("there are no substrings")
    assert told("stats", mountpoint).out.startswith("files  ")
    assert stowkenfs("umount", mountpoint).code == 0


@pytest.mark.mount
def test_a_refusal_is_told_by_the_file_and_not_with_lists(imported, vault, mountpoint):
    shutil.copytree(imported, vault)
    assert stowkenfs("mount", vault, mountpoint).code == 0
    control = mountpoint / ".stowken" / "dictionaries"
    with pytest.raises(OSError, match="Invalid argument"):
        control.write_text("abc\n")
    assert "refused: no dictionaries have an id like 'abc'" in control.read_text()
    assert "refused" not in told("dictionaries", mountpoint).out
    assert stowkenfs("umount", mountpoint).code == 0


@pytest.mark.parametrize(
    "command",
    [
        ["train", "substrings"],
        ["train", "dictionary"],
        ["dictionaries"],
        ["substrings"],
        ["near-duplicates"],
        ["gc"],
        ["reindex"],
    ],
)
def test_a_vault_that_is_not_there_is_not_made(command, vault, tmp_path):
    ended = stowkenfs(*command, vault)
    assert (ended.code, ended.err) == (1, f"stowkenfs: there is no vault {vault}\n")
    other = tmp_path / "other"
    shutil.copytree(Path(__file__).parent, other)
    ended = stowkenfs(*command, other)
    assert ended.code == 4
    assert "is not a stowkenfs vault" in ended.err
