"""What the encoder of a batch takes beside the batch itself, in a process of its own."""

import json
import subprocess
import sys

SCRIPT = """
import json
import numpy as np
from stowkenfs.documents.body import References, encode_body
from stowkenfs.documents.values import Style
from stowkenfs.frames.kinds import FrameKind
from stowkenfs.frames.varints import encode_varints
from stowkenfs.ids import SegmentType, Vocabulary
from stowkenfs.vault.compaction.batch import BatchIn, CompactOptions
from stowkenfs.vault.compaction.encode import encode_dense_batch

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024

def batch_of(n_segments):
    batch = BatchIn(CompactOptions(level=1))
    chance = np.random.default_rng(1)
    batch.templates[0] = b"\\0"
    for at in range(n_segments):
        ids = np.minimum(chance.pareto(1.0, 100) * 50, 99_999).astype(np.uint32)
        frame = bytes((FrameKind.VARINT, Vocabulary.CL100K_BASE)) + encode_varints(ids)
        value = References(Style.MINIMAL, (SegmentType.USER_TURN,), (at,))
        batch.segments.append(at, frame)
        batch.records.append(at, 400, at, encode_body([0], [value]))
    batch.chunk_ends = list(range(500, n_segments, 500)) + [n_segments]
    return batch

encode_dense_batch(batch_of(100))
batch = batch_of(30_000)
before = peak()
out = encode_dense_batch(batch)
print(json.dumps({
    "batch": batch.records.bodies.total_bytes + batch.segments.frames.total_bytes,
    "out": sum(len(block.encoded) for block in out.blocks),
    "segments": len(out.segments),
    "grown": peak() - before,
}))
"""


def test_the_encoder_does_not_hold_a_batch_decoded() -> None:
    """Its 3 million ids and 60,000 values would be some 150 MB."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=120
    )
    told = json.loads(done.stdout)
    assert told["segments"] == 30_000
    assert 3e6 < told["batch"] < 8e6
    assert told["grown"] < 60e6, told
