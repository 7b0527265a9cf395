"""tests/vectors/model and coded, both ways, in C, in Python and by the second reader."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest

from stowkenfs import errors, kernels
from stowkenfs.ids import Vocabulary
from stowkenfs.predict import coder
from stowkenfs.predict.model import END, ID_BITS, Model
from tests import second_reader_model
from tests.format_vectors import VECTORS, Vector, content_of, vectors
from tests.kernels import using

WAYS = pytest.mark.parametrize("compiled", [kernels.built, None], ids=["compiled", "python"])


def model_of(vector: Vector) -> Model:
    return Model.decode(content_of(VECTORS[f"model/{vector['model']}"]))


def ids_of(key: int) -> list[int]:
    return [key >> (2 - at) * ID_BITS & END for at in range(key >> 3 * ID_BITS)]


@vectors("model")
def test_a_model(vector: Vector) -> None:
    content = content_of(vector)
    model = Model.decode(content)
    assert model.encode() == content
    assert model.hash.hex() == vector["sha256"] == hashlib.sha256(content).hexdigest()
    assert model.vocabulary is Vocabulary[vector["vocabulary"]]
    assert (model.orders, list(model.hits)) == (vector["orders"], vector["hits"])
    if "contexts" in vector:
        ends = np.cumsum(model.sizes)
        assert vector["contexts"] == [
            {
                "ids": ids_of(int(key)),
                "escape": int(escape),
                "entries": model.tokens[end - size : end].tolist(),
                "counts": model.counts[end - size : end].tolist(),
            }
            for key, escape, size, end in zip(
                model.keys, model.escapes, model.sizes, ends, strict=True
            )
        ]


@vectors("model")
def test_the_second_reader_finds_the_same_model(vector: Vector) -> None:
    model = Model.decode(content_of(vector))
    found = second_reader_model.read_model(content_of(vector))
    assert (found.vocabulary, found.orders, found.hits) == (
        model.vocabulary, model.orders, model.hits,
    )  # fmt: skip
    assert [list(ids) for ids in found.contexts] == [ids_of(int(key)) for key in model.keys]
    assert [context.escape for context in found.contexts.values()] == model.escapes.tolist()
    entries = [entry for context in found.contexts.values() for entry in context.entries]
    weights = (model.counts.astype(int) * 8 - 5).tolist()
    assert entries == list(zip(model.tokens.tolist(), weights, strict=True))


@vectors("model", bad=True)
def test_no_model(vector: Vector) -> None:
    with pytest.raises(getattr(errors, vector["error"])):
        Model.decode(content_of(vector))


@WAYS
@vectors("coded")
def test_coded_ids(vector: Vector, compiled) -> None:
    model = model_of(vector)
    ids = np.array(vector["ids"], np.uint32)
    with using(compiled):
        assert coder.encode(ids, model).hex() == vector["hex"]
        assert coder.decode(content_of(vector), model).tolist() == vector["ids"]


@vectors("coded")
def test_the_second_reader_finds_the_same_ids(vector: Vector) -> None:
    model = second_reader_model.read_model(content_of(VECTORS[f"model/{vector['model']}"]))
    assert second_reader_model.read_ids(content_of(vector), model) == vector["ids"]


@WAYS
@vectors("coded", bad=True)
def test_no_coded_ids(vector: Vector, compiled) -> None:
    with using(compiled), pytest.raises(getattr(errors, vector["error"])):
        coder.decode(content_of(vector), model_of(vector))


def test_another_process_without_compiled_code_gives_the_same() -> None:
    """As another machine would: nothing of this process, no C."""
    code = (
        "import sys, json, numpy as np\n"
        "from stowkenfs.predict.model import Model\n"
        "from stowkenfs.predict.coder import encode\n"
        "model, ids = json.load(sys.stdin)\n"
        "print(encode(np.array(ids, np.uint32), Model.decode(bytes.fromhex(model))).hex())\n"
    )
    vector = VECTORS["coded/trained"]
    given = json.dumps([VECTORS["model/trained"]["hex"], vector["ids"]])
    done = subprocess.run(
        [sys.executable, "-c", code], input=given, capture_output=True, text=True, check=True,
        env={kernels.PURE: "1", "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert done.stdout.strip() == vector["hex"]
