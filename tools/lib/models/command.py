"""Runs the measures of models on each corpus and prints their tables."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lib.density.corpora import find_corpora
from lib.density.tables import table
from lib.models.measure import Told, by_corpus


def run_models(names: Sequence[str], *, as_json: bool) -> None:
    """Measure; tables, or one JSON object a line for each corpus."""
    found = []
    with tempfile.TemporaryDirectory(prefix="stowkenfs-models-") as scratch:
        for corpus in find_corpora(names, Path(scratch)):
            found.append(by_corpus(corpus, Path(scratch)))
            if as_json:
                print(json.dumps(found[-1]), flush=True)
    if not as_json:
        print(f"### Bytes of segments\n\n{bytes_table(found)}\n")
        print(f"### Speed, and what was never seen\n\n{speed_table(found)}")


def bytes_table(found: Sequence[Told]) -> str:
    """Dictionary and model with their own bytes, and with frames of what they do not code."""
    headers = (
        "corpus", "text", "frames", "dictionary", "model", "of it the model", "sealed",
        "model : sealed",
    )  # fmt: skip
    rows = []
    for told in found:
        model, dictionary = (told[name] for name in ("model", "dictionary"))
        others = told["other_frames_bytes"]
        total = model["coded_bytes"] + model["own_bytes"] + others
        rows.append(
            (
                told["name"],
                f"{told['text_bytes']:,}",
                f"{told['frames_bytes']:,}",
                f"{dictionary['coded_bytes'] + dictionary['own_bytes'] + others:,}",
                f"{total:,}",
                f"{model['own_bytes']:,}",
                f"{told['sealed_bytes']:,}",
                f"{total / max(told['sealed_bytes'], 1):.3f}",
            )
        )
    return table(headers, rows)


def speed_table(found: Sequence[Told]) -> str:
    """MB are of text; bits are of coded ids for a byte of text that was not learned from."""
    headers = (
        "corpus", "learning M ids/s", "trie MB", "encoding MB/s", "decoding MB/s",
        "with the dictionary", "unseen, dictionary", "unseen, model",
    )  # fmt: skip
    rows = []
    for told in found:
        model, unseen = told["model"], told["held_out"]
        speeds = [
            f"{told['text_bytes'] / 1e6 / max(model[name], 1e-9):.0f}"
            for model, name in (
                (model, "encoding_seconds"),
                (model, "decoding_seconds"),
                (told["dictionary"], "decoding_seconds"),
            )
        ]
        bits = [
            f"{8 * unseen[name] / max(unseen['text_bytes'], 1):.2f}"
            for name in ("dictionary_bytes", "model_bytes")
        ]
        rows.append(
            (
                told["name"],
                f"{told['ids'] / 1e6 / max(model['learning_seconds'], 1e-9):.1f}",
                f"{model['trie_bytes'] / 1e6:.0f}",
                *speeds,
                *bits,
            )
        )
    return table(headers, rows)
