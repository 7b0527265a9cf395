from pathlib import Path

import pytest

from stowkenfs.documents.record import render
from stowkenfs.documents.split import Splitter, encode_unit, shape_of
from stowkenfs.documents.units import HEAD_BYTES_MAX
from tests.documents.corpora import unpacked

NAMES = [
    "acr-rounds",
    "alpaca-eval",
    "alpaca-eval-split",
    "api-bodies",
    "bfcl",
    "claude-sessions",
    "gpteacher",
    "gpteacher-split",
    "hh-harmless",
    "hh-harmless-split",
    "inspect-logs",
    "reflexion-jsonl",
    "sharegpt-sampled",
    "smile-zh",
    "swe-agent-trajs",
    "tau-airline",
    "tau-airline-split",
]
SAMPLE_BYTES = 2 << 20


@pytest.mark.corpora
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_sample_comes_back(name: str, tmp_path: Path) -> None:
    files = sorted(path for path in unpacked(name, tmp_path).rglob("*") if path.is_file())
    left_bytes = SAMPLE_BYTES
    for path in files[:: max(1, len(files) // 60)]:
        content = path.read_bytes()[:left_bytes]
        splitter = Splitter(shape_of(content[:HEAD_BYTES_MAX]))
        records = [
            record for unit in splitter.feed(content, final=True) for record in encode_unit(unit)
        ]
        assert b"".join(render(one.templates, one.values) for one in records) == content
        left_bytes -= len(content)
        if left_bytes <= 0:
            break
