"""Writing a payload's text as its document wrote it, and finding out how it did."""

import json
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring, encode_basestring_ascii
from typing import Final

from stowkenfs import kernels
from stowkenfs.documents.decimals import write_cells
from stowkenfs.documents.deflate import put_together
from stowkenfs.documents.occurring import occurring
from stowkenfs.documents.values import Style

_ESCAPE = re.compile(r"\\\\|\\u[0-9a-f]{4}")
_HTML = re.compile("[<>&\u2028\u2029]")
_HTML_ESCAPES = {
    "<": "\\u003c",
    ">": "\\u003e",
    "&": "\\u0026",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
}


def _minimal(text: str) -> str:
    return encode_basestring(text)[1:-1]


def _ascii(text: str) -> str:
    return encode_basestring_ascii(text)[1:-1]


def _ascii_upper(text: str) -> str:
    # An escaped backslash is matched too, so that the "u" after it is not taken for an escape.
    return _ESCAPE.sub(lambda found: found[0][:2] + found[0][2:].upper(), _ascii(text))


def _html_safe(text: str) -> str:
    return _HTML.sub(lambda found: _HTML_ESCAPES[found[0]], _minimal(text))


def _minimal_slash(text: str) -> str:
    return _minimal(text).replace("/", "\\/")


def _ascii_slash(text: str) -> str:
    return _ascii(text).replace("/", "\\/")


_WRITERS: Final[dict[Style, Callable[[str], str]]] = {
    Style.MINIMAL: _minimal,
    Style.ASCII: _ascii,
    Style.HTML_SAFE: _html_safe,
    Style.MINIMAL_SLASH: _minimal_slash,
    Style.ASCII_SLASH: _ascii_slash,
    Style.ASCII_UPPER: _ascii_upper,
}
_ORDERS: Final[dict[Style, tuple[Style, ...]]] = {
    first: (first, *(style for style in _WRITERS if style is not first)) for first in _WRITERS
}

_ESCAPES: Final = (b"\\/", b"\\u")
_ESCAPED_CHARACTER = re.compile(rb"\\u(?!00[01])([0-9a-fA-F]{4})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{78,}+={0,2}")


def write(style: Style, contents: Iterable[bytes]) -> bytes:
    """A payload's parts as they stand in the document.

    Raises UnicodeDecodeError (not UTF-8), and RecordCorrupt for what is no first part of a style
    that needs one.
    """
    if style >= Style.CELLS:
        return _write_by_first_part(style, contents)
    joined = b"".join(contents)
    if style is Style.VERBATIM:
        return joined
    if style is Style.BASE64:
        return b64encode(joined)
    if kernels.compiled is not None:
        written = kernels.compiled.escape(joined, style)
        if written is not None:
            return written
    return _WRITERS[style](joined.decode()).encode()


def _write_by_first_part(style: Style, contents: Iterable[bytes]) -> bytes:
    first, *others = contents or (b"",)
    joined = b"".join(others)
    return write_cells(first, joined) if style is Style.CELLS else put_together(first, joined)


def write_tokens(ids: Iterable[int], separator: bytes) -> bytes:
    """An array of token ids as it stands between its brackets."""
    return separator.decode("latin-1").join(map(str, ids)).encode("latin-1")


def styles_of(content: bytes) -> tuple[Style, ...]:
    """All escaping styles, the one that prevails in ``content`` first."""
    occur = occurring(content, _ESCAPES)
    slash = bool(occur & 1)
    found = _ESCAPED_CHARACTER.search(content) if occur & 2 else None
    if found is None:
        first = Style.MINIMAL_SLASH if slash else Style.MINIMAL
    elif not content.isascii() or found[1] in (b"003c", b"003e", b"0026"):
        first = Style.HTML_SAFE
    elif slash:
        first = Style.ASCII_SLASH
    else:
        first = Style.ASCII if found[1] == found[1].lower() else Style.ASCII_UPPER
    return _ORDERS[first]


def unescape(literal: bytes) -> bytes | None:
    """The text of a string literal (without its quotes); None if it is not JSON or not UTF-8.

    A lone surrogate is JSON, and not UTF-8.
    """
    if kernels.compiled is not None:
        return kernels.compiled.unescape(literal)
    try:
        text = json.loads(f'"{literal.decode()}"').encode()
    except ValueError:
        return None
    return text if isinstance(text, bytes) else None


def style_of(literal: bytes, text: bytes, styles: Iterable[Style]) -> Style | None:
    """The first style that writes ``text`` (UTF-8) as ``literal``, if any does."""
    for style in styles:
        if write(style, (text,)) == literal:
            return style
    return None


def read_base64(literal: bytes) -> bytes | None:
    """The bytes that ``literal`` is the canonical base64 of, if it is of 80 characters or more."""
    if len(literal) < 80 or len(literal) % 4 or not _BASE64.fullmatch(literal):
        return None
    try:
        decoded = b64decode(literal, validate=True)
    except Base64Error:
        return None
    return decoded if b64encode(decoded) == literal else None
