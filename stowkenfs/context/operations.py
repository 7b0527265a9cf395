"""What each operation does to a conversation.

Each returns the indexes of the messages that it changed, and stops as soon as there are no more
than ``target`` tokens. Nothing is replaced by what takes as much.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from stowkenfs.context.eviction import AutoCompact, Collapse, Snip, Spool, TimeDecayMicro
from stowkenfs.context.handles import (
    Collapsed,
    Handle,
    HandleKind,
    MemoryTier,
    PagedOut,
    SpooledOut,
)
from stowkenfs.context.messages import Message, Part, PartKind, Path
from stowkenfs.context.notes import line_note, snipped
from stowkenfs.context.parts import compact_json
from stowkenfs.context.planner import LINE_TOKENS, PLACEHOLDER_TOKENS
from stowkenfs.context.spooling import plan_spool
from stowkenfs.context.state import REMOVED, State, is_apart

_LEAF_CHARACTERS_MIN = 200
"""Shorter texts in the arguments of a call are not snipped."""


def apply(state: State, op: object, target: int) -> Sequence[int]:
    """Do ``op``, one of EvictionOp."""
    if isinstance(op, Spool):
        return _spool(state, op)
    if isinstance(op, Snip):
        return _snip(state, op, target)
    if isinstance(op, TimeDecayMicro):
        return _decay(state, op, target)
    if isinstance(op, Collapse):
        return _collapse(state, op.first_message or 0, target)
    assert isinstance(op, AutoCompact)
    return _compact(state)


# Results


def _spool(state: State, op: Spool) -> Sequence[int]:
    handle = state.table.get(op.handle)
    if handle is None or not handle.saving:
        return ()
    message, part = state.parts[handle.id]
    path = state.path_of(message, part)
    config = state.config
    if part.kind is PartKind.MEDIA:
        note = line_note(part, path)
    else:
        decision = plan_spool(part.text, config.spool_bytes, config.preview_bytes, path)
        note = part.text if decision is None else decision.preview
    return _put(state, handle, note, SpooledOut(path))


def _put(
    state: State, handle: Handle, note: str, residency: SpooledOut | PagedOut
) -> Sequence[int]:
    """Let ``note`` take the place of a result or an image, if it takes fewer tokens."""
    message, part = state.parts[handle.id]
    is_media = part.kind is PartKind.MEDIA
    before = part.tokens
    after = state.count([note])[0] + (0 if is_media else part.fixed)
    handle.kept_tokens = min(after, before)
    if after >= before:
        return ()
    new = {"type": "text", "text": note} if is_media else note
    state.replace(message, part, part.path, new, after)
    _drop_twin(state, message)
    handle.residency = residency
    return (message.index,)


def _drop_twin(state: State, message: Message) -> None:
    """Session logs have each result a second time, for who shows the log."""
    value = state.value_of(message.index)
    if "toolUseResult" in value:
        state.values[message.index] = {k: v for k, v in value.items() if k != "toolUseResult"}


def _decay(state: State, op: TimeDecayMicro, target: int) -> Sequence[int]:
    changed: set[int] = set()
    first = op.first_message or 0
    for handle in state.table:
        if state.total <= target:
            break
        if (handle.message or 0) < first or handle.id not in state.parts:
            continue
        if not _is_here(state, handle) or isinstance(handle.residency, PagedOut):
            continue
        if handle.kind is HandleKind.THOUGHT:
            changed.update(_forget(state, handle))
            continue
        message, part = state.parts[handle.id]
        if part.tokens > state.config.micro_tokens:
            note = line_note(part, state.path_of(message, part))
            changed.update(_put(state, handle, note, PagedOut(MemoryTier.EPISODIC)))
    return sorted(changed)


def _is_here(state: State, handle: Handle) -> bool:
    at = handle.message
    return not handle.pinned and at not in state.gone and at not in state.hidden


def _forget(state: State, handle: Handle) -> Sequence[int]:
    """Take what was thought out of a message; a line of nothing else goes."""
    message, part = state.parts[handle.id]
    handle.residency, handle.kept_tokens = PagedOut(MemoryTier.SEMANTIC), 0
    if all(one.kind is PartKind.THINKING for one in message.parts):
        state.hide(message)
    elif part.tokens:
        state.replace(message, part, part.path, REMOVED, 0)
    else:
        return ()
    return (message.index,)


def _weigh(state: State, page: Handle) -> None:
    """Tell the page of a message what the message takes now beside its results."""
    at = page.message or 0
    message = state.messages[at]
    apart = sum(part.tokens for part in message.parts if is_apart(message, part))
    page.tokens = state.tokens[at] - apart


# Texts


def _snip(state: State, op: Snip, target: int) -> Sequence[int]:
    cap = max(int(state.config.budget_tokens * op.per_message_ratio), LINE_TOKENS)
    first = op.first_message or 0
    changed: list[int] = []
    for page in reversed(state.pages):
        message = state.messages[page.message or 0]
        if message.index < first or not _is_here(state, page) or page.tokens <= cap:
            continue
        if state.total <= target:
            break
        if _snip_message(state, message, cap / page.tokens):
            changed.append(message.index)
        _weigh(state, page)
        page.tokens = min(page.tokens, cap)  # it is as short as it gets
    return changed


def _snip_message(state: State, message: Message, share: float) -> bool:
    """Leave about ``share`` of the texts and the arguments of calls."""
    changed = False
    for part in message.parts:
        if not part.is_whole or part.tokens <= LINE_TOKENS:
            continue
        if part.kind is PartKind.TEXT:
            path = state.path_of(message, part)
            new: Any = snipped(part.text, int(len(part.text) * share), path)
            text = new
        elif part.kind is PartKind.CALL:
            found = _snipped_call(state, message, part, share)
            if found is None:
                continue
            new, text = found
        else:
            continue
        tokens = part.fixed + state.count([text])[0]
        if tokens < part.tokens:
            state.replace(message, part, part.path, new, tokens)
            changed = True
    return changed


def _snipped_call(
    state: State, message: Message, part: Part, share: float
) -> tuple[Any, str] | None:
    """Arguments with their long texts snipped, as a value in their place, and as text."""
    try:
        given = json.loads(part.text)
    except (ValueError, RecursionError):
        return None
    path = state.path_of(message, part)
    for leaf, text in list(_leaves(given)):
        keep = max(int(len(text) * share), _LEAF_CHARACTERS_MIN // 2)
        _set(given, leaf, snipped(text, keep, path))
    text = compact_json(given)
    is_text = part.path[-1] == "arguments" and isinstance(_value(message, part), str)
    return (text if is_text else given), text


def _value(message: Message, part: Part) -> Any:
    value = message.value
    for key in part.path:
        value = value[key]
    return value


def _leaves(value: Any, at: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        if len(value) >= _LEAF_CHARACTERS_MIN and at:
            yield at, value
    elif isinstance(value, (dict, list)) and len(at) < 64:
        items: Iterable[tuple[Any, Any]] = (
            value.items() if isinstance(value, dict) else enumerate(value)
        )
        for key, child in items:
            yield from _leaves(child, (*at, key))


def _set(value: Any, path: Path, new: str) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = new


# Messages


def _collapse(state: State, first: int, target: int) -> Sequence[int]:
    """Let the oldest groups from ``first`` on go, as few as need to."""
    goable = [
        range(start, end)
        for start, end in state.groups
        if start >= max(first, state.opening) and start not in state.pinned  # groups are whole
    ]
    before = set(state.gone)
    left = state.total - target + PLACEHOLDER_TOKENS // 2
    taken = 0
    while taken < len(goable) and left > 0:
        left -= sum(state.tokens[at] for at in goable[taken] if at not in before)
        taken += 1
    while True:
        state.set_gone(before.union(*goable[:taken]))
        if state.total <= target or taken == len(goable):
            break
        taken += 1
    if state.total > target:
        _take_back(state, before)
    _mark_gone(state)
    return sorted(state.gone - before)


def _compact(state: State) -> Sequence[int]:
    """Let all go but what is pinned."""
    before = set(state.gone)
    state.set_gone({at for at in range(len(state.messages)) if at not in state.pinned})
    _take_back(state, before)
    _mark_gone(state)
    return sorted(state.gone - before)


def _take_back(state: State, before: set[int]) -> None:
    """Ranges that take no more tokens than their placeholders stay."""
    back = {
        at
        for one in state.placeholders
        if before.isdisjoint(range(one.first, one.last))
        and sum(state.tokens[one.first : one.last]) <= one.tokens
        for at in range(one.first, one.last)
    }
    if back:
        state.set_gone(state.gone - back)
        for handle in state.table:
            if handle.message in back:
                handle.pinned = True  # so that nobody plans with them again


def _mark_gone(state: State) -> None:
    gone, collapsed = state.gone, Collapsed()
    for handle in state.table:
        if handle.message in gone:
            handle.residency = collapsed
