"""What models make of a corpus, beside frames under a dictionary and sealed blocks."""

import random
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import zstandard
from lib.density.corpora import Corpus, say
from lib.density.watch import child
from lib.models.segments import segments_of

from stowkenfs.frames.varints import encode_varints
from stowkenfs.frames.vocabulary import spell
from stowkenfs.ids import Vocabulary
from stowkenfs.predict import coder
from stowkenfs.predict.freezing import Worth, freeze
from stowkenfs.predict.model import END, Model
from stowkenfs.predict.observing import observe
from stowkenfs.predict.trie import Ids, Trie

VOCABULARY = Vocabulary.O200K_BASE
DEPTH = 3
NODES_MAX = 24_000_000
DICTIONARY_BYTES = 112_640
LEVEL = 19
WORTHS = tuple(
    Worth((1, *counts), (1, *counts))
    for counts in ((4, 6, 8), (8, 12, 16), (16, 24, 32), (32, 48, 64))
)
"""How much is kept of a trie: the model whose bytes and coded ids are least together is told."""

HELD_OUT = Worth((1, 4, 6, 6), (1, 4, 6, 6))
SAMPLE = 500
SAMPLES_MIN = 50  # zstd trains on no fewer

Told = dict[str, Any]
Result = TypeVar("Result")


def by_corpus(corpus: Corpus, work: Path) -> Told:
    """Bytes of its segments, stored in each way, and how quickly. Times are of the processor."""
    say(f"{corpus.name}: importing and compacting")
    vault = work / "models"
    before = child("import", vault, sources=[str(corpus.path)], stats=True)["stats"]
    rows, other_bytes, others = [], 0, 0
    for segment, frame_bytes in segments_of(vault):
        if segment.vocabulary is VOCABULARY:
            rows.append(segment.tokens)
        else:
            other_bytes, others = other_bytes + frame_bytes, others + 1
    after = child("compact", vault, stats=True)["stats"]
    shutil.rmtree(vault)
    return {
        "name": corpus.name,
        "segments": len(rows),
        "other_segments": others,
        "other_frames_bytes": other_bytes,
        "ids": sum(map(len, rows)),
        "text_bytes": _text_bytes(rows),
        "frames_bytes": sum(kind["bytes"] for kind in before["frames"].values()),
        "sealed_bytes": {k["kind"]: k["stored_bytes"] for k in after["kinds"]}.get("segments", 0),
        "dictionary": under_dictionary(rows, rows),
        "model": best_model(rows),
        "held_out": held_out(rows),
    }


def _text_bytes(rows: Sequence[Ids]) -> int:
    return sum(len(spell(ids, VOCABULARY)) for ids in rows)


def _timed(run: Callable[[], Result]) -> tuple[Result, float]:
    begin = time.process_time()
    return run(), time.process_time() - begin


def under_dictionary(learned: Sequence[Ids], rows: Sequence[Ids]) -> Told:
    """zstd frames of varints, with the four bytes of its magic number left out."""
    samples: list[bytes | bytearray | memoryview] = [encode_varints(ids) for ids in learned]
    content = b""
    if len(samples) >= SAMPLES_MIN:
        content = zstandard.train_dictionary(DICTIONARY_BYTES, samples).as_bytes()
    dictionary = zstandard.ZstdCompressionDict(content)
    dictionary.precompute_compress(LEVEL)
    compressor = zstandard.ZstdCompressor(
        LEVEL, dict_data=dictionary, write_content_size=False, write_dict_id=False
    )
    symbols = [encode_varints(ids) for ids in rows]
    frames, encoding = _timed(lambda: [compressor.compress(one) for one in symbols])
    pairs = zip(frames, symbols, strict=True)
    coded = sum(min(len(frame) - 4, len(one)) for frame, one in pairs)
    decompressor = zstandard.ZstdDecompressor(dict_data=dictionary)
    lengths = list(map(len, symbols))
    _, decoding = _timed(lambda: list(map(decompressor.decompress, frames, lengths)))
    return {
        "coded_bytes": coded,
        "own_bytes": len(zstandard.compress(content, LEVEL)),
        "encoding_seconds": encoding,
        "decoding_seconds": decoding,
    }


def learned_trie(rows: Sequence[Ids]) -> tuple[Trie, float]:
    """With the seconds that it took."""
    trie = Trie(DEPTH, NODES_MAX)
    ids = np.concatenate([part for row in rows for part in (row, [END])]).astype(np.uint32)
    (taken, _), seconds = _timed(lambda: observe(trie, ids))
    if taken < len(ids):
        raise SystemExit(f"bench: more than {NODES_MAX} nodes")
    return trie, seconds


def best_model(rows: Sequence[Ids]) -> Told:
    """The one that takes the fewest bytes, its own counted, of ``WORTHS``."""
    trie, learning = learned_trie(rows)
    found = []
    for worth in WORTHS:
        model, freezing = _timed(
            lambda worth=worth: freeze(trie, VOCABULARY, _sample(rows), worth)  # type: ignore[misc]
        )
        found.append(_coded(model, rows) | {"freezing_seconds": freezing})
    best: Told = min(found, key=lambda told: told["coded_bytes"] + told["own_bytes"])
    return best | {
        "learning_seconds": learning,
        "trie_nodes": trie.used,
        "trie_bytes": trie.memory_bytes,
    }


def _sample(rows: Sequence[Ids]) -> Sequence[Ids]:
    return rows[:: max(1, len(rows) // SAMPLE)]


def _coded(model: Model, rows: Sequence[Ids]) -> Told:
    own = len(zstandard.compress(model.encode(), LEVEL))
    memory = model.memory_bytes
    coded, encoding = _timed(lambda: coder.encode_many(rows, model))
    decoded, decoding = _timed(lambda: coder.decode_many(coded, model))
    if not all(np.array_equal(one, ids) for one, ids in zip(decoded, rows, strict=True)):
        raise SystemExit("bench: coded ids came back as others")
    return {
        "coded_bytes": sum(map(len, coded)),
        "own_bytes": own,
        "memory_bytes": memory,
        "contexts": len(model.keys),
        "entries": len(model.tokens),
        "encoding_seconds": encoding,
        "decoding_seconds": decoding,
    }


def held_out(rows: Sequence[Ids]) -> Told:
    """A tenth of the segments under what was learned from the others."""
    order = random.Random(3).sample(range(len(rows)), len(rows))
    cut = max(len(rows) // 10, 1)
    unseen, learned = [rows[at] for at in order[:cut]], [rows[at] for at in order[cut:]]
    trie, _ = learned_trie(learned or unseen)
    model = freeze(trie, VOCABULARY, _sample(learned or unseen), HELD_OUT)
    return {
        "text_bytes": _text_bytes(unseen),
        "model_bytes": sum(map(len, coder.encode_many(unseen, model))),
        "dictionary_bytes": under_dictionary(learned, unseen)["coded_bytes"],
    }
