"""Plans of fitting as plain text. Pure functions."""

from collections.abc import Iterator, Sequence

from stowkenfs.context.report import PlanReport, StepReport
from stowkenfs.control.format import format_count

_GAP = "  "
_HEADS = ("operation", "messages", "first", "tokens before", "after")


def format_plan(report: PlanReport, name: str) -> str:
    """What was done to ``name``, operation by operation."""
    lines = [
        f"{name}: {report.api}, {format_count(report.messages_before, 'message')}, "
        f"{format_count(report.tokens_before, 'token')} ({report.tokenizer})",
        f"budget: {format_count(report.budget_tokens, 'token')}; pressure {report.rho:.2f}",
        f"pinned: {format_count(report.pinned_messages, 'message')}, "
        f"{format_count(report.pinned_tokens, 'token')}; beside the messages: "
        f"{format_count(report.preamble_tokens, 'token')}",
        *_cache(report),
    ]
    if report.side_chain_messages:
        lines.append(f"left out: {format_count(report.side_chain_messages, 'message')} of agents")
    if report.steps:
        lines += ["", *_table(report.steps), ""]
    if report.failure is not None:
        lines.append(f"does not fit: {report.failure}")
    elif report.steps:
        lines.append(
            f"fitted: {format_count(report.tokens_after, 'token')}, "
            f"{format_count(report.messages_after, 'message')} of {report.messages_before:,} left"
        )
    else:
        lines.append("fits as it is: nothing is changed")
    return "".join(f"{line}\n" for line in lines)


def _cache(report: PlanReport) -> Iterator[str]:
    pause = f"{report.idle_seconds:,.0f} s of pause before the last message"
    if report.is_cache_cold:
        yield f"prompt cache: taken for cold, after {pause}"
    elif report.cache_lost_from is not None:
        yield (
            f"prompt cache: lost from message {report.cache_lost_from} on; "
            f"{format_count(report.cached_tokens, 'token')} before it stay as they were"
        )


def _table(steps: Sequence[StepReport]) -> Iterator[str]:
    """A row for each operation."""
    rows = [
        (
            step.operation,
            f"{step.messages:,}",
            f"{step.first_message:,}",
            f"{step.tokens_before:,}",
            f"{step.tokens_after:,}",
        )
        for step in steps
    ]
    widths = [max(len(row[at]) for row in [*rows, _HEADS]) for at in range(len(_HEADS))]
    for row in [_HEADS, *rows]:
        cells = [f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[0] = f"{row[0]:<{widths[0]}}"
        yield _GAP.join(cells)
