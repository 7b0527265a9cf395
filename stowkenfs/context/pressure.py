"""How full a window is, and what that asks for."""

import math
from dataclasses import dataclass, field
from typing import Final

from stowkenfs.context.eviction import SNIPPED_RATIO, PressureAction


@dataclass(frozen=True, slots=True)
class PressureLevels:
    """From which pressure on an operation may be used. Pressure (rho) is tokens by budget.

    An operation is possible above its level. ``idle`` is the level for time decay after a pause.
    The defaults are for a conversation that is to fit: nothing is done while it does.
    """

    spool: float = 1.0
    snip: float = 1.0
    micro: float = 1.0
    collapse: float = 1.0
    auto_compact: float = 1.0
    idle: float = 1.0

    def __post_init__(self) -> None:
        for name in ("spool", "snip", "micro", "collapse", "auto_compact", "idle"):
            level = getattr(self, name)
            if math.isnan(level) or level < 0:
                raise ValueError(f"the pressure level {name} is a number from 0 on, not {level}")

    def recommend(self, rho: float) -> PressureAction:
        """The strongest action that ``rho`` is above the level of."""
        found = PressureAction.NONE
        for action, level in (
            (PressureAction.SNIP_COMPACT, self.snip),
            (PressureAction.MICRO_COMPACT, self.micro),
            (PressureAction.CONTEXT_COLLAPSE, self.collapse),
            (PressureAction.AUTO_COMPACT, self.auto_compact),
        ):
            if rho > level:
                found = action
        return found


AGENT_LEVELS: Final = PressureLevels(
    spool=0.6, snip=0.7, micro=0.8, collapse=0.9, auto_compact=0.95, idle=0.3
)
"""For who watches a window while it fills, and makes room before it is full."""


@dataclass(frozen=True, slots=True)
class ContextConfig:
    """What a conversation is fitted into, and how.

    Attributes:
        budget_tokens: what the result may have, 1 or more.
        levels: from which pressure on what may be done.
        target_ratio: of the budget, what planning aims at; above 0 and up to 1.
        preserve_turns: the last turns, which are pinned; 0 or more.
        pinned: indexes of further messages that never leave.
        spool_bytes: results above are spooled; 0 turns that off.
        preview_bytes: of a spooled result, what stays.
        snip_ratio: of the budget, what a snipped message may take; above 0 and up to 1.
        micro_tokens: results above become one line in time decay.
        cache_seconds: after such a pause nothing of a prompt is cached any more.

    """

    budget_tokens: int
    levels: PressureLevels = field(default_factory=PressureLevels)
    target_ratio: float = 1.0
    preserve_turns: int = 2
    pinned: frozenset[int] = frozenset()
    spool_bytes: int = 1024
    preview_bytes: int = 400
    snip_ratio: float = SNIPPED_RATIO
    micro_tokens: int = 100
    cache_seconds: float = 300.0

    def __post_init__(self) -> None:
        if self.budget_tokens < 1:
            raise ValueError("a budget is 1 token or more")
        if not 0 < self.target_ratio <= 1 or not 0 < self.snip_ratio <= 1:
            raise ValueError("target_ratio and snip_ratio are above 0 and up to 1")
        for name in ("preserve_turns", "spool_bytes", "preview_bytes", "micro_tokens"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more")
        if not self.cache_seconds >= 0:
            raise ValueError("cache_seconds is 0 or more")

    @property
    def target_tokens(self) -> int:
        """What planning aims at."""
        return int(self.budget_tokens * self.target_ratio)
