"""Counts that are stored are those that the tokenizer gives."""

import json
import random

import numpy as np
import pytest

from stowkenfs.context.messages import measure
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.reading import read_conversation
from stowkenfs.errors import BudgetTooSmall, ConversationNotFound, NotAConversation
from stowkenfs.frames.codec import encode_delta, encode_frame
from stowkenfs.frames.lengths import frame_length, ranked_lengths
from stowkenfs.frames.segment import Segment
from stowkenfs.frames.tokenizer import tokenize
from stowkenfs.ids import Vocabulary
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.contexts import fit_document, fit_file
from stowkenfs.vault.token_counts import TokenCounter, digest_of, stored_counts
from stowkenfs.vault.vault import Vault
from tests.running import BACKENDS, run

CHANCE = random.Random(3)
WORDS = ["harbour", "tide", "boat", "crate", "é", "潮", "🚢", "\n", "\t", "{}", "def", "return"]
O200K = Vocabulary.O200K_BASE


def text(words: int) -> str:
    return " ".join(CHANCE.choices(WORDS, k=words))


def log(messages: int, words: int = 60) -> bytes:
    return "".join(
        json.dumps(
            {"role": ("user", "assistant")[at % 2], "content": text(CHANCE.randrange(words))}
        )
        + "\n"
        for at in range(messages)
    ).encode()


def tokens_of(document: bytes, count: TokenCounter) -> list[int]:
    dialogue = read_conversation(document).dialogue
    measure(dialogue, count)
    return [message.tokens for message in dialogue.messages]


@pytest.mark.parametrize("compacted", [False, True])
def test_stored_counts_are_those_of_the_tokenizer(compacted):
    document = log(300) + log(3, words=40_000)

    async def main() -> None:
        async with Vault.memory() as vault:
            ino = await vault.write_document(b"/log.jsonl", document)
            if compacted:
                await vault.compact()
            known = stored_counts(vault.reader, vault.extents_of_file(ino), O200K)
            assert len(known) > 150
            counter = TokenCounter(O200K, known)
            plain = TokenCounter(O200K, {})
            assert tokens_of(document, counter) == tokens_of(document, plain)
            assert counter.tokenized_bytes < plain.tokenized_bytes
            assert (
                stored_counts(vault.reader, vault.extents_of_file(ino), Vocabulary.CL100K_BASE)
                == {}
            )
            assert stored_counts(vault.reader, [], O200K) == {}

    run("trio", main)


def test_near_duplicates_are_counted_as_well():
    """Frames of differences have no symbols of their own."""
    base = text(300)
    lines = [json.dumps({"role": "user", "content": f"{base} {at} {text(5)}"}) for at in range(40)]
    document = "".join(f"{line}\n" for line in lines).encode()

    async def main() -> None:
        async with Vault.memory(VaultConfig(near_dedup_threshold=0.7)) as vault:
            ino = await vault.write_document(b"/log.jsonl", document)
            stats = await vault.stats()
            assert stats.frames["0x04"]["frames"] > 20
            known = stored_counts(vault.reader, vault.extents_of_file(ino), O200K)
            assert len(known) == 40
            assert tokens_of(document, TokenCounter(O200K, known)) == tokens_of(
                document, TokenCounter(O200K, {})
            )

    run("trio", main)


def test_lengths_of_frames():
    ids = tokenize("The harbour is dry at low water. " * 20, O200K)
    assert ids is not None
    frame = encode_frame(ids, O200K)
    assert frame_length(frame, None) == (O200K, len(ids))
    raw = np.frombuffer(b"bytes \xff\x80" * 9, np.uint8).astype(np.uint32)
    assert frame_length(encode_frame(raw, Vocabulary.BYTES), None) == (Vocabulary.BYTES, len(raw))
    for empty in (O200K, Vocabulary.BYTES):
        assert frame_length(encode_frame(raw[:0], empty), None) == (empty, 0)
    segment = Segment(O200K, ids)
    assert encode_delta(segment, 7, segment) is not None
    assert ranked_lengths([b"\x01\x02", b"", b"\xa0\xff"[:1] + b"\x00"]).tolist() == [2, 0, 1]
    assert ranked_lengths([]).tolist() == []


def test_text_that_no_tokenizer_may_see_counts_its_bytes():
    counter = TokenCounter(O200K, {digest_of(b"known text"): 17})
    assert counter(["", "\ud800", "known text"]) == [0, 3, 17]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_library_fits_conversations(backend):
    document = log(80)

    async def main() -> None:
        async with Vault.memory() as vault:
            ino = await vault.write_document(b"/agents/run.jsonl", document)
            fitted = await vault.fit("agents/run.jsonl", 500)
            assert fitted.content is not None
            assert fitted.content != document
            assert fitted.report.tokens_after <= 500
            alone = fit_document(document, ContextConfig(500), {}, ino)
            assert alone == fitted
            cold = await vault.fit("agents/run.jsonl", ContextConfig(500), idle_seconds=1e6)
            assert cold.report.is_cache_cold
            with pytest.raises(BudgetTooSmall):
                await vault.fit("agents/run.jsonl", 5)
            with pytest.raises(ConversationNotFound):
                await vault.fit("absent", 5)
            noise = await vault.write_document(b"/noise", b"noise")
            with pytest.raises(NotAConversation):
                await fit_file(vault, noise, ContextConfig(5))

    run(backend, main)
