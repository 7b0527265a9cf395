"""One cell of the matrix: a damaged vault, what is done with it, and what came of it.

What must not happen is ``Broken``: bytes that nobody wrote, an error that has no type, a
traceback in the log, something lost that the damage did not touch, or damage that spreads.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from stowkenfs.errors import (
    NotOwnFile,
    StowkenError,
    TreeError,
)
from stowkenfs.vault.reindex.rebuild import rebuild_closed
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.verify import VerifyReport
from tests.damage.subjects import CONFIG, QUICK, UNTOLD, Entry, Range, Subject, entry_of
from tests.vault.rebuilding import chat, rewrite

SECONDS = 60


class Broken(AssertionError):
    """A promise that damage broke."""


@dataclass(slots=True)
class Found:
    """What a vault said when everything in it was asked for.

    ``refused``: it did not open. ``failed``: paths that could not be read whole, and why.
    """

    refused: Exception | None = None
    failed: dict[bytes, Exception] = field(default_factory=dict)
    report: VerifyReport | None = None


@dataclass(frozen=True, slots=True)
class Expecting:
    """What may be asked of a vault. ``drafts``: whether files that are partly drafts are exact.

    Drafts have no checksums; and without an index their places are not known, so that files
    have what they had before, and the drafts are under ``/lost+found``.
    """

    subject: Subject
    drafts: str = "exact"


# What is done with it

Operation = Callable[[Vault], Awaitable[object]]


async def nothing(_vault: Vault) -> None:
    pass


async def write(vault: Vault) -> None:
    await vault.write_document(b"/fresh/1.json", chat(500))
    rewrite(vault, b"/fresh/1.json", 3, b"over it")
    await vault.sync_file(vault.tree.resolve(b"/fresh/1.json").ino)
    again = chat(1)  # what is there already, by keys that may be damaged
    await vault.write_document(b"/fresh/2.json", again)
    assert await vault.read_file(vault.tree.resolve(b"/fresh/2.json").ino) == again


async def seal(vault: Vault) -> None:
    await vault.sealer.seal_due(everything=True)


async def change(vault: Vault) -> None:
    """Names and attributes, of a file in a folder that may be frozen."""
    tree = vault.tree
    inode = tree.resolve(b"/runs/00.json")
    before = inode.mode
    tree.set_attributes(inode.ino, mode=0o600)
    tree.set_attributes(inode.ino, mode=before)


async def compact(vault: Vault) -> None:
    await vault.compact(QUICK)


async def gc(vault: Vault) -> None:
    await vault.gc()


async def train(vault: Vault) -> None:
    await vault.train_substrings(50, 3)
    await vault.train_dictionary(50, activate=True)
    await vault.compact_substrings()
    await vault.gc_substrings()


async def verify(vault: Vault) -> None:
    await vault.verify()


async def reindex(vault: Vault) -> None:
    await vault.reindex()


async def near(vault: Vault) -> None:
    await vault.find_near_duplicates()


async def look_around(vault: Vault) -> None:
    await vault.stats()
    vault.list()
    vault.list_substrings()
    vault.list_dictionaries()
    async with aclosing(vault.walk()) as entries:  # type: ignore[type-var]
        async for _, inode in entries:
            await vault.summarize(inode.ino)


OPERATIONS: dict[str, Operation] = {
    "open": nothing, "write": write, "seal": seal, "change": change, "compact": compact,
    "gc": gc, "train": train, "verify": verify, "reindex": reindex, "near": near,
    "look around": look_around,
}  # fmt: skip


# Judging


@contextmanager
def no_tracebacks() -> Iterator[None]:
    """Nothing is logged with a traceback inside."""
    seen: list[str] = []

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                seen.append(self.format(record))

    handler = Watch()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    if seen:
        raise Broken(f"a traceback in the log: {seen[0]}")


@contextmanager
def typed(where: str) -> Iterator[list[Exception]]:
    """Collects an error that has a type of ours, or is a disk's; any other is Broken."""
    errors: list[Exception] = []
    try:
        yield errors
    except Broken:
        raise
    except (StowkenError, OSError) as error:
        errors.append(error)
    except BaseException as error:
        told = "".join(traceback.format_exception(error))
        raise Broken(f"{where}: {type(error).__name__} has no type of ours\n{told}") from error


def _is_right(expecting: Expecting, path: bytes, content: bytes | None, expected: Entry) -> bool:
    drafts, before = expecting.drafts, expecting.subject.before
    if content == expected.content:
        return True
    if not expected.drafted or drafts == "exact" or content is None or expected.content is None:
        return False
    if drafts == "any":
        return True
    return content == before.get(path)


async def _read_all(expecting: Expecting, vault: Vault, found: Found) -> None:
    for path, expected in expecting.subject.entries.items():
        with typed(f"reading {path!r}") as errors:
            entry = await entry_of(vault, path)
            if not _is_right(expecting, path, entry.content, expected):
                raise Broken(
                    f"{path!r} reads as other bytes: {_differ(entry.content, expected.content)}"
                )
            if (entry.mode, entry.target, entry.xattrs) != (
                expected.mode, expected.target, expected.xattrs,
            ):  # fmt: skip
                raise Broken(f"{path!r} has other attributes: {entry}")
        if errors:
            found.failed[path] = errors[0]


def _differ(found: bytes | None, expected: bytes | None) -> str:
    if found is None or expected is None:
        return "another sort of file"
    at = next((at for at, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), -1)
    return f"{len(found)} bytes for {len(expected)}, other from {at}"


async def _list_all(subject: Subject, vault: Vault) -> None:
    known = {*subject.entries, b"/fresh", b"/fresh/1.json", b"/fresh/2.json"}
    with typed("listing"):
        async with aclosing(vault.walk()) as entries:  # type: ignore[type-var]
            async for path, _ in entries:
                if path not in known and not path.startswith(b"/lost+found"):
                    raise Broken(f"{path!r} was never there")


def ask(expecting: Expecting, directory: Path, operation: Operation = nothing) -> Found:
    """Open it, do ``operation``, ask for everything."""
    found = Found()

    async def main() -> None:
        with anyio.fail_after(SECONDS):
            async with Vault.open(directory, CONFIG) as vault:
                opened.append(True)
                with typed(operation.__name__):
                    await operation(vault)
                await _read_all(expecting, vault, found)
                await _list_all(expecting.subject, vault)
                if operation is verify:
                    found.report = await vault.verify()

    opened: list[bool] = []
    with no_tracebacks(), typed("opening") as errors:
        anyio.run(main, backend="trio")
    if errors:
        if not opened:
            found.refused = errors[0]
        else:
            found.failed.setdefault(b"closing", errors[0])
    return found


@dataclass(slots=True)
class Outcome:
    """What a cell came to: ``right``, ``refused`` (typed, and reindexed), ``lost`` (a range)."""

    what: str
    lost: int = 0


def run_cell(
    subject: Subject,
    directory: Path,
    damage: Callable[[Path], None],
    operation: str,
    *,
    where: str = "",
    is_whole: bool = False,
    touched: Iterable[Range] = (),
) -> Outcome:
    """Damage a copy of the subject, use it, use it again, rebuild it; judge each.

    ``where``: the file that is damaged; ``is_whole``: it is gone, or another. ``touched``: the
    bytes of packs that the damage reached, if that is known: then only paths that need some
    of them may fail.
    """
    subject.copy(directory)
    damage(directory)
    drafts = "before" if is_whole else "exact"
    if where.startswith("drafts"):
        drafts = "any"
    expecting = Expecting(subject, drafts)
    if operation == "rebuild":
        first = ask(expecting, directory)
    else:
        first = ask(expecting, directory, OPERATIONS[operation])
    worst: dict[bytes, Exception] = {}
    if first.refused is None:
        _judge(subject, first, set(touched), is_whole=is_whole)
        again = ask(expecting, directory)
        _no_more_than(first.failed, again)
        worst = first.failed | again.failed
    if isinstance(first.refused, NotOwnFile):  # a person has to take it away
        return Outcome("refused")
    if first.refused is not None or operation == "rebuild":
        lost = "before" if first.refused is not None and drafts != "any" else drafts
        _rebuild(Expecting(subject, lost), directory, first, worst)
    if first.refused is not None:
        return Outcome("refused")
    return Outcome("lost" if worst else "right", len(worst))


def _judge(subject: Subject, found: Found, touched: set[Range], *, is_whole: bool) -> None:
    for path, error in found.failed.items():
        if isinstance(error, TreeError) and not (is_whole and path in UNTOLD):
            raise Broken(f"{path!r} is not there: {error!r}")
        if touched and path in subject.needs and not _meets(subject.needs[path], touched):
            raise Broken(f"{path!r} needs nothing of what is damaged, and fails: {error!r}")
        if found.report is not None and found.report.clean:
            raise Broken(f"verify is clean, and {path!r} fails: {error!r}")
    if found.report is not None and not found.report.problems:
        named = {item.path.encode() for item in found.report.files}
        for path in found.failed.keys() & subject.entries.keys() - named:
            raise Broken(f"verify does not name {path!r}: {found.failed[path]!r}")


def _meets(needed: set[Range], touched: set[Range]) -> bool:
    return any(
        name == other and start < until and begin < end
        for name, start, end in needed
        for other, begin, until in touched
    )


def _no_more_than(before: dict[bytes, Exception], after: Found) -> None:
    if after.refused is not None:
        raise Broken(f"it opened once, and then not: {after.refused!r}")
    more = {path: after.failed[path] for path in after.failed.keys() - before.keys()}
    if more:
        raise Broken(f"more is lost the second time: {more!r}")


def _rebuild(
    expecting: Expecting, directory: Path, first: Found, lost: dict[bytes, Exception]
) -> None:
    """A new index brings all that packs hold: what was readable before it stays so."""
    with no_tracebacks(), typed("rebuilding") as errors:
        report = rebuild_closed(directory)
    if errors:
        raise Broken(f"nothing brings it back: {errors[0]!r} after {first.refused!r}")
    found = ask(expecting, directory)
    if found.refused is not None:
        raise Broken(f"a new index, and it does not open: {found.refused!r}")
    entries = expecting.subject.entries
    more = {
        path: error
        for path, error in found.failed.items()
        if path not in lost
        and not (first.refused is not None and (path in UNTOLD or _is_drafted(entries, path)))
    }
    if more:
        raise Broken(f"lost by rebuilding: {more!r}; {report.damages} {report.problems}")


def _is_drafted(entries: dict[bytes, Entry], path: bytes) -> bool:
    return path in entries and entries[path].drafted
