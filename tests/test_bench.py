"""``tools/bench --density`` tells what is there, on a directory that takes seconds."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lib.density import tables
from lib.density.corpora import CORPORA, Corpus, find_corpora, write_log
from lib.density.sizes import archive_bytes, disk_bytes
from lib.density.watch import Watched, child

from tests.documents.corpora import unpacked

ROOT = Path(__file__).parents[1]
WORDS = [
    "the",
    "a",
    "model",
    "reads",
    "writes",
    "files",
    "blocks",
    "of",
    "and",
    "with",
    "small",
    "large",
    "quickly",
    "again",
]
ALLOCATED_BYTES = 96 << 20
DISK_BLOCKS_BYTES = 4 * 4096
"""What two runs may differ by: blocks are closed when they happen to be full."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations as people have them: one system prompt, many answers."""
    chance = random.Random(5)
    folder = tmp_path_factory.mktemp("bench") / "chats"
    (folder / "deep").mkdir(parents=True)

    def text(words: int) -> str:
        return " ".join(chance.choices(WORDS, k=words))

    system = {"role": "system", "content": text(150)}
    for number in range(40):
        turns = [{"role": role, "content": text(120)} for role in ("user", "assistant", "user")]
        path = folder / ("deep" if number % 2 else ".") / f"{number}.json"
        path.write_text(json.dumps({"id": str(number), "messages": [system, *turns]}))
    lines = [json.dumps({"n": number, "text": text(60)}) + "\n" for number in range(300)]
    (folder / "log.jsonl").write_text("".join(lines))
    (folder / "noise").write_bytes(chance.randbytes(20_000))
    return folder


def bench(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "tools" / "bench", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def measured(*words: str | Path) -> dict[str, Any]:
    done = bench(*words)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def told(directory: Path) -> dict[str, Any]:
    return measured("--density=compaction,parts,copies", "--json", "--corpora", directory)


def bytes_below(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def test_parts_add_up(told: dict[str, Any], directory: Path) -> None:
    parts = told["parts"]
    assert parts["files"] == 42
    assert parts["bytes_in"] == bytes_below(directory)
    for when in ("imported", "compacted"):
        assert sum(parts[when]["kinds"].values()) == parts[when]["disk_bytes"]
    assert parts["compacted"]["kinds"]["segments"] < parts["imported"]["kinds"]["segments"]
    assert parts["compacted"]["disk_bytes"] < parts["imported"]["disk_bytes"]


def test_everything_was_compared(told: dict[str, Any], directory: Path) -> None:
    assert told["parts"]["compared"]["files"] == 42
    assert told["parts"]["compared"]["bytes"] == bytes_below(directory)
    assert told["copies"]["compared"]["files"] == 42 + 21
    for section in ("parts", "copies"):
        assert told[section]["compared"]["different"] == []


def test_a_second_compaction_does_nothing(told: dict[str, Any]) -> None:
    compaction = told["compaction"]
    assert compaction["first"]["report"]["documents"] == 42
    assert compaction["second"]["report"]["documents"] == 0
    assert compaction["packs_touched"] == 0


def test_a_cost_was_measured(told: dict[str, Any]) -> None:
    first = told["compaction"]["first"]
    assert first["user_seconds"] > 0
    assert first["own_peak_bytes"] > 20 << 20
    assert first["worker_peak_bytes"] > 20 << 20
    assert first["together_peak_bytes"] > first["own_peak_bytes"]
    assert first["waits"] > 10
    assert first["wait_p99_ms"] <= first["wait_max_ms"]
    assert 0 <= first["machine_late_p99_ms"] <= first["machine_late_max_ms"]


@pytest.mark.slow
def test_corpora_and_reads(told: dict[str, Any], directory: Path) -> None:
    """A corpus alone is as large as where there is no other; caches save decoding."""
    slow = measured("--density=corpora,reads", "--json", "--corpora", directory)
    (row,) = slow["corpora"]
    together = told["parts"]["compacted"]["disk_bytes"]
    assert abs(row["compacted_bytes"] - together) <= DISK_BLOCKS_BYTES
    assert row["archive_bytes"] == pytest.approx(told["parts"]["archive_bytes"], rel=0.01)
    assert row["packed_bytes"] is None
    assert row["within"] is None  # too small to be judged
    assert directory.name in tables.by_corpus(slow["corpora"])
    small = slow["reads"]["small"]
    assert small["candidates"] == 40
    cached, cold = (small[cache]["both"] for cache in ("cached", "cold"))
    assert cold["decoded_p50_bytes"] > 0
    assert cached["decoded_p50_bytes"] == 0
    assert cached["blocks_mean"] < cold["blocks_mean"]
    log = slow["reads"]["log"]
    assert log["imported_seconds"] > 0
    assert log["compacted_seconds"] > 0
    assert f"{small['cold']['read']['p99_ms']:.2f}" in tables.reads(slow["reads"])


def test_without_the_wheel_nothing_is_compared_with_it(directory: Path) -> None:
    done = bench("--density=wheel", "--json", "--corpora", directory)
    assert "no --peer was named" in done.stderr
    assert json.loads(done.stdout)["wheel"] == []


def test_the_tables_can_be_pasted(told: dict[str, Any]) -> None:
    shown = [
        tables.parts(told["parts"]),
        tables.compaction(told["compaction"]),
        tables.copies(told["copies"]),
    ]
    for text in shown:
        (rows,) = (block.splitlines() for block in text.split("\n\n") if block.startswith("|"))
        assert len(rows) > 3
        assert len({len(row) for row in rows}) == 1
        assert len({row.count("|") for row in rows}) == 1
    assert f"{told['parts']['compacted']['disk_bytes']:,}" in shown[0]


@pytest.mark.parametrize(("compacted", "verdict"), [(1_150_000, "yes"), (1_150_001, "NO")])
def test_a_corpus_that_is_too_large_is_told(compacted: int, verdict: str) -> None:
    row = {
        "name": "one",
        "bytes_in": 9_000_000,
        "imported_bytes": 2_000_000,
        "compacted_bytes": compacted,
        "archive_bytes": 999_000,
        "packed_bytes": 1_000_000,
        "within": compacted <= 1.15 * 1_000_000,
    }
    assert tables.by_corpus([row]).splitlines()[2].split("|")[-2].strip() == verdict


def test_comparing_finds_a_file_that_changed(directory: Path, tmp_path: Path) -> None:
    changed = tmp_path / directory.name
    changed.mkdir()
    (changed / "a").write_text("as it was")
    (changed / "b").write_text("stays")
    vault = tmp_path / "work" / "vault"
    assert child("import", vault, sources=[str(changed)])["complete"]
    (changed / "a").write_text("as it is!")
    compared = child("compare", vault, sources=[str(changed)])
    assert compared["different"] == ["/chats/a"]
    assert compared["files"] == 2


def test_work_that_fails_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "work" / "other").mkdir(parents=True)
    (tmp_path / "work" / "other" / "file").write_text("no vault")
    with pytest.raises(SystemExit, match="stats failed"):
        child("stats", tmp_path / "work" / "other")


def test_peaks_are_those_of_the_process_and_its_worker(tmp_path: Path) -> None:
    """Memory that was given back before the next look counts, and files beside new packs."""
    worker = f"import sys; b = b'x' * {ALLOCATED_BYTES}; del b; print(1, flush=True); input()"
    script = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {worker!r}], check=True)\n"
    )
    packs = tmp_path / "vault" / "packs"
    packs.mkdir(parents=True)
    (tmp_path / "tmp").mkdir()
    watched = Watched()
    watched.begin(tmp_path / "vault", tmp_path / "tmp")
    (packs / "new").write_bytes(bytes(200_000))
    (tmp_path / "tmp" / "scratch").write_bytes(bytes(65_536))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "1\n"
        watched.look(process.pid, tmp_path / "vault", tmp_path / "tmp")
        process.stdin.write("\n")
        process.stdin.close()
    assert watched.worker_bytes > ALLOCATED_BYTES
    assert 4 << 20 < watched.own_bytes < ALLOCATED_BYTES
    assert watched.together_bytes < watched.own_bytes + watched.worker_bytes
    assert 65_536 <= watched.scratch_bytes < 100_000


def test_a_log_repeats_no_record(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "array.json").write_text('[{"a": 1}, {"a": 2}, {"a": 1}]')
    (tmp_path / "one" / "log.jsonl").write_text('{"a": 2}\n{"a": 3}\n')
    size = write_log([Corpus("one", tmp_path / "one", None)], tmp_path / "log", 1000)
    assert (tmp_path / "log").read_text() == '{"a": 1}\n{"a": 2}\n{"a": 3}\n'
    assert size == 27
    assert write_log([Corpus("one", tmp_path / "one", None)], tmp_path / "log", 10) == 18


def test_du_is_that_of_the_disk(tmp_path: Path) -> None:
    empty = disk_bytes(tmp_path)
    (tmp_path / "one byte").write_bytes(b"x")
    assert disk_bytes(tmp_path) - empty >= 512


@pytest.mark.corpora
def test_archives_are_as_large_as_the_packed_corpora(tmp_path: Path) -> None:
    path = unpacked("tau-airline-split", tmp_path)
    (corpus,) = find_corpora([str(path)], tmp_path)
    assert corpus.packed_bytes == (CORPORA / "tau-airline-split.tar.zst").stat().st_size
    assert archive_bytes([path], 27) == pytest.approx(corpus.packed_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--density=parts,speed",), "no section 'speed'"),
        (("--density", "--corpora", "no-such-corpus"), "neither a directory nor a corpus"),
        (("--density=parts", "some-directory"), "named after --corpora"),
        (("--jobs=sequence,speed",), "no section 'speed'"),
        (("--jobs", "--density"), "one at a time"),
        (("--jobs=sequence", "some-directory"), "named after --corpora"),
        ((), "name a directory"),
    ],
)
def test_wrong_words_are_told(words: tuple[str, ...], message: str) -> None:
    done = bench(*words)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr
