"""Which operations make a conversation fit, in the order of what they cost a prompt cache.

The planner sees pressure, the pause before the last message, and the handle table. It works with
estimates; who executes a plan measures, stops as soon as the target is met, and asks again with
the changed table where it is not.

While a provider still has the beginning of the conversation cached, operations are ordered by the
earliest message that they change, the latest first: all before it stays cached. After a long
pause nothing is cached, and what is oldest goes first.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Final, NamedTuple

from stowkenfs.context.eviction import (
    AutoCompact,
    Collapse,
    EvictionOp,
    EvictionPlan,
    Snip,
    Spool,
    TimeDecayMicro,
)
from stowkenfs.context.handles import Collapsed, Handle, HandleKind, HandleTable, PagedOut
from stowkenfs.context.pressure import ContextConfig

LINE_TOKENS: Final = 40
"""About what a line takes that stands for a result."""
PLACEHOLDER_TOKENS: Final = 80
"""About what the placeholder of a range takes."""
IN_PLACE: Final = frozenset({HandleKind.MEMORY_PAGE, HandleKind.THOUGHT})
"""What is never spooled."""


class _Candidate(NamedTuple):
    """An operation, the first and last message that it is about, and what it would bring."""

    op: EvictionOp
    first: int
    last: int
    saving: int


def plan_context(
    *,
    rho: float,
    idle_seconds: float,
    table: HandleTable,
    config: ContextConfig,
    opening: int = 0,
) -> EvictionPlan:
    """What to do at pressure ``rho``, tokens by budget, after a pause of ``idle_seconds``.

    ``opening``: how many messages at the beginning say what it is all about; only AutoCompact
    takes them. Operations above their level are candidates. The plan ends where the target is
    met by estimate; an empty one says that nothing presses, or that nothing is left to do.
    """
    is_cold = idle_seconds >= config.cache_seconds
    levels = config.levels
    need = rho * config.budget_tokens - config.target_tokens
    if need <= 0:
        decay = _decay(table, config) if is_cold and rho > levels.idle else None
        return EvictionPlan(() if decay is None else (decay.op,))
    soft = list(_soft(rho, table, config, is_cold=is_cold))
    if sum(one.saving for one in soft) < need:
        hard = _hard(rho, table, config, opening)
        if hard is not None:
            if isinstance(hard, Collapse):
                first = _first_kept(rho, table, config, opening)
                soft = [cut for one in soft if (cut := _from_message(one, first, opening))]
            else:
                soft = []
            return EvictionPlan((*(one.op for one in _ordered(soft, is_cold)), hard))
    chosen = []
    for one in _ordered(soft, is_cold):
        if need <= 0:
            break
        chosen.append(one.op)
        need -= one.saving
    return EvictionPlan(tuple(chosen))


def _ordered(candidates: Iterable[_Candidate], is_cold: bool) -> list[_Candidate]:
    """The cheapest first; time decay before all else where it costs nothing."""
    if is_cold:
        return sorted(
            candidates, key=lambda one: (not isinstance(one.op, TimeDecayMicro), one.first)
        )
    return sorted(candidates, key=lambda one: one.first, reverse=True)


# Operations that leave each message where it is


def _soft(
    rho: float, table: HandleTable, config: ContextConfig, *, is_cold: bool
) -> Iterator[_Candidate]:
    levels = config.levels
    decay = _decay(table, config) if is_cold and rho > levels.idle else None
    if decay is not None:
        yield decay
    spooled = 0
    if config.spool_bytes and rho > levels.spool and decay is None:
        for one in table:
            if one.kind not in IN_PLACE and one.saving:
                spooled += one.saving
                at = one.message or 0
                yield _Candidate(Spool(one.id, one.message), at, at, one.saving)
    snip = _snip(table, config) if rho > levels.snip else None
    if snip is not None:
        yield snip
    if decay is None and rho > levels.micro:
        # Instead of previews; where even that is too little, some whole messages go instead.
        need = rho * config.budget_tokens - config.target_tokens
        without = spooled + (snip.saving if snip else 0)
        micro = _decay(table, config) if without < need else None
        if micro is not None and without + (more := micro.saving - spooled) >= need:
            yield micro._replace(saving=more)


def _decay(table: HandleTable, config: ContextConfig) -> _Candidate | None:
    """What time decay would bring."""
    large = [
        one
        for one in table
        if one.kind is not HandleKind.MEMORY_PAGE
        and not one.pinned
        and not isinstance(one.residency, (Collapsed, PagedOut))
        and (one.kind is HandleKind.THOUGHT or _tokens_now(one) > config.micro_tokens)
    ]
    if not large:
        return None
    first, last = large[0].message or 0, large[-1].message or 0
    saving = sum(
        _tokens_now(one) - (0 if one.kind is HandleKind.THOUGHT else LINE_TOKENS) for one in large
    )
    return _Candidate(TimeDecayMicro(first), first, last, saving)


def _snip(table: HandleTable, config: ContextConfig) -> _Candidate | None:
    """What snipping of texts would bring."""
    cap = max(int(config.budget_tokens * config.snip_ratio), LINE_TOKENS)
    large = [
        one
        for one in table
        if one.kind is HandleKind.MEMORY_PAGE
        and not one.pinned
        and one.residency.occupies_context
        and one.tokens > cap
    ]
    if not large:
        return None
    first, last = large[0].message or 0, large[-1].message or 0
    saving = sum(one.tokens - cap for one in large)
    return _Candidate(Snip(config.snip_ratio, first), first, last, saving)


def _from_message(one: _Candidate, first: int, opening: int) -> _Candidate | None:
    """What of a candidate is about messages from ``first`` on, or the opening."""
    if one.first < opening:
        return one
    begin = max(one.first, first)
    if begin > one.last:
        return None
    if isinstance(one.op, Spool):
        return one
    return one._replace(op=replace(one.op, first_message=begin), first=begin)


# Operations that take messages away


def _hard(rho: float, table: HandleTable, config: ContextConfig, opening: int) -> EvictionOp | None:
    """The one that takes whole messages; None if none is left or allowed."""
    left = [one.message or 0 for one in table if _can_go(one)]
    if not left:
        return None
    later = min((at for at in left if at >= opening), default=None)
    if rho > config.levels.collapse and later is not None:
        return Collapse(config.target_tokens, later)
    if rho > config.levels.auto_compact:
        return AutoCompact(config.preserve_turns, min(left))
    return None


def _can_go(handle: Handle) -> bool:
    return not handle.pinned and not isinstance(handle.residency, Collapsed)


def _first_kept(rho: float, table: HandleTable, config: ContextConfig, opening: int) -> int:
    """About where the messages begin that are left when Collapse is through."""
    here = [one for one in table if not isinstance(one.residency, Collapsed)]
    fixed = rho * config.budget_tokens - sum(_tokens_now(one) for one in here)
    stays = sum(
        _tokens_now(one) for one in here if not _can_go(one) or (one.message or 0) < opening
    )
    room = config.target_tokens - fixed - stays - PLACEHOLDER_TOKENS
    cap = max(int(config.budget_tokens * config.snip_ratio), LINE_TOKENS)
    going = [one for one in reversed(list(here)) if _can_go(one) and (one.message or 0) >= opening]
    first = (going[0].message or 0) + 1 if going else opening
    for message, some in groupby(going, key=lambda one: one.message or 0):
        for one in some:
            is_page = one.kind is HandleKind.MEMORY_PAGE
            room -= min(one.tokens, cap) if is_page else _tokens_now(one) - one.saving
        if room < 0:
            break
        first = message
    return first


def _tokens_now(handle: Handle) -> int:
    return handle.tokens if handle.residency.occupies_context else handle.kept_tokens
