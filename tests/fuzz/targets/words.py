"""Texts that people and programs give: documents, words of control files, options."""

import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from stowkenfs.control.words import Word, parse_words, share, text_of, whole, yes_or_no
from stowkenfs.documents.decimals import write_cells
from stowkenfs.documents.deflate import put_together, take_apart
from stowkenfs.documents.record import render
from stowkenfs.documents.shapes import conversation_ids, parse, payload_types, turns
from stowkenfs.documents.split import Splitter, Unit, UnitKind, encode_unit
from stowkenfs.errors import BadRequest, InvalidId, NotAConversation
from stowkenfs.fs.options import MountOptions
from stowkenfs.grids.formats import GridFormat, encode
from stowkenfs.grids.grid import Grid
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.conversation import parse_conversation, path_of_id, render_conversation
from tests.format_vectors import VECTORS, content_of
from tests.fuzz.target import Target

_WORDS: Sequence[Word] = (
    whole("samples", "", 1, 1000, 5),
    share("threshold", "", 0.85),
    yes_or_no("dry-run", ""),
    Word("id", "", "an id", str, bare=True),
)

_DOCUMENTS = (
    b'{"id":"c1","messages":[{"role":"user","content":"Hello \\u00e9\\ud83d\\ude00, how are you? '
    b'It is a fine day for a walk over the hill."},{"role":"assistant","content":null,'
    b'"tool_calls":[{"function":{"name":"f","arguments":"{\\"a\\":1e-5}"}}]}]}\n',
    b'{"tokens": [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 4294967295], "x": -0.1}\n' * 2,
    b'data: {"delta": {"content": "streamed text that is long enough to be a payload, yes"}}\n\n',
    b"\n\nHuman: what is a unit?\n\nAssistant: a range of bytes.\n\nHuman: thanks",
    b'["\\ud800 a lone surrogate in a text that is long enough for a payload of its own"]',
    b'[[[[[[[["deep"]]]]]]]]',
    b'{"id": "\\udc00", "conversation_id": "../../x", "a": 1, "a": 2}',
    b'{"model": "gpt-4o", "image": "' + b"QUJD" * 30 + b'"}',
    bytes(range(256)),
    b'{"width": 4, "height": 4, "data": [%s]}' % b", ".join(b"%d.5" % at for at in range(16)),
    *(encode(Grid.of(np.arange(20.0).reshape(4, 5) / 3), one) for one in GridFormat),
)

_CELLS = bytes(np.arange(6.0) / 3)
_LAYOUTS = (b"\0\0\2, \0", b"\1\3\1,\2,\n", b"\2\2\0\0")


def _document(content: bytes) -> None:
    """What is stored is what was written, whatever it is, and however it is cut."""
    judged = about(content[:HEAD_BYTES])
    for name in judged.names:
        name.encode()
    splitter = Splitter(judged.shape)
    half = len(content) // 2
    units = splitter.feed(content[:half], final=False) + splitter.feed(content[half:], final=True)
    assert b"".join(unit.content for unit in units) == content
    for unit in units:
        _same(unit)
    for kind in UnitKind:
        _same(Unit(0, content, kind))


def _same(unit: Unit) -> None:
    records = encode_unit(unit)
    assert b"".join(render(one.templates, one.values) for one in records) == unit.content


def _recipe(content: bytes) -> None:
    put_together(content, _CELLS)


@cache
def _recipes() -> list[bytes]:
    made = (zlib.compressobj(level, zlib.DEFLATED, -15) for level in (0, 6, 9))
    streams = [one.compress(_CELLS * 9) + one.flush() for one in made]
    head_bytes = len(_CELLS) * 8
    return [recipe for one in streams if (recipe := take_apart(one, _CELLS * 9, head_bytes))]


def _layout(content: bytes) -> None:
    write_cells(content, _CELLS)


def _shapes(content: bytes) -> None:
    value = parse(content.decode("utf-8", "replace"))
    turns(value)
    payload_types(value)
    conversation_ids(value)


def _conversation(content: bytes) -> None:
    found = parse_conversation(content)
    again = parse_conversation(render_conversation(found))
    assert render_conversation(again) == render_conversation(found)


def _id(content: bytes) -> None:
    path = path_of_id(content.decode("utf-8", "surrogatepass"))
    assert all(0 < len(part) <= 255 and part not in (b".", b"..") for part in path.split(b"/"))
    assert b"\0" not in path


def _words(content: bytes) -> None:
    text = text_of(content)
    parse_words(text, _WORDS)


def _options(content: bytes) -> None:
    options = MountOptions.parse(content.decode("utf-8", "surrogateescape"))
    assert options.workers is None or options.workers >= 0
    assert 0 <= options.seal_after_seconds <= 86400


_OPTIONS = (
    b"allow_other,control=visible,workers=2,seal_after=0.5,near_dedup=0.85,_netdev,x-systemd.a=b",
    b"rw,ro,writeback,comment=x,control=hidden",
    b"workers=\xd9\xa3",
    b"seal_after=nan",
    b"seal_after=1e400",
)


def _conversations() -> Sequence[bytes]:
    found = [
        content_of(vector) for name, vector in VECTORS.items() if name.startswith("conversation/")
        and "hex" in vector
    ]  # fmt: skip
    return [*found, *_DOCUMENTS]


TARGETS = (
    Target("document", _document, lambda: _DOCUMENTS, ()),
    Target("deflate-recipe", _recipe, _recipes),
    Target("cells-layout", _layout, lambda: _LAYOUTS),
    Target("shapes", _shapes, lambda: _DOCUMENTS, ()),
    Target("conversation", _conversation, _conversations, (NotAConversation,)),
    Target(
        "conversation-id",
        _id,
        lambda: [b"app/chat-7", b"../../victim", b"/a", b"a//b", b"a/./b", b"a\0", b"x" * 300],
        (InvalidId, UnicodeDecodeError),
    ),
    Target(
        "control-words",
        _words,
        lambda: [b"samples=5 threshold=0.5 dry-run=yes abc", b"1\n", b"samples=\xc2\xb2", b"a a"],
        (BadRequest,),
    ),
    Target("mount-options", _options, lambda: _OPTIONS, (BadRequest,)),
)
