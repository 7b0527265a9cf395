import hashlib
from contextlib import suppress
from inspect import unwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.errors import FrameCorrupt
from stowkenfs.frames import token_table as module
from stowkenfs.frames.token_table import NAMES, parse_table, render_table, token_table
from stowkenfs.ids import Vocabulary


def test_the_example_in_the_docstring():
    canonical = bytes.fromhex("03010002616263")
    assert parse_table(canonical) == [b"a", None, b"bc"]
    assert render_table([b"a", None, b"bc"]) == canonical


@given(st.lists(st.none() | st.binary(min_size=1, max_size=128), max_size=200))
def test_round_trip(spellings):
    assert parse_table(render_table(spellings)) == spellings


@given(st.binary())
def test_hostile_bytes(canonical):
    with suppress(FrameCorrupt):
        parse_table(canonical)


@pytest.mark.parametrize("damaged", ["", "80", "0301", "0301000261", "0301000261626364"])
def test_refused(damaged):
    with pytest.raises(FrameCorrupt):
        parse_table(bytes.fromhex(damaged))


def test_a_long_spelling_is_refused():
    with pytest.raises(FrameCorrupt, match="more than 128 bytes"):
        parse_table(render_table([b"x" * 129]))


@pytest.mark.parametrize("vocabulary", NAMES)
def test_shipped_tables_are_the_pinned_ones(vocabulary):
    name = NAMES[vocabulary]
    table = token_table(vocabulary)
    spellings = table.spellings.tolist()
    assert hashlib.sha256(render_table(spellings)).hexdigest() == name.sha256
    assert len(spellings) == name.ids
    ordinary = spellings[: table.ordinary]
    assert None not in ordinary
    assert len(set(ordinary)) == name.ordinary
    assert {bytes((byte,)) for byte in range(256)} <= set(ordinary)
    assert not table.spellings.flags.writeable


@pytest.mark.parametrize("packed", [b"", b"junk", b"\x28\xb5\x2f\xfd"])
def test_a_damaged_file_is_refused(packed, tmp_path, monkeypatch):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "cl100k_base.bin").write_bytes(packed)
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(FrameCorrupt, match=r"cl100k_base\.bin"):
        unwrap(token_table)(Vocabulary.CL100K_BASE)


def test_another_table_is_refused(tmp_path, monkeypatch):
    import zstandard

    (tmp_path / "tables").mkdir()
    packed = zstandard.compress(render_table([b"a"]))
    (tmp_path / "tables" / "cl100k_base.bin").write_bytes(packed)
    monkeypatch.setattr(module, "files", lambda _: tmp_path)
    with pytest.raises(FrameCorrupt, match="is not the one named"):
        unwrap(token_table)(Vocabulary.CL100K_BASE)
