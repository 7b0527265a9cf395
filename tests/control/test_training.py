"""Reports of training and lists of what was trained, in sentences; activation by words."""

import json

import pytest

from stowkenfs.control.alike import NEAR_DUPLICATES, NearDuplicates
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kinds import AnyKind, Outcome, choose
from stowkenfs.control.listed import (
    dictionaries_json,
    format_dictionaries,
    format_substrings,
    substrings_json,
)
from stowkenfs.control.lists import list_files
from stowkenfs.control.nodes import ControlFile
from stowkenfs.control.training import (
    ACTIVATE,
    COMPACT_SUBSTRINGS,
    GC_SUBSTRINGS,
    TRAIN_DICTIONARY,
    TRAIN_SUBSTRINGS,
)
from stowkenfs.errors import ActivationRefused, BadRequest
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.near_clusters import NearCluster, NearMember
from stowkenfs.vault.registry import DictionaryInfo, SubstringInfo
from stowkenfs.vault.training.reports import (
    ActivationReport,
    DictionaryTrainingReport,
    SubstringCollection,
    SubstringCompaction,
    SubstringTraining,
)
from stowkenfs.vault.vault import Vault
from tests.running import run

SUBSTRING = SubstringInfo("ab" * 32, 17, 1.8e9, 1234)
DICTIONARY = DictionaryInfo("cd" * 32, 1.8e9, 200, 32 << 10, is_active=True)


def told(kind: AnyKind, report: object) -> list[str]:
    outcome = Outcome(kind, report, 2.0)
    assert json.loads(json.dumps(outcome.to_dict()))["clean"] is True
    return outcome.text().splitlines()


def test_substrings_that_are_registered_or_not() -> None:
    report = SubstringTraining([SUBSTRING], 3, 500, 9000, 2048, 4096, kept=True)
    assert told(TRAIN_SUBSTRINGS, report) == [
        "Looked at 500 segments in 2.0 s, and found 3 runs of tokens that come again and again.",
        "1 substring registered, in 2.0 KiB; with them the frames of these segments become "
        "4.0 KiB smaller.",
        "What is stored from now on refers to them where that is smaller; compact with "
        "what=substrings rewrites the rest.",
    ]
    report = SubstringTraining(candidates=1, sampled=1, reason="it would not pay")
    assert told(TRAIN_SUBSTRINGS, report)[1:] == ["Nothing was registered: it would not pay."]


def test_what_compaction_did_with_them() -> None:
    report = SubstringCompaction(1000, 300, 2048, 20, 1024, 512, kept=True)
    assert told(COMPACT_SUBSTRINGS, report) == [
        "Examined 1,000 segments in 2.0 s: 300 rewritten, 20 skipped that referred to others "
        "before.",
        "Frames take 2.0 KiB less, what is stored 1.0 KiB less; 512 B of substrings are kept for "
        "them.",
    ]
    report = SubstringCompaction(1000, reason="the vault would become larger")
    assert told(COMPACT_SUBSTRINGS, report)[1:] == [
        "Nothing was rewritten: the vault would become larger."
    ]
    damaged = Outcome(COMPACT_SUBSTRINGS, SubstringCompaction(problems=("a\nb",)), 2.0)
    assert not damaged.clean
    assert damaged.text().endswith("problem: a\\nb\n")


def test_what_collection_dropped() -> None:
    assert told(GC_SUBSTRINGS, SubstringCollection(40, 28, 12, 2048)) == [
        "Dropped 12 of 40 substrings, to which nothing referred: 2.0 KiB freed, 28 left."
    ]


def test_dictionaries_that_are_kept_or_not() -> None:
    report = DictionaryTrainingReport(
        DICTIONARY, 200, 50, 20480, 10240, 2 << 20, 1 << 20, 7, kept=True, activated=True
    )
    assert told(TRAIN_DICTIONARY, report) == [
        "Looked at 200 segments in 2.0 s, and tried 7 dictionaries.",
        "50 segments held out of the training take 20.0 KiB without the best, 10.0 KiB with it; "
        "all 2.0 MiB that are stored would take about 1.0 MiB, the dictionary counted.",
        f"Kept: {DICTIONARY.id}, 32.0 KiB.",
        "It is active now: new texts use it.",
    ]
    report = DictionaryTrainingReport(sampled=3, reason="there is too little to train on")
    assert told(TRAIN_DICTIONARY, report)[1:] == [
        "No dictionary was kept: there is too little to train on."
    ]


def test_an_activation_and_one_that_was_refused() -> None:
    lines = told(ACTIVATE, ActivationReport("cd" * 32, 1024, 100, 7, 9999, forced=True))
    assert lines[0] == f"Active now: {'cd' * 32}, although it costs more than it brings."
    assert "7 frames that could use it" in lines[1]
    assert told(ACTIVATE, ActivationReport(None)) == [
        "No dictionary is active now. What was stored with one keeps it."
    ]
    refusal = ActivationRefused("cd" * 32, 1024, 100, 7, 9999)
    text = Outcome(ACTIVATE, None, 0.0, failure=str(refusal)).text()
    assert "takes 1024 bytes" in text
    assert "about 100 bytes smaller" in text


def test_words_of_an_activation() -> None:
    assert choose([ACTIVATE], "abc123")[1] == {"id": "abc123", "force": False}
    assert choose([ACTIVATE], "none force=yes")[1] == {"id": None, "force": True}
    for text in ("", "ABC", "../x", "abc def", "force=yes"):
        with pytest.raises(BadRequest):
            choose([ACTIVATE], text)


def test_lists() -> None:
    substrings = format_substrings([SUBSTRING.to_dict()]).splitlines()
    assert substrings[1].split() == [SUBSTRING.id, substrings[1].split()[1], "17", "1,234"]
    assert json.loads(substrings_json([SUBSTRING.to_dict()])) == {
        "substrings": [SUBSTRING.to_dict()]
    }
    dictionaries = format_dictionaries([DICTIONARY.to_dict()]).splitlines()
    assert len(dictionaries) == 2
    assert dictionaries[1].startswith(f"* {DICTIONARY.id}  20")
    assert dictionaries[1].endswith("        200    32.0 KiB")
    assert json.loads(dictionaries_json([DICTIONARY.to_dict()])) == {
        "dictionaries": [DICTIONARY.to_dict()],
        "activation": None,
    }


def test_an_unknown_dictionary_is_refused_by_the_file_that_lists_them() -> None:
    async def main() -> None:
        async with Vault.memory(VaultConfig(workers=0)) as vault:
            jobs = Jobs()
            files = list_files(vault, jobs)
            text = files[b"dictionaries"]
            assert isinstance(text, ControlFile)
            with pytest.raises(BadRequest):
                await text.act(b"abcdef\n")
            rendered = await text.render()
            assert rendered.read(0, 99).startswith(b"there are no dictionaries yet")
            numbers = files[b"dictionaries.json"]
            assert isinstance(numbers, ControlFile)
            rendered = await numbers.render()
            assert json.loads(rendered.read(0, rendered.size))["activation"] is None
            await text.act(b"none\n")
            rendered = await numbers.render()
            assert json.loads(rendered.read(0, rendered.size))["activation"]["clean"] is True

    run("trio", main)


def test_clusters_one_by_one() -> None:
    alike = [NearMember("ef" * 32, 0.9, 20, "/b\n.json") for _ in range(3)]
    others = [NearMember("ef" * 32, 0.88, 20 + at, "/c.json") for at in range(12)]
    cluster = NearCluster("ab" * 32, 1234, None, 20, (*alike, *others))
    lines = told(NEAR_DUPLICATES, NearDuplicates(0.85, [cluster]))
    assert lines[:5] == [
        "1 cluster of segments that are at least 0.85 alike; the search took 2.0 s.",
        "",
        "1,234 tokens in a removed file, and 20 others like it",
        r"  0.900  20 tokens in /b\n.json, 3 of them",
        "  0.880  20 tokens in /c.json",
    ]
    assert lines[-1] == "  and 8 more"
    assert len(lines) == 3 + 10 + 1
    assert told(NEAR_DUPLICATES, NearDuplicates(0.85, [])) == [
        "No clusters of segments that are at least 0.85 alike; the search took 2.0 s."
    ]
