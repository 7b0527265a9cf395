"""Operations that make a conversation shorter, and plans of them.

An operation carries its real parameters. What it costs a prompt cache is the first message that
it changes: providers keep what they computed for a prefix of the messages, and all behind the
first difference is computed anew.
"""

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

SNIPPED_RATIO: Final = 0.10
"""Of the window: what a message may take that is snipped."""


class PressureAction(IntEnum):
    """What pressure asks for; a larger one gives up more."""

    NONE = 0
    SNIP_COMPACT = 1
    MICRO_COMPACT = 2
    CONTEXT_COLLAPSE = 3
    AUTO_COMPACT = 4


@dataclass(frozen=True, slots=True)
class Spool:
    """One result is written elsewhere; a preview stays, with the path to the whole.

    ``first_message``, here and below: the earliest message that it changes, where it is known.
    """

    handle: int
    first_message: int | None = None
    label = "spool"

    @property
    def invalidates_prefix_at(self) -> int | None:
        """Where a cached prefix ends; None if none is touched: a result spooled as it comes."""
        return self.first_message


@dataclass(frozen=True, slots=True)
class Snip:
    """Messages of more than ``per_message_ratio`` of the window keep head and tail."""

    per_message_ratio: float
    first_message: int | None = None
    label = "snip"

    @property
    def invalidates_prefix_at(self) -> int | None:
        """The first message, unless it is known better: any may be too large."""
        return 0 if self.first_message is None else self.first_message


@dataclass(frozen=True, slots=True)
class TimeDecayMicro:
    """Large old results become one line each, and what the model thought then goes."""

    first_message: int | None = None
    label = "time_decay_micro"

    @property
    def invalidates_prefix_at(self) -> int | None:
        """None unless it is known: results come after their calls, never in the beginning."""
        return self.first_message


@dataclass(frozen=True, slots=True)
class Collapse:
    """The oldest messages go until ``target_tokens`` are left; a placeholder stands for them."""

    target_tokens: int
    first_message: int | None = None
    label = "collapse"

    @property
    def invalidates_prefix_at(self) -> int | None:
        return 0 if self.first_message is None else self.first_message


@dataclass(frozen=True, slots=True)
class AutoCompact:
    """All goes but what is pinned and the last ``preserve_turns`` turns."""

    preserve_turns: int
    first_message: int | None = None
    label = "auto_compact"

    @property
    def invalidates_prefix_at(self) -> int | None:
        return 0 if self.first_message is None else self.first_message


EvictionOp = Spool | Snip | TimeDecayMicro | Collapse | AutoCompact
"""Each has ``label`` and ``invalidates_prefix_at``."""


@dataclass(frozen=True, slots=True)
class EvictionPlan:
    """Operations in the order of their execution. None: nothing presses, nothing changes."""

    ops: tuple[EvictionOp, ...] = field(default=())

    @property
    def is_empty(self) -> bool:
        return not self.ops

    @property
    def has_time_decay(self) -> bool:
        return any(isinstance(op, TimeDecayMicro) for op in self.ops)

    @property
    def invalidates_prefix_at(self) -> int | None:
        """The earliest message that any of them changes; None if no cached prefix is touched."""
        places = [op.invalidates_prefix_at for op in self.ops]
        return min((place for place in places if place is not None), default=None)


def operation_for(
    action: PressureAction, target_tokens: int, preserve_turns: int
) -> EvictionOp | None:
    """The operation that ``action`` asks for, with the parameters given; None for NONE."""
    if action is PressureAction.SNIP_COMPACT:
        return Snip(SNIPPED_RATIO)
    if action is PressureAction.MICRO_COMPACT:
        return TimeDecayMicro()
    if action is PressureAction.CONTEXT_COLLAPSE:
        return Collapse(target_tokens)
    if action is PressureAction.AUTO_COMPACT:
        return AutoCompact(preserve_turns)
    return None


def plan_eviction(
    recommended: PressureAction, idle_decay: bool, target_tokens: int, preserve_turns: int
) -> EvictionPlan:
    """The plan of one turn: time decay if there was a pause, then what pressure recommends.

    A recommendation of micro-compaction is the same operation, pause or not. ``plan_context``
    sees more, and plans in detail.
    """
    ops: list[EvictionOp] = [TimeDecayMicro()] if idle_decay else []
    pressed = operation_for(recommended, target_tokens, preserve_turns)
    if pressed is not None:
        ops.append(pressed)
    return EvictionPlan(tuple(ops))
