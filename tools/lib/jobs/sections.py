"""The parts of the measurement; each returns what it found as plain numbers. Sizes in bytes."""

import re
import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.density.corpora import Corpus, say
from lib.density.sizes import disk_bytes, files_below
from lib.density.watch import child
from lib.peer.conversations import ConversationSet, set_of_corpus, write_conversations
from lib.peer.environment import Peer

Told = dict[str, Any]

JOBS = "lib.jobs.child"
STEPS = (
    "import",
    "train substrings",
    "compact substrings",
    "gc substrings",
    "train dictionary",
    "import half, edited",
    "delete half, gc",
    "reindex",
    "verify",
    "compact",
)
OCCURRENCES_MIN = 5
SUBSTRING_SAMPLES = {"seed-250": 30}
SUBSTRING_SAMPLES_ELSE = 500
DICTIONARY_SAMPLES = 200
NEAR_THRESHOLD = 0.85
CONFIGURATIONS = {
    "default": frozenset[str](),
    "dictionary": frozenset({"dictionary"}),
    "substrings": frozenset({"substrings"}),
    "near": frozenset({"near"}),
    "all": frozenset({"dictionary", "substrings", "near"}),
}
"""What is used of what can be: those that the peer was measured with."""

INGEST_ROUNDS = 2

EDITED_EVERY = 20
PLACES = re.compile(rb"(?<=[a-z,.]) (?=[a-z]{3})|\xef\xbc\x8c")
"""Where words meet, or a Chinese comma stands: an edit there leaves JSON what it is."""


class Sequences:
    """Every corpus in a vault of its own, with one job after the other."""

    def __init__(self, corpora: Sequence[Corpus], work: Path) -> None:
        self._corpora = corpora
        self._work = work

    def measure(self) -> Iterator[Told]:
        """Of one corpus after the other."""
        for corpus in self._corpora:
            vault = self._work / "jobs"
            edited = self._work / "edited"
            size = sum(path.stat().st_size for path in files_below(corpus.path))
            changed = edit_half(corpus.path, edited / f"{corpus.name} edited")
            told = {"name": corpus.name, "bytes_in": size, "edited_bytes": changed}
            yield told | {"steps": list(self._steps(corpus, vault, edited))}
            shutil.rmtree(vault)
            shutil.rmtree(edited)

    def _steps(self, corpus: Corpus, vault: Path, edited: Path) -> Iterator[Told]:
        for step in STEPS:
            say(f"{corpus.name}: {step}")
            command, words = step, dict[str, Any]()
            if step.startswith("import"):
                sources = [corpus.path] if step == "import" else list(edited.iterdir())
                command, words = "import", {"sources": sources}
            elif step.startswith("delete"):
                words = {"below": f"/{corpus.path.name}"}
            done = child(command, vault, module=JOBS, stats=True, **_texts(words))
            yield {"step": step} | done | where(vault, done["stats"])


class Configurations:
    """The same conversations in a vault and in the peer's, as each can be set up."""

    def __init__(self, corpora: Sequence[Corpus], work: Path, peer: Peer | None) -> None:
        sets = (set_of_corpus(corpus.name, corpus.path) for corpus in corpora)
        self._sets = [one for one in sets if one is not None]
        self._work = work
        self._peer = peer

    def measure(self) -> Iterator[Told]:
        """Of one set after the other."""
        for one in self._sets:
            path = self._work / "conversations.jsonl"
            count, size = write_conversations(one.make(), path)
            told = {"name": one.name, "conversations": count, "content_bytes": size}
            both = {
                name: self._both(one, name, words_of(one, parts), path)
                for name, parts in CONFIGURATIONS.items()
            }
            yield told | {"configurations": both}

    def _both(self, one: ConversationSet, name: str, words: Told, path: Path) -> Told:
        say(f"{one.name}: {name}")
        ours = self._ours(words, path)
        theirs = self._peer.store(path, self._work / "peer", **words) if self._peer else None
        return {"ours": ours, "peer": theirs}

    def _ours(self, words: Told, path: Path) -> Told:
        with scratch_vault(self._work) as vault:
            done = child("store", vault, module=JOBS, stats=True, conversations=str(path), **words)
            stored = done | where(vault, done["stats"])
            child("compact", vault, module=JOBS)
            return stored | {"compacted_disk_bytes": disk_bytes(vault)}


class Ingest:
    """What looking for near duplicates costs when a corpus is imported."""

    def __init__(self, corpora: Sequence[Corpus], work: Path) -> None:
        self._corpora = corpora
        self._work = work

    def measure(self) -> Iterator[Told]:
        """Of one corpus after the other."""
        for corpus in self._corpora:
            ways = self._ways().items()
            yield {"name": corpus.name} | {
                name: self._import(corpus, words) for name, words in ways
            }

    def _ways(self) -> dict[str, Told]:
        return {"plain": {}, "near": {"near_threshold": NEAR_THRESHOLD}}

    def _import(self, corpus: Corpus, words: Told) -> Told:
        say(f"{corpus.name}: importing {words or 'as it is'}")
        rounds = []
        for _ in range(INGEST_ROUNDS):
            with scratch_vault(self._work) as vault:
                sources = [str(corpus.path)]
                done = child("import", vault, module=JOBS, stats=True, sources=sources, **words)
                rounds.append(done | where(vault, done["stats"]))
        return rounds[-1] | {
            "seconds": statistics.median(one["seconds"] for one in rounds),
            "cpu_seconds": statistics.median(
                one["user_seconds"] + one["system_seconds"] for one in rounds
            ),
        }


def words_of(one: ConversationSet, parts: frozenset[str]) -> Told:
    """What a configuration means for a set, as both children take it."""
    words: Told = {}
    if "dictionary" in parts:
        words["dictionary_samples"] = DICTIONARY_SAMPLES
    if "substrings" in parts:
        words["substring_samples"] = SUBSTRING_SAMPLES.get(one.name, SUBSTRING_SAMPLES_ELSE)
        words["occurrences_min"] = OCCURRENCES_MIN
    if "near" in parts:
        words["near_threshold"] = NEAR_THRESHOLD
    return words


def where(vault: Path, stats: Told) -> Told:
    """Where the bytes of the closed vault are."""
    size = disk_bytes(vault)
    kinds = {kind["kind"]: kind["stored_bytes"] for kind in stats["kinds"]}
    frames = {kind: of["bytes"] for kind, of in stats["frames"].items()}
    return {
        "frames": frames,
        "frame_bytes": sum(frames.values()),
        "registry_bytes": kinds["registry"],
        "segment_bytes": kinds["segments"],
        "index_bytes": kinds["index"] - (stats["disk_bytes"] - size),
        "storage_bytes": stats["storage_bytes"],
        "disk_bytes": size,
    }


@contextmanager
def scratch_vault(work: Path) -> Iterator[Path]:
    vault = work / "scratch"
    try:
        yield vault
    finally:
        shutil.rmtree(vault, ignore_errors=True)


def edit_half(source: Path, target: Path) -> int:
    """Every second file, a word put in here and there; bytes written."""
    size = 0
    for path in files_below(source)[::2]:
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        size += copy.write_bytes(edited(path.read_bytes()))
    return size


def edited(content: bytes) -> bytes:
    """Every twentieth place between words gets another word."""
    pieces = []
    begin = 0
    for number, place in enumerate(PLACES.finditer(content)):
        if number % EDITED_EVERY == EDITED_EVERY - 1:
            pieces += [content[begin : place.end()], b"then%d " % (number % 997)]
            begin = place.end()
    return b"".join((*pieces, content[begin:]))


def _texts(words: Told) -> Told:
    return {
        name: [str(one) for one in value] if isinstance(value, list) else value
        for name, value in words.items()
    }
