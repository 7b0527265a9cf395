"""Stored conversations fitted into a budget of tokens, and what left them for it."""

import gc
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio.to_thread

from stowkenfs.context.addresses import SpoolName
from stowkenfs.context.contents import spooled_content
from stowkenfs.context.fitting import fit
from stowkenfs.context.messages import measure
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import DOCUMENT_BYTES_MAX, read_conversation
from stowkenfs.context.report import PlanReport, report_of
from stowkenfs.context.writing import write_conversation
from stowkenfs.errors import BudgetTooSmall, NotAConversation, NotFound
from stowkenfs.ids import InodeNo
from stowkenfs.vault.about import HEAD_BYTES, about
from stowkenfs.vault.aside import run_aside
from stowkenfs.vault.documents import Documents
from stowkenfs.vault.token_counts import Counts, TokenCounter, stored_counts

T = TypeVar("T")

SMALL_BYTES = 64 << 10
"""Shorter documents are parsed in a thread: a process would take longer to be asked."""


@dataclass(frozen=True, slots=True)
class FittedDocument:
    """A document for a budget, and how it came to be; ``content`` is None if it does not fit."""

    content: bytes | None
    report: PlanReport
    error: BudgetTooSmall | None = None


async def fit_file(
    vault: Documents,
    ino: InodeNo,
    config: ContextConfig,
    *,
    idle_seconds: float | None = None,
) -> FittedDocument:
    """The conversation in a file, fitted. It is the file byte for byte where that fits already.

    ``idle_seconds`` overrules what the conversation tells of the pause before its last message.
    Raises NotAConversation, Corrupt.
    """
    document = await _read(vault, ino)
    vocabulary = (await anyio.to_thread.run_sync(about, document[:HEAD_BYTES])).vocabulary
    with vault.readers.enter():
        extents = vault.extents_of_file(ino)
        counts = await anyio.to_thread.run_sync(stored_counts, vault.reader, extents, vocabulary)
    work = partial(fit_document, document, config, counts, ino, idle_seconds)
    if vault.config.workers:  # which have a tokenizer already, and nobody waits for it to load
        return await run_aside(_without_collection, work)
    return await anyio.to_thread.run_sync(work)


def fit_document(
    document: bytes,
    config: ContextConfig,
    counts: Counts,
    number: int,
    idle_seconds: float | None = None,
) -> FittedDocument:
    """``document`` fitted; ``counts`` are those that are known, ``number`` names the file.

    Raises NotAConversation. Blocks; any thread or process.
    """
    vocabulary = about(document[:HEAD_BYTES]).vocabulary
    count = TokenCounter(vocabulary, counts)
    conversation = read_conversation(document)
    dialogue = conversation.dialogue
    measure(dialogue, count)
    fitting = fit(dialogue, config, count, document=number, idle_seconds=idle_seconds)
    error = None
    if not fitting.fits:
        pinned = sum(dialogue.messages[at].tokens for at in fitting.state.pinned)
        error = BudgetTooSmall(
            config.budget_tokens, fitting.tokens_after, pinned + dialogue.preamble_tokens
        )
    report = report_of(
        dialogue, fitting, vocabulary.name.lower(), None if error is None else str(error)
    )
    if error is not None:
        return FittedDocument(None, report, error)
    if fitting.steps:
        document = write_conversation(conversation, fitting.state)
    return FittedDocument(document, report)


async def read_spooled(vault: Documents, name: SpoolName) -> bytes:
    """The whole of what left a conversation under ``name``.

    Raises NotFound where the file is gone or says something else by now, Corrupt.
    """
    ino = InodeNo(name.document)
    document = await _read(vault, ino)
    work = partial(_spooled, document, name)
    if vault.config.workers and len(document) >= SMALL_BYTES:
        content = await run_aside(_without_collection, work)
    else:
        content = await anyio.to_thread.run_sync(work)
    if content is None:
        raise NotFound(f"nothing that is stored is called {name} any more")
    return content


def _spooled(document: bytes, name: SpoolName) -> bytes | None:
    try:
        return spooled_content(read_conversation(document), name)
    except NotAConversation:
        return None


async def _read(vault: Documents, ino: InodeNo) -> bytes:
    inode = vault.files.inode(ino)
    if not stat.S_ISREG(inode.mode):
        raise NotAConversation("only a file can be fitted")
    if inode.size > DOCUMENT_BYTES_MAX:
        raise NotAConversation(
            f"the file has {inode.size} bytes; up to {DOCUMENT_BYTES_MAX} can be fitted"
        )
    return await vault.read_file(ino)


def _without_collection(work: Callable[[], T]) -> T:
    """In a worker process: parsing makes many objects at once, none of them garbage."""
    gc.disable()
    try:
        return work()
    finally:
        gc.enable()
