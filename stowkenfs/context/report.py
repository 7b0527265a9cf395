"""What was planned and done for a budget, for people and for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from stowkenfs.context.fitting import Fitting
from stowkenfs.context.messages import REPLY_TOKENS, Dialogue


class StepReport(NamedTuple):
    """One operation: what it is called, what it changed, the tokens of all before and after it.

    ``first_message``: index of the earliest message that it changed.
    """

    operation: str
    messages: int
    first_message: int
    tokens_before: int
    tokens_after: int


@dataclass(frozen=True, slots=True)
class PlanReport:
    """How a conversation was fitted. Counts of tokens are in the ``tokenizer``'s.

    ``cached_tokens``: of the messages before the first that changed, which a prompt cache may
    still hold; ``cache_lost_from`` is that message, None if all stays as it was. ``failure`` says
    why it does not fit.
    """

    api: str
    tokenizer: str
    budget_tokens: int
    messages_before: int
    messages_after: int
    tokens_before: int
    tokens_after: int
    preamble_tokens: int
    pinned_messages: int
    pinned_tokens: int
    idle_seconds: float
    is_cache_cold: bool
    cached_tokens: int
    cache_lost_from: int | None
    side_chain_messages: int
    steps: Sequence[StepReport]
    failure: str | None = None

    @property
    def rho(self) -> float:
        """Pressure before anything was done: tokens by budget."""
        return self.tokens_before / self.budget_tokens

    def to_dict(self) -> dict[str, Any]:
        """For programs."""
        return {
            **asdict(self),
            "rho": round(self.rho, 4),
            "steps": [step._asdict() for step in self.steps],
        }

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "PlanReport":
        """The inverse of ``to_dict``."""
        known = {name: fields[name] for name in cls.__slots__}
        return cls(**known | {"steps": [StepReport(**step) for step in fields["steps"]]})


def report_of(
    dialogue: Dialogue, fitting: Fitting, tokenizer: str, failure: str | None
) -> PlanReport:
    """What became of ``dialogue``."""
    state = fitting.state
    lost = fitting.first_changed
    before = dialogue.messages if lost is None else dialogue.messages[:lost]
    return PlanReport(
        api=dialogue.api.value,
        tokenizer=tokenizer,
        budget_tokens=fitting.budget_tokens,
        messages_before=len(dialogue.messages),
        messages_after=len(dialogue.messages) - len(state.gone) - len(state.hidden),
        tokens_before=fitting.tokens_before,
        tokens_after=fitting.tokens_after,
        preamble_tokens=dialogue.preamble_tokens + REPLY_TOKENS,
        pinned_messages=len(state.pinned),
        pinned_tokens=sum(dialogue.messages[at].tokens for at in state.pinned),
        idle_seconds=fitting.idle_seconds,
        is_cache_cold=fitting.is_cold,
        cached_tokens=dialogue.preamble_tokens + sum(message.tokens for message in before),
        cache_lost_from=lost,
        side_chain_messages=dialogue.left_out,
        steps=[
            StepReport(
                step.label,
                len(step.messages),
                step.first_message,
                step.tokens_before,
                step.tokens_after,
            )
            for step in fitting.steps
        ],
        failure=failure,
    )
