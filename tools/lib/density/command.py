"""Runs the sections that are asked for and prints their tables."""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.density import tables
from lib.density.corpora import Corpus, find_corpora, say
from lib.density.sections import Each, Whole
from lib.machine import about_machine
from lib.peer.environment import Peer

SECTIONS = {
    "parts": "Bytes by part: one vault with everything",
    "corpora": "Bytes by corpus: each in a vault of its own",
    "compaction": "Compaction of the vault with everything",
    "reads": "Reading after compaction",
    "copies": "Half of the files once more",
    "wheel": "Beside the stowken wheel",
}
"""``{name: heading}`` in the order in which they run: ``copies`` changes what others measure."""


def chosen(words: str) -> list[str]:
    """The sections named in ``words``, with commas between them; ``all`` for all of them."""
    names = list(SECTIONS) if words == "all" else words.split(",")
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        sys.exit(f"bench: no section {unknown[0]!r}; there are {', '.join(SECTIONS)}")
    return [name for name in SECTIONS if name in names]


def run_density(
    sections: Sequence[str], names: Sequence[str], environment: Path | None, *, as_json: bool
) -> None:
    """Measure; print each table as soon as it is known, or one JSON object at the end."""
    with tempfile.TemporaryDirectory(prefix="stowkenfs-density-") as scratch:
        work = Path(scratch) / "work"
        work.mkdir()
        corpora = find_corpora(names, Path(scratch))
        machine = about_machine()
        told: dict[str, Any] = {"machine": machine}
        if not as_json:
            print(
                f"{machine['cores']} cores, Python {machine['python']}, Linux {machine['kernel']}"
            )
        for section, measure, show in _sections(corpora, work, environment):
            if section not in sections:
                continue
            told[section] = measure()
            if not as_json:
                print(f"\n### {SECTIONS[section]}\n\n{show(told[section])}", flush=True)
        if as_json:
            print(json.dumps(told, indent=2))


Section = tuple[str, Callable[[], Any], Callable[[Any], str]]


def _sections(corpora: Sequence[Corpus], work: Path, environment: Path | None) -> Sequence[Section]:
    whole, each = Whole(corpora, work), Each(work)

    def beside_wheel() -> list[dict[str, Any]]:
        if environment is None:
            say("no --peer was named; nothing is compared with the stowken wheel")
        peer = Peer.found(environment)
        return each.wheel(corpora, peer) if peer else []

    return (
        ("parts", whole.parts, tables.parts),
        ("corpora", lambda: each.by_corpus(corpora), tables.by_corpus),
        ("compaction", whole.compaction, tables.compaction),
        ("reads", whole.reads, tables.reads),
        ("copies", whole.copies, tables.copies),
        ("wheel", beside_wheel, tables.wheel),
    )
