"""Fitting a conversation into a budget: plan, do, measure, until it fits."""

from collections.abc import Sequence
from dataclasses import dataclass

from stowkenfs.context.eviction import EvictionOp
from stowkenfs.context.messages import Count, Dialogue
from stowkenfs.context.operations import apply
from stowkenfs.context.planner import plan_context
from stowkenfs.context.pressure import ContextConfig
from stowkenfs.context.state import State

ROUNDS_MAX = 64
"""Of planning. Each takes something away, and what takes most comes within a few."""
USELESS_MAX = 3
"""Rounds that took nothing away; each tells the table what was no saving after all."""


@dataclass(frozen=True, slots=True)
class Step:
    """One operation that was done. ``messages``: indexes of those that it changed."""

    op: EvictionOp
    tokens_before: int
    tokens_after: int
    messages: Sequence[int]

    @property
    def first_message(self) -> int:
        """The earliest message that it changed: a cached prefix ends before it."""
        return self.messages[0]

    @property
    def label(self) -> str:
        return self.op.label


@dataclass(frozen=True, slots=True)
class Fitting:
    """What became of a conversation. ``tokens_after`` above the budget: it does not fit."""

    budget_tokens: int
    tokens_before: int
    tokens_after: int
    idle_seconds: float
    is_cold: bool
    steps: Sequence[Step]
    state: State

    @property
    def fits(self) -> bool:
        return self.tokens_after <= self.budget_tokens

    @property
    def rho(self) -> float:
        """Pressure before anything was done: tokens by budget."""
        return self.tokens_before / self.budget_tokens

    @property
    def first_changed(self) -> int | None:
        """The first message whose cached prefix is lost; None if all stays as it was."""
        return min((step.first_message for step in self.steps), default=None)


def fit(
    dialogue: Dialogue,
    config: ContextConfig,
    count: Count,
    *,
    document: int = 0,
    idle_seconds: float | None = None,
) -> Fitting:
    """Fit ``dialogue``, which was measured with ``count`` and is used up by this.

    ``document``: the number under which names of what leaves are made. ``idle_seconds``: how long
    it has rested; None takes what it tells of itself.
    """
    idle = dialogue.idle_seconds if idle_seconds is None else idle_seconds
    before = dialogue.tokens
    steps: list[Step] = []
    state = State(dialogue, config, count, document)
    useless = 0
    for _ in range(ROUNDS_MAX):
        plan = plan_context(
            rho=state.total / config.budget_tokens,
            idle_seconds=idle,
            table=state.table,
            config=config,
            opening=state.opening,
        )
        presses = state.total > config.target_tokens
        if plan.is_empty or (not presses and steps):
            break
        useful = _run(plan.ops, state, config.target_tokens, steps, presses=presses)
        useless = 0 if useful else useless + 1
        if useless == USELESS_MAX:
            break
    is_cold = idle >= config.cache_seconds
    return Fitting(config.budget_tokens, before, state.total, idle, is_cold, steps, state)


def _run(
    ops: Sequence[EvictionOp], state: State, target: int, steps: list[Step], *, presses: bool
) -> bool:
    """Do ``ops`` until they met the target; whether any was of use.

    Without pressure all of it is done: a pause asks for it, not the budget.
    """
    useful = False
    for op in ops:
        if presses and state.total <= target:
            break
        before = state.total
        messages = sorted(apply(state, op, target if presses else 0))
        if messages:
            steps.append(Step(op, before, state.total, messages))
        useful = useful or bool(messages)
    return useful
