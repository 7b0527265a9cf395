"""Climbs the ladders that are asked for; writes the CSV and the plot, prints what grew."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict
from pathlib import Path

from lib.density.corpora import ARCHIVE_SUFFIX, CORPORA, find_corpora, say
from lib.machine import about_machine
from lib.scale.generate import BYTES, FILES
from lib.scale.ladder import Ladder, Settings
from lib.scale.plot import drawn
from lib.scale.rows import Row, Sheet, grown

LADDERS: dict[str, tuple[int, ...]] = {
    FILES: (10_000, 30_000, 100_000, 300_000, 1_000_000),
    BYTES: (100_000_000, 300_000_000, 1_000_000_000, 3_000_000_000, 10_000_000_000),
}
"""Sizes at which is measured, in files and in bytes."""

READS = 400
SEED = 1
_FACTORS = {"k": 10**3, "M": 10**6, "G": 10**9}


def run_scale(
    ladders: Mapping[str, Sequence[int]],
    names: Sequence[str],
    *,
    work: Path | None,
    csv: Path | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Measure. What is in ``work`` stays; without it all is done in a temporary directory."""
    rows: list[Row] = []
    with ExitStack() as used:
        scratch = Path(used.enter_context(tempfile.TemporaryDirectory(prefix="stowkenfs-scale-")))
        settings = Settings(_corpora(names, scratch), work or scratch / "work", SEED, READS)
        sheet = used.enter_context(closing(Sheet(csv))) if csv else None
        for name, sizes in ladders.items():
            for row in Ladder(name, sizes, settings).climb():
                rows.append(row)
                if sheet:
                    sheet.add(row)
                if plot and row.measure in {"held", "gc"}:  # when a part of a step is done
                    plot.write_text(drawn(rows))
            if not as_json:
                print(f"\n### Growth by {name}\n\n{grown(rows, name)}", flush=True)
    if plot:
        plot.write_text(drawn(rows))
    if as_json:
        machine = about_machine()
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))


def _corpora(names: Sequence[str], scratch: Path) -> list[Path]:
    if not names and not list(CORPORA.glob(f"*{ARCHIVE_SUFFIX}")):
        say(f"no corpora in {CORPORA}; conversations are generated")
        return []
    return [corpus.path for corpus in find_corpora(names, scratch)]


def chosen(words: str, sizes: Sequence[str]) -> dict[str, Sequence[int]]:
    """The ladders named in ``words``, with commas between them; ``all`` for both.

    ``sizes``: ``LADDER=SIZE,SIZE…`` in place of the default ones; k, M and G are powers of 1000.
    """
    names = list(LADDERS) if words == "all" else words.split(",")
    ladders: dict[str, Sequence[int]] = {name: of for name, of in LADDERS.items() if name in names}
    unknown = [name for name in names if name not in LADDERS]
    for word in sizes:
        name, _, listed = word.partition("=")
        try:
            steps = sorted({_size(one) for one in listed.split(",")})
        except ValueError:
            sys.exit(f"bench: {word!r} is not LADDER=SIZE,SIZE… with sizes as 10000, 30k, 1G")
        if name in ladders:
            ladders[name] = steps
        elif name not in LADDERS:
            unknown.append(name)
    if unknown:
        sys.exit(f"bench: no ladder {unknown[0]!r}; there are {', '.join(LADDERS)}")
    return ladders


def _size(word: str) -> int:
    factor = _FACTORS.get(word[-1:], 1)
    size = int(word[:-1] if factor > 1 else word) * factor
    if size <= 0:
        raise ValueError(word)
    return size
