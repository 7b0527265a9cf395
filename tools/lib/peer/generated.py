"""Conversations that drift: one system prompt, filled in differently each time. Seeded."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Messages = list[dict[str, Any]]

GUESTS = ("Amara", "Bruno", "Chiyo", "Dmitri", "Elif", "Fergus", "Gita", "Hugo", "Ines", "Jonas")
HARBOURS = ("Antwerp", "Bergen", "Cadiz", "Dublin", "Esbjerg", "Gdansk", "Hull", "Izmir", "Kiel")
CABINS = ("inside", "outside", "balcony", "family", "suite")
THINGS = ("luggage", "ticket", "cabin", "invoice", "vehicle", "meal", "transfer", "voucher")
TROUBLES = ("lost", "late", "double", "too small", "not confirmed", "locked", "wrong", "damaged")

INTERPOLATED_MULTIPLIERS = (1, 7, 13)
FIRST_RARE_ID = 90_000


def drift_tokens(seed: int, length: int) -> list[int]:
    """Ascending ids of which three, at places that depend on ``seed``, are rare ones.

    The same as in the contract of the frames, so that its figures can be compared.
    """
    tokens = list(range(length))
    for number, multiplier in enumerate(INTERPOLATED_MULTIPLIERS):
        rare = FIRST_RARE_ID + (seed * 17 + number * 11) % 5_000
        tokens[seed * multiplier % length] = rare
    return tokens


def token_conversations(count: int, length: int, first_user_id: int) -> Iterator[Messages]:
    for number in range(count):
        yield [
            {"role": "system", "tokens": drift_tokens(number, length)},
            {"role": "user", "tokens": [first_user_id + number]},
        ]


def text_conversations(count: int) -> Iterator[Messages]:
    """Customers of a ferry line: a system prompt of some 300 tokens, a question, an answer."""
    chance = random.Random(41)
    for _ in range(count):
        thing, trouble = chance.choice(THINGS), chance.choice(TROUBLES)
        other, number = chance.choice(THINGS), chance.randint(2, 9999)
        question = (
            f"Since I changed the {other} {number} in {chance.choice(HARBOURS)}, my {thing} is"
            f" {trouble}. Who can help me?"
        )
        answer = (
            f"I have looked at booking {number}: the {thing} is {trouble} because the {other} was"
            " changed later. Shall I put it back to what it was before?"
        )
        yield [
            {"role": "system", "content": _instructions(chance)},
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]


def _instructions(chance: random.Random) -> str:
    guest, harbour, to = chance.choice(GUESTS), *chance.sample(HARBOURS, 2)
    day = f"2026-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    return (
        "You answer the customers of a ferry line that sails between the harbours of northern and"
        " southern Europe, by day and by night, with cars, bicycles and people on foot."
        f" The customer today is {guest}, who sails from {harbour} to {to} on {day}."
        " Read all of the rules below before the first answer, and keep to them even when the"
        " customer asks you not to. Say first what you have understood, in a single sentence, and"
        " ask whether it is right. Then give the steps in their order, each with the name of the"
        " page or the counter where it is done. Never ask for the number of a card or for a"
        " password, and never repeat one that you were told."
        f" The booking is F-{chance.randint(100_000, 999_999)}, a cabin of the kind"
        f" {chance.choice(CABINS)} on deck {chance.randint(4, 11)}, paid with"
        f" {chance.randint(80, 990)} euros."
        " A crossing can be moved without a charge until two days before it begins, and with half"
        " of the price from then on. Dogs stay on the car deck or in a cabin for animals, never in"
        " the restaurant. Children below four sail for nothing, those below twelve for half. When a"
        " storm keeps a ship in the harbour, everybody chooses between the next crossing and the"
        " whole price back; nothing else is promised, and no reason but the weather is given."
        f" The ship leaves from pier {chance.randint(1, 30)}, and check-in ends"
        f" {chance.randint(30, 120)} minutes before."
        " If the customer is upset, say once that you are sorry, and then solve what can be solved."
        " What you cannot solve goes to the office on land with the booking, the day and one"
        " sentence about it. At the end, sum up what was agreed, and wish a calm sea."
    )


GENERATED: dict[str, Callable[[], Iterator[Messages]]] = {
    "seed-250": lambda: token_conversations(30, 250, 100),
    "drift-tokens": lambda: token_conversations(1000, 300, 5000),
    "drift-text": lambda: text_conversations(1000),
}
"""``{name: conversations}``; the first is that of the contract's test of compaction."""


def write_files(name: str, directory: Path) -> Path:
    """A corpus of a file for each of the conversations of that name; its directory."""
    directory.mkdir(parents=True)
    for number, messages in enumerate(GENERATED[name]()):
        fields = {"id": f"{name}-{number:05}", "model": "gpt-4", "messages": messages}
        (directory / f"{number:05}.json").write_text(json.dumps(fields) + "\n")
    return directory
