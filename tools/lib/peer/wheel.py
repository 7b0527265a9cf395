"""Stores conversations with the stowken wheel; told as JSON on stdout.

    PYTHON wheel.py '{"store": PATH, "conversations": PATH, ...}'

PYTHON is that of an environment with the wheel; this needs nothing else of the project. Beside
the two paths, all optional: ``dictionary_samples`` (a dictionary is trained and activated after
a tenth of the conversations), ``substring_samples`` and ``occurrences_min`` (substrings are
trained, compacted and collected at the end), ``near_threshold``.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import stowken

REASONS_TOLD = 3
DICTIONARY_AFTER = 10
"""A dictionary is trained when one in so many conversations is there."""


def main() -> None:
    spec = json.loads(sys.argv[1])
    vault = stowken.Stowken.open(spec["store"], True, near_dedup=spec.get("near_threshold"))
    lines = Path(spec["conversations"]).read_text(encoding="utf-8").splitlines()
    told = store_all(vault, lines, spec.get("dictionary_samples"))
    if spec.get("substring_samples"):
        told |= shared_substrings(vault, spec)
    told["frame_bytes"] = vault.stats().storage_bytes
    told["own_peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps(told))


def store_all(vault: Any, lines: list[str], dictionary_samples: int | None) -> dict[str, Any]:
    refused: list[str] = []
    seconds = cpu_seconds = 0.0
    dictionary = None
    for number, line in enumerate(lines):
        if dictionary_samples and number == len(lines) // DICTIONARY_AFTER:
            try:
                dictionary = dict(vault.train_dictionary(dictionary_samples, activate=True))
            except RuntimeError as error:  # too few segments
                dictionary = {"refused": str(error)}
        conversation = json.loads(line)
        begin, cpu_begin = time.perf_counter(), time.process_time()
        try:
            vault.store(conversation)
        except Exception as error:  # noqa: BLE001 - whatever it raises is told
            refused.append(str(error)[:200])
        seconds += time.perf_counter() - begin
        cpu_seconds += time.process_time() - cpu_begin
    return {
        "conversations": len(lines) - len(refused),
        "refused": len(refused),
        "reasons": refused[:REASONS_TOLD],
        "store_seconds": seconds,
        "store_cpu_seconds": cpu_seconds,
        "dictionary": dictionary,
    }


def shared_substrings(vault: Any, spec: dict[str, Any]) -> dict[str, Any]:
    begin = time.perf_counter()
    promoted = vault.train_substrings(spec["substring_samples"], spec["occurrences_min"])
    compacted = dict(vault.compact_substrings())
    collected = dict(vault.gc_substrings())
    return {
        "substrings": len(promoted),
        "compacted": compacted,
        "collected": collected,
        "job_seconds": time.perf_counter() - begin,
    }


if __name__ == "__main__":
    main()
