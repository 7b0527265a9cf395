"""Runs the sections that are asked for and prints their tables."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lib.density.corpora import ARCHIVE_SUFFIX, CORPORA, Corpus, find_corpora, say
from lib.jobs import tables
from lib.jobs.sections import Configurations, Ingest, Sequences
from lib.machine import about_machine
from lib.peer.environment import Peer
from lib.peer.generated import GENERATED, write_files

SECTIONS = {
    "sequence": "Bytes by frame kind: one job after the other",
    "configurations": "Configurations, beside the stowken wheel",
    "ingest": "What looking for near duplicates costs",
}

_COMPARED = (*GENERATED, "hh-harmless", "tau-airline")
ABOUT = {
    "configurations": _COMPARED,
    "ingest": (*_COMPARED, "alpaca-eval-split", "claude-sessions", "sharegpt-sampled", "smile-zh"),
}
"""What a section is about where no corpora are named; all that there are, if it is not here."""


Show = Callable[[Any], str]
EACH: dict[str, Show] = {"sequence": tables.sequence, "configurations": tables.configurations}
ALL: dict[str, Sequence[Show]] = {
    "sequence": (tables.summary,),
    "configurations": (tables.best, tables.stores),
    "ingest": (tables.ingest,),
}
"""The tables of a section: those of each corpus, printed when it was measured, and of all."""


def run_jobs(
    sections: Sequence[str], names: Sequence[str], environment: Path | None, *, as_json: bool
) -> None:
    """Measure; print each table when it is known, or one JSON object at the end."""
    with tempfile.TemporaryDirectory(prefix="stowkenfs-jobs-") as scratch:
        work = Path(scratch) / "work"
        work.mkdir()
        corpora = _corpora(names or _names_without(sections), Path(scratch))
        measured = Measured(corpora, work, Peer.found(environment), named=bool(names))
        told: dict[str, Any] = {"machine": about_machine()}
        for section in sections:
            if not as_json:
                print(f"\n### {SECTIONS[section]}", flush=True)
            told[section] = []
            for one in measured.section(section):
                told[section].append(one)
                if not as_json and section in EACH:
                    print(f"\n{EACH[section](one)}", flush=True)
            if not as_json:
                for show in ALL[section]:
                    print(f"\n{show(told[section])}", flush=True)
        if as_json:
            print(json.dumps(told, indent=2))


def _names_without(sections: Sequence[str]) -> list[str]:
    """What the sections are about where nothing is named, as far as it is there."""
    archives = sorted(CORPORA.glob(f"*{ARCHIVE_SUFFIX}"))
    if not archives:
        say(f"no corpora in {CORPORA}; only what is generated is measured")
    there = [*GENERATED, *(archive.name.removesuffix(ARCHIVE_SUFFIX) for archive in archives)]
    return [name for name in there if any(name in ABOUT.get(one, there) for one in sections)]


def _corpora(names: Sequence[str], scratch: Path) -> list[Corpus]:
    found = [
        Corpus(name, write_files(name, scratch / "generated" / name), None)
        for name in GENERATED
        if name in names
    ]
    others = [name for name in names if name not in GENERATED]
    return [*found, *find_corpora(others, scratch)] if others else found


class Measured:
    """The sections, on corpora; without ``named`` each has those that it is about."""

    def __init__(
        self, corpora: Sequence[Corpus], work: Path, peer: Peer | None, *, named: bool
    ) -> None:
        self._corpora = corpora
        self._work = work
        self._peer = peer
        self._named = named

    def section(self, name: str) -> Iterator[dict[str, Any]]:
        """What was measured of one corpus after the other."""
        if name == "sequence":
            return Sequences(self._corpora, self._work).measure()
        if name == "configurations":
            return Configurations(self._some(name), self._work, self._peer).measure()
        return Ingest(self._some(name), self._work).measure()

    def _some(self, section: str) -> list[Corpus]:
        names = ABOUT[section]
        return [corpus for corpus in self._corpora if self._named or corpus.name in names]


def chosen(words: str) -> list[str]:
    """The sections named in ``words``, with commas between them; ``all`` for all of them."""
    names = list(SECTIONS) if words == "all" else words.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"bench: no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names]
