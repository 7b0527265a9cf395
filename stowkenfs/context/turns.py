"""Which messages belong together: calls with what answers them, turns, and what is pinned."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from stowkenfs.context.messages import Message, PartKind

Range = tuple[int, int]
"""Indexes of the first message and of that behind the last."""

SYSTEM_ROLES = frozenset({"system", "developer"})


def groups_of(messages: Sequence[Message]) -> list[Range]:
    """The least ranges that may be taken away as a whole: no call is parted from its answer."""
    called: dict[str, int] = {}
    last_of = list(range(len(messages)))  # the last message that must be with this one
    for at, message in enumerate(messages):
        for part in message.parts:
            if part.call_id is None:
                continue
            if part.kind is PartKind.CALL:
                called[part.call_id] = at
            elif part.call_id in called:
                last_of[called[part.call_id]] = at
    groups: list[Range] = []
    start = 0
    while start < len(messages):
        at, end = start, last_of[start]
        while at < end:
            at += 1
            end = max(end, last_of[at])
        groups.append((start, end + 1))
        start = end + 1
    return groups


def turns_of(messages: Sequence[Message], groups: Sequence[Range]) -> list[Range]:
    """Turns: what one side says until the other does, or until the answers of its calls are in."""
    turns: list[Range] = []
    kinds: list[tuple[bool, bool]] = []
    for start, end in groups:
        is_user = messages[start].role not in ("assistant", *SYSTEM_ROLES)
        is_over = end - start > 1
        if kinds and kinds[-1] == (is_user, False):
            turns[-1] = turns[-1][0], end
            kinds[-1] = is_user, is_over
        else:
            turns.append((start, end))
            kinds.append((is_user, is_over))
    return turns


def system_messages(messages: Sequence[Message]) -> int:
    """How many messages at the beginning are the system prompt."""
    return next(
        (at for at, one in enumerate(messages) if one.role not in SYSTEM_ROLES), len(messages)
    )


def opening_messages(messages: Sequence[Message], groups: Sequence[Range]) -> int:
    """How many messages at the beginning say what it is about: up to the first of the user's."""
    at = system_messages(messages)
    starts = dict(groups)
    while at < len(messages) and messages[at].role != "assistant" and starts.get(at) == at + 1:
        at += 1
    return at


def pinned_messages(
    messages: Sequence[Message], groups: Sequence[Range], last_turns: int, marked: Iterable[int]
) -> frozenset[int]:
    """Indexes of the messages that never leave, whole groups of them."""
    pinned = set(range(system_messages(messages)))
    turns = turns_of(messages, groups)
    if last_turns and turns:
        pinned.update(range(turns[max(len(turns) - last_turns, 0)][0], len(messages)))
    wanted = {at for at in marked if 0 <= at < len(messages)}
    wanted.update(at for at, one in enumerate(messages) if one.is_marked)
    for start, end in groups if wanted else ():
        if not wanted.isdisjoint(range(start, end)):
            pinned.update(range(start, end))
    return frozenset(pinned)


def ranges_of(indexes: Iterable[int]) -> list[Range]:
    """Runs of successive numbers of ``indexes``, which ascend."""
    found: list[Range] = []
    for at in indexes:
        if found and found[-1][1] == at:
            found[-1] = found[-1][0], at + 1
        else:
            found.append((at, at + 1))
    assert all(one[1] < other[0] for one, other in pairwise(found))
    return found
