"""Policies of folders as people write and read them. Pure functions.

A line is a folder, then words: ``sessions/ max-age=30d versions=3``, or ``sessions/ none``. Bytes
of a path that would not be told from the rest of the line, or not be seen, are written as in
URLs: ``%20`` is a blank.
"""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from stowkenfs.control.format import format_count, format_size, printable
from stowkenfs.control.words import Word, explain, parse_words, whole
from stowkenfs.errors import BadRequest
from stowkenfs.vault.retention.policy import KEEP_MAX, VERSIONS_MAX, Policy, parse_age
from stowkenfs.vault.retention.report import FolderReport

NONE: Final = "none"
"""In place of words: the folder has no policy any more."""

WORDS: Final = (
    Word(
        "max-age",
        "files last modified longer ago go, also in folders below",
        "a number with s, m, h, d, w or y, as 30d, or never",
        parse_age,
        shown="30d",
    ),
    whole("keep", "of the files directly in the folder the newest stay", 1, KEEP_MAX),
    whole("versions", "of each file so many earlier contents are kept", 0, VERSIONS_MAX),
)

_LINE = re.compile(rf"(\S.*?)((?:\s+(?:[A-Za-z_-]+=[^\s/]*|{NONE}))+)\s*")
_USAGE: Final = (
    "write a folder, then what it keeps, as 'sessions/ max-age=30d' or 'checkpoints/ keep=5'; "
    "'sessions/ none' takes that away again, and 'apply' alone removes what is to go"
)


def parse_lines(text: str) -> dict[bytes, Policy | None]:
    """Policies of folders by their paths; None takes one away. Raises BadRequest."""
    policies: dict[bytes, Policy | None] = {}
    for line in filter(None, map(str.strip, text.split("\n"))):
        found = _LINE.fullmatch(line)
        if found is None:
            raise BadRequest(f"{printable(line[:80])!r} is not understood: {_USAGE}")
        path = b"/".join(filter(None, unescape_path(found[1]).split(b"/")))
        if path in policies:
            raise BadRequest(f"{printable(found[1])} is named twice")
        policies[path] = parse_policy(found[2].strip())
    if not policies:
        raise BadRequest(_USAGE)
    return policies


def parse_policy(text: str) -> Policy | None:
    """The policy that words state, None for ``none``. Raises BadRequest."""
    if text == NONE:
        return None
    values = parse_words(text, WORDS)
    return Policy(values["max_age"], values["keep"], values["versions"])


def escape_path(path: bytes) -> str:
    """``path`` as it can be written to the control file: one word, all of it visible."""
    return "".join(
        letter
        if letter.isprintable() and not letter.isspace() and letter != "%"
        else quote_from_bytes(letter.encode("utf-8", "surrogateescape"), safe="")
        for letter in path.decode("utf-8", "surrogateescape")
    )


def unescape_path(text: str) -> bytes:
    """Inverse of ``escape_path``; what is not escaped stands for itself."""
    return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))


def folder_name(path: bytes) -> str:
    """A folder as it is shown: with a slash behind it, and none before it but for the root."""
    return escape_path(path.strip(b"/")) + "/"


def format_plan(folders: Sequence[FolderReport]) -> str:
    """Each policy with what it would remove now."""
    return "".join(map(_planned, folders)) or "no folder has a policy yet\n"


def format_removed(files: int, size_bytes: int) -> str:
    """What went since the vault was mounted, by itself or when asked for; nothing for nothing."""
    if not files:
        return ""
    counted = f"{format_count(files, 'file')}, {format_size(size_bytes)}"
    return f"removed since the vault was mounted: {counted}\n"


def usage() -> str:
    """What can be written to the control file."""
    return f"{_USAGE}\n{explain(WORDS)}"


def _planned(folder: FolderReport) -> str:
    lines = [f"{folder_name(folder.path)} {folder.policy.words()}"]
    lines.append(
        f"  would remove now: {_counted(folder)}" if folder.files else "  nothing to remove"
    )
    lines += [f"    {escape_path(path)}" for path in folder.oldest]
    if folder.files > len(folder.oldest):
        lines.append(f"    and {format_count(folder.files - len(folder.oldest), 'more file')}")
    lines += _notes(folder)
    return "".join(f"{line}\n" for line in lines)


def format_applied(folders: Sequence[FolderReport]) -> str:
    """What policies removed, a line for each that removed something."""
    if not (files := sum(folder.files for folder in folders)):
        text = "There was nothing to remove.\n"
    else:
        size = format_size(sum(folder.size_bytes for folder in folders))
        removed = f"{format_count(files, 'file')} removed, {size}"
        text = f"{removed}; gc gives their room back to the disk.\n"
    for folder in folders:
        if folder.files:
            text += f"  {folder_name(folder.path)} {_counted(folder)}\n"
        text += "".join(f"{line}\n" for line in _notes(folder))
    return text


def _counted(folder: FolderReport) -> str:
    return f"{format_count(folder.files, 'file')}, {format_size(folder.size_bytes)}"


def _notes(folder: FolderReport) -> list[str]:
    notes = [f"  problem: {printable(problem)}" for problem in folder.problems]
    if folder.waiting:
        waiting = format_count(folder.waiting, "file")
        notes.append(f"  waiting, being open or not sealed yet: {waiting}")
    return notes
