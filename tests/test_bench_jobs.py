"""``tools/bench --jobs`` tells what each job did, and puts the same into the peer."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from lib.jobs import tables
from lib.jobs.sections import CONFIGURATIONS, STEPS, edit_half, edited, words_of
from lib.peer.conversations import ConversationSet, of_corpus, set_of_corpus, write_conversations
from lib.peer.environment import Peer
from lib.peer.generated import (
    GENERATED,
    Messages,
    drift_tokens,
    text_conversations,
    write_files,
)

from tests.test_bench import bench, measured

WORDS = [f"{a}{b}{c}" for a in "bdfgklmn" for b in "aeiou" for c in ("n", "r", "st")]
PEER_FRAME_BYTES = 3_120
"""Of the wheel, of the compacted ``seed-250``."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversations of which each has nearly the system prompt of the others."""
    chance = random.Random(9)
    folder = tmp_path_factory.mktemp("jobs") / "chats"
    folder.mkdir()
    system = chance.choices(WORDS, k=160)
    for number in range(24):
        words = list(system)
        words[number * 7 % 160] = f"number{number}"
        texts = [" ".join(chance.choices(WORDS, k=30)) for _ in range(2)]
        messages = [
            {"role": "system", "content": " ".join(words)},
            {"role": "user", "content": texts[0]},
            {"role": "assistant", "content": texts[1]},
        ]
        (folder / f"{number:02}.json").write_text(json.dumps({"messages": messages}))
    return folder


@pytest.fixture(scope="module")
def steps() -> dict[str, Any]:
    told = measured("--jobs=sequence", "--json", "--corpora", "seed-250")
    (corpus,) = told["sequence"]
    assert corpus["name"] == "seed-250"
    assert "seed-250" in tables.sequence(corpus)
    assert "seed-250" in tables.summary([corpus])
    found = {step["step"]: step for step in corpus["steps"]}
    assert tuple(found) == STEPS
    return found


def test_training_rewrites_nothing(steps: dict[str, Any]) -> None:
    first, trained = steps["import"], steps["train substrings"]
    assert trained["frames"] == first["frames"]
    assert trained["storage_bytes"] == first["storage_bytes"]
    assert first["registry_bytes"] == 0
    assert trained["registry_bytes"] > 0


def test_each_job_told_what_it_did(steps: dict[str, Any]) -> None:
    compacted = steps["compact substrings"]
    assert compacted["frames"]["0x05"] > 0
    assert compacted["report"]["segments_rewritten"] > 0
    assert steps["gc substrings"]["report"]["registry_size_before"] > 0
    assert steps["delete half, gc"]["stats"]["documents"] == 15 + 15
    assert steps["verify"]["report"]["problems"] == 0
    assert steps["verify"]["report"]["files"] == 0
    dense = steps["compact"]
    assert dense["frame_bytes"] == 0
    assert dense["disk_bytes"] < steps["verify"]["disk_bytes"]


def test_a_cost_was_measured_of_each(steps: dict[str, Any]) -> None:
    for step in steps.values():
        assert step["seconds"] > 0
        assert step["own_peak_bytes"] > 20 << 20
        assert step["together_peak_bytes"] >= step["own_peak_bytes"] // 2


@pytest.mark.slow
def test_the_contracts_corpus_is_no_larger_than_in_the_peer() -> None:
    told = measured("--jobs=configurations", "--json", "--corpora", "seed-250")
    (one,) = told["configurations"]
    assert one["conversations"] == 30
    assert set(one["configurations"]) == set(CONFIGURATIONS)
    for pair in one["configurations"].values():
        assert pair["peer"] is None
        assert pair["ours"]["different"] == 0
    substrings = one["configurations"]["substrings"]["ours"]
    assert substrings["frame_bytes"] <= PEER_FRAME_BYTES
    assert "seed-250" in tables.configurations(one)
    assert "seed-250: frames" in tables.best([one])
    assert "seed-250" in tables.stores([one])


@pytest.mark.slow
def test_looking_for_near_duplicates_finds_some(directory: Path) -> None:
    told = measured("--jobs=ingest", "--json", "--corpora", directory)
    (row,) = told["ingest"]
    assert row["plain"]["frames"].get("0x04", 0) == 0
    assert row["near"]["frames"]["0x04"] > 0
    assert row["near"]["cpu_seconds"] > 0
    assert directory.name in tables.ingest([row])


def test_without_the_wheel_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = bench("--jobs=configurations", "--json", "--peer", "--corpora", tmp_path / "empty")
    assert done.returncode == 0
    assert "nothing is compared with the stowken wheel" in done.stderr
    assert json.loads(done.stdout)["configurations"] == []


def test_an_environment_that_is_not_there_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Peer.found(None) is None
    assert capsys.readouterr().err == ""
    for place in (tmp_path / "no-such", Path(sys.executable)):
        assert Peer.found(place) is None
        assert str(place) in capsys.readouterr().err


def test_drift_is_that_of_the_contract() -> None:
    tokens = drift_tokens(5, 200)
    assert len(tokens) == 200
    assert {at: tokens[at] for at in range(200) if tokens[at] != at} == {
        5: 90_085,
        35: 90_096,
        65: 90_107,
    }


def test_generated_conversations_are_the_same_every_time() -> None:
    first, again = list(text_conversations(50)), list(text_conversations(50))
    assert first == again
    assert len({messages[0]["content"] for messages in first}) == 50


@pytest.mark.parametrize("name", ["seed-250", "drift-tokens"])
def test_generated_files_hold_the_conversations(name: str, tmp_path: Path) -> None:
    found = set_of_corpus(name, write_files(name, tmp_path / name))
    assert found is not None
    assert list(found.make()) == list(GENERATED[name]())


def test_conversations_are_written_with_the_bytes_they_say(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    messages: Messages = [
        {"role": "user", "content": "größer"},
        {"role": "assistant", "tokens": [1, 2, 3]},
    ]
    assert write_conversations([messages, messages], path) == (2, 2 * (8 + 12))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == ["conversation-000000", "conversation-000001"]
    assert lines[0]["messages"] == messages


def test_calls_become_text_where_they_are_asked_for(tmp_path: Path) -> None:
    turn = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}
    (tmp_path / "one.json").write_text(json.dumps([{"traj": [turn, {"role": "user"}]}]))
    (tmp_path / "other.jsonl").write_text("not JSON")
    assert next(of_corpus(tmp_path)) == [
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
    ]
    assert next(of_corpus(tmp_path, calls_as_text=True)) == [
        {"role": "assistant", "content": '{"content":null,"tool_calls":[{"id":"a"}]}'},
        {"role": "user", "content": ""},
    ]


def test_a_folder_without_conversations_is_no_set(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[1, {"n": 2}]')
    assert set_of_corpus("any", tmp_path) is None


def test_edits_leave_json_what_it_is(directory: Path, tmp_path: Path) -> None:
    size = edit_half(directory, tmp_path / "edited")
    copies = sorted((tmp_path / "edited").iterdir())
    assert [path.name for path in copies] == [f"{number:02}.json" for number in range(0, 24, 2)]
    assert size == sum(path.stat().st_size for path in copies)
    for path in copies:
        before = json.loads((directory / path.name).read_text())["messages"][0]["content"]
        after = json.loads(path.read_text())["messages"][0]["content"]
        assert len(after.split()) > len(before.split())
        assert [word for word in after.split() if not word.startswith("then")] == before.split()


def test_what_has_no_place_for_an_edit_stays() -> None:
    assert edited(b"\x00\xff one two") == b"\x00\xff one two"


def test_a_configuration_says_what_both_use() -> None:
    conversations = ConversationSet("seed-250", lambda: iter(()))
    assert words_of(conversations, CONFIGURATIONS["default"]) == {}
    assert words_of(conversations, CONFIGURATIONS["all"]) == {
        "dictionary_samples": 200,
        "substring_samples": 30,
        "occurrences_min": 5,
        "near_threshold": 0.85,
    }


def test_the_smallest_of_both_is_told() -> None:
    def size(frames: int, registry: int) -> dict[str, int]:
        return {"frame_bytes": frames, "registry_bytes": registry}

    configured = {
        "default": {"ours": size(900, 0), "peer": size(1000, 0)},
        "all": {"ours": size(300, 200), "peer": size(250, 800)},
    }
    lines = tables.best([{"name": "one", "configurations": configured}]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:]]
    assert cells == [
        ["one: frames", "all", "300", "all", "250", "1.200"],
        ["one: frames and registry", "all", "500", "default", "1,000", "0.500"],
    ]
