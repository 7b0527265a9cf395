"""The planner that sees pressure, a pause, the table and the configuration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowkenfs.context.eviction import (
    AutoCompact,
    Collapse,
    EvictionOp,
    PressureAction,
    Snip,
    Spool,
    TimeDecayMicro,
)
from stowkenfs.context.handles import Collapsed, Handle, HandleKind, HandleTable, SpooledOut
from stowkenfs.context.planner import plan_context
from stowkenfs.context.pressure import AGENT_LEVELS, ContextConfig, PressureLevels

BUDGET = 10_000


def table_of(*sizes: tuple[str, int], pinned_from: int = 99) -> HandleTable:
    """A message for each: ``("page", tokens)`` or ``("result", tokens)``."""
    kinds = {"page": HandleKind.MEMORY_PAGE, "result": HandleKind.TOOL_RESULT}
    return HandleTable(
        [
            Handle.resident(
                at,
                kinds[kind],
                tokens,
                message=at,
                pinned=at >= pinned_from,
                kept_tokens=min(tokens, 150) if kind == "result" else 0,
            )
            for at, (kind, tokens) in enumerate(sizes)
        ]
    )


def ops_of(
    table: HandleTable, idle: float = 0.0, config: ContextConfig | None = None, opening: int = 0
) -> tuple[EvictionOp, ...]:
    config = config or ContextConfig(BUDGET)
    rho = table.resident_tokens() / config.budget_tokens
    return plan_context(rho=rho, idle_seconds=idle, table=table, config=config, opening=opening).ops


def test_what_fits_is_left_alone_however_long_the_pause():
    table = table_of(("page", 900), ("result", 9000))
    assert ops_of(table) == ()
    assert ops_of(table, idle=1e9) == ()


def test_the_latest_result_goes_first_and_no_more_than_needed():
    table = table_of(*[("page", 500), ("result", 3000)] * 4)
    assert ops_of(table) == (Spool(7, 7), Spool(5, 5))


def test_after_a_pause_the_oldest_goes_first():
    table = table_of(*[("page", 500), ("result", 3000)] * 4)
    assert ops_of(table, idle=301) == (TimeDecayMicro(1),)
    config = ContextConfig(BUDGET, levels=PressureLevels(idle=math.inf))
    assert ops_of(table, idle=301, config=config) == (Spool(1, 1), Spool(3, 3))


def test_operations_come_in_the_order_of_what_they_cost_the_cache():
    sizes = [("result", 2000), ("page", 9000), ("result", 2000), ("page", 100)]
    ops = ops_of(table_of(*sizes), config=ContextConfig(4000, snip_ratio=0.5))
    assert ops == (Spool(2, 2), Snip(0.5, 1), Spool(0, 0))
    places = [op.invalidates_prefix_at for op in ops]
    assert places == sorted(places, key=lambda at: -(at or 0))


def test_pinned_handles_are_in_no_plan():
    table = table_of(("page", 100), ("result", 9000), ("result", 9000), pinned_from=2)
    assert ops_of(table) == (Spool(1, 1),)
    assert ops_of(table_of(("result", 20_000), pinned_from=0)) == ()


def test_what_left_already_does_not_leave_again():
    table = table_of(("result", 9000), ("result", 9000))
    first = table.get(1)
    assert first is not None
    first.residency = SpooledOut("there")
    plan = plan_context(rho=1.2, idle_seconds=0, table=table, config=ContextConfig(BUDGET))
    assert plan.ops == (Spool(0, 0),)


def test_messages_go_where_nothing_else_is_enough():
    table = table_of(*[("page", 900)] * 20)
    assert ops_of(table) == (Collapse(BUDGET, 0),)
    assert ops_of(table, opening=2) == (Collapse(BUDGET, 2),)


def test_what_will_go_with_its_message_is_not_spooled_first():
    table = table_of(*[("page", 900), ("result", 3000)] * 20)
    ops = ops_of(table)
    assert isinstance(ops[-1], Collapse)
    spooled = [op.first_message or 0 for op in ops[:-1] if isinstance(op, Spool)]
    assert len(spooled) == len(ops) - 1
    assert 5 < len(spooled) < 12
    assert min(spooled) > 15


def test_the_opening_goes_last():
    table = table_of(*[("page", 6000)] * 3, pinned_from=2)
    assert ops_of(table, opening=2, config=ContextConfig(BUDGET, snip_ratio=1.0)) == (
        AutoCompact(2, 0),
    )


def test_nothing_is_left_to_do():
    table = HandleTable([Handle(0, HandleKind.MEMORY_PAGE, Collapsed(), 50_000, message=0)])
    plan = plan_context(rho=5, idle_seconds=0, table=table, config=ContextConfig(BUDGET))
    assert plan.is_empty


def test_each_operation_has_a_level():
    table = table_of(*[("page", 3000), ("result", 3000)] * 4)

    def used(**levels: float) -> set[str]:
        all_of_them = dict.fromkeys(
            ("spool", "snip", "micro", "collapse", "auto_compact"), math.inf
        )
        config = ContextConfig(BUDGET, levels=PressureLevels(**all_of_them | levels))
        return {op.label for op in ops_of(table, config=config)}

    assert used() == set()
    assert used(spool=2.3) == {"spool"}
    assert used(spool=2.5) == set()
    assert used(snip=1) == {"snip"}
    assert used(collapse=1) == {"collapse"}
    assert used(auto_compact=1) == {"auto_compact"}


def test_an_agent_makes_room_before_the_window_is_full():
    config = ContextConfig(BUDGET, levels=AGENT_LEVELS, target_ratio=0.5)
    table = table_of(("page", 3000), ("result", 2000), ("result", 3000))
    assert ops_of(table, config=config) == (Spool(2, 2), Spool(1, 1))
    assert ops_of(table_of(("page", 100), ("result", 3500)), idle=1000, config=config) == (
        TimeDecayMicro(1),
    )
    levels = [AGENT_LEVELS.recommend(rho) for rho in (0.5, 0.75, 0.85, 0.92, 0.99)]
    assert levels == list(PressureAction)


@pytest.mark.parametrize("level", [-0.1, math.nan])
def test_levels_are_numbers_from_zero_on(level):
    with pytest.raises(ValueError, match="pressure level snip"):
        PressureLevels(snip=level)


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget_tokens": 0},
        {"target_ratio": 0.0},
        {"target_ratio": math.nan},
        {"snip_ratio": 1.1},
        {"preserve_turns": -1},
        {"spool_bytes": -1},
        {"cache_seconds": math.nan},
    ],
)
def test_configurations_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"above 0|or more"):
        ContextConfig(**{"budget_tokens": 10} | wrong)


kinds = st.sampled_from(["page", "result"])


@given(
    st.lists(st.tuples(kinds, st.integers(0, 5000)), max_size=40),
    st.integers(1, 20_000),
    st.booleans(),
    st.integers(0, 40),
    st.integers(0, 3),
)
def test_any_plan_is_ordered_and_leaves_pins_alone(sizes, budget, is_cold, pinned_from, opening):
    table = table_of(*sizes, pinned_from=pinned_from)
    idle = 1000 if is_cold else 0
    ops = ops_of(table, idle=idle, config=ContextConfig(budget), opening=opening)
    assert not ops or table.resident_tokens() > budget
    places = [op.invalidates_prefix_at or 0 for op in ops]
    assert all(at < pinned_from for at in places)
    soft = [at for op, at in zip(ops, places, strict=True) if not isinstance(op, Collapse)]
    if not is_cold:
        assert soft == sorted(soft, reverse=True)
    hard = [op for op in ops if isinstance(op, (Collapse, AutoCompact))]
    assert hard == list(ops[-1:]) or not hard
