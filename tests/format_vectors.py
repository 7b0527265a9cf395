"""The files in tests/vectors, for the tests that compare them."""

import json
from pathlib import Path
from typing import Any

import pytest

Vector = dict[str, Any]

FOLDER = Path(__file__).parent / "vectors"
VECTORS: dict[str, Vector] = {
    path.relative_to(FOLDER).with_suffix("").as_posix(): json.loads(path.read_text())
    for path in sorted(FOLDER.glob("*/*.json"))
}
TINY_BLOCKS = ("template", "segment", "record", "namespace")


def vectors(*structures: str, bad: bool = False) -> pytest.MarkDecorator:
    """Parametrizes over the vectors of ``structures`` that decode, or those that must not."""
    names = [
        name
        for name, vector in VECTORS.items()
        if name.partition("/")[0] in structures and ("error" in vector) == bad
    ]
    assert names
    return pytest.mark.parametrize("vector", [VECTORS[name] for name in names], ids=names)


def content_of(vector: Vector) -> bytes:
    return bytes.fromhex(vector["hex"])
