"""Handles, operations and the plan of one turn: what a kernel for context windows has to keep."""

import pytest

from stowkenfs.context.eviction import (
    AutoCompact,
    Collapse,
    EvictionPlan,
    PressureAction,
    Snip,
    Spool,
    TimeDecayMicro,
    plan_eviction,
)
from stowkenfs.context.handles import (
    RESIDENT,
    Collapsed,
    Handle,
    HandleKind,
    HandleTable,
    MemoryTier,
    PagedOut,
    SpooledOut,
)
from stowkenfs.context.spooling import plan_spool


def result(number: int, tokens: int, source: str | None = None) -> Handle:
    return Handle.resident(number, HandleKind.TOOL_RESULT, tokens, source=source)


# Handles


def test_only_what_is_resident_counts_against_the_budget():
    table = HandleTable()
    table.insert(result(1, 100))
    table.insert(Handle(2, HandleKind.SPOOL_FILE, SpooledOut("disk://x"), 5000))
    table.insert(Handle(3, HandleKind.MEMORY_PAGE, Collapsed(), 200))
    table.insert(Handle(4, HandleKind.KNOWLEDGE_ENTRY, PagedOut(MemoryTier.SEMANTIC), 7))
    assert table.resident_tokens() == 100
    assert table.non_resident_tokens() == 5207


def test_inserting_an_id_again_replaces_its_handle_in_place():
    table = HandleTable()
    table.insert(result(1, 100))
    table.insert(result(2, 10))
    table.insert(result(1, 250))
    assert [one.id for one in table] == [1, 2]
    found = table.get(1)
    assert found is not None
    assert found.tokens == 250
    assert table.get(3) is None


def test_only_resident_occupies_the_window():
    assert RESIDENT.occupies_context
    assert not Collapsed().occupies_context
    assert not SpooledOut("x").occupies_context
    assert not PagedOut(MemoryTier.SEMANTIC).occupies_context


def test_residencies_have_labels():
    all_of_them = (RESIDENT, SpooledOut("x"), PagedOut(MemoryTier.WORKING), Collapsed())
    labels = [one.label for one in all_of_them]
    assert labels == ["resident", "spooled_out", "paged_out", "collapsed"]


def test_a_handle_is_found_by_what_it_is_anchored_to():
    table = HandleTable([result(1, 5), result(2, 5, "call-7")])
    assert table.residency_for_source("call-7") == RESIDENT
    found = table.get(2)
    assert found is not None
    found.residency = SpooledOut("there")
    assert table.residency_for_source("call-7") == SpooledOut("there")
    assert table.residency_for_source("call-8") is None


def test_tool_results_come_oldest_first():
    table = HandleTable([result(9, 1), Handle.resident(3, HandleKind.MEMORY_PAGE, 1), result(4, 1)])
    table.insert(Handle.resident(5, HandleKind.SUB_AGENT_JOIN, 1))
    assert [one.id for one in table.tool_results()] == [9, 4, 5]


def test_retain_drops_the_rest():
    table = HandleTable([result(number, number) for number in range(6)])
    table.retain(lambda one: one.tokens % 2 == 1)
    assert [one.id for one in table] == [1, 3, 5]
    assert len(table) == 3


def test_a_saving_is_what_the_window_gets_back():
    assert Handle.resident(1, HandleKind.TOOL_RESULT, 100, kept_tokens=30).saving == 70
    assert Handle.resident(1, HandleKind.TOOL_RESULT, 100, kept_tokens=130).saving == 0
    assert Handle.resident(1, HandleKind.TOOL_RESULT, 100, pinned=True).saving == 0
    assert Handle(1, HandleKind.TOOL_RESULT, Collapsed(), 100).saving == 0


# The plan of one turn


def test_nothing_presses_and_there_was_no_pause():
    plan = plan_eviction(PressureAction.NONE, False, 50_000, 2)
    assert plan.is_empty
    assert plan == EvictionPlan()
    assert plan.invalidates_prefix_at is None


def test_what_is_recommended_is_planned_with_its_real_parameters():
    assert plan_eviction(PressureAction.AUTO_COMPACT, False, 50_000, 3).ops == (AutoCompact(3),)
    assert plan_eviction(PressureAction.CONTEXT_COLLAPSE, False, 12_345, 2).ops == (
        Collapse(12_345),
    )
    assert plan_eviction(PressureAction.SNIP_COMPACT, False, 1, 1).ops == (Snip(0.10),)


def test_time_decay_comes_before_pressure():
    plan = plan_eviction(PressureAction.CONTEXT_COLLAPSE, True, 50_000, 2)
    assert plan.ops == (TimeDecayMicro(), Collapse(50_000))
    assert plan.invalidates_prefix_at == 0


def test_a_pause_alone_asks_for_time_decay():
    assert plan_eviction(PressureAction.NONE, True, 50_000, 2).ops == (TimeDecayMicro(),)


def test_micro_compaction_needs_no_pause():
    plan = plan_eviction(PressureAction.MICRO_COMPACT, False, 50_000, 2)
    assert plan.has_time_decay


@pytest.mark.parametrize("idle", [False, True])
@pytest.mark.parametrize("recommended", PressureAction)
def test_a_pause_always_means_time_decay(recommended, idle):
    assert plan_eviction(recommended, idle, 50_000, 2).has_time_decay or not idle


def test_operations_have_labels():
    ops = (Spool(1), Snip(0.1), TimeDecayMicro(), Collapse(5000), AutoCompact(2))
    labels = ["spool", "snip", "time_decay_micro", "collapse", "auto_compact"]
    assert [op.label for op in ops] == labels


def test_where_a_cached_prefix_ends():
    assert [op.invalidates_prefix_at for op in (Spool(1), TimeDecayMicro())] == [None, None]
    assert [op.invalidates_prefix_at for op in (Snip(0.1), Collapse(9), AutoCompact(1))] == [0] * 3
    known = (Spool(1, 7), Snip(0.1, 5), TimeDecayMicro(6), Collapse(9, 4), AutoCompact(1, 3))
    assert [op.invalidates_prefix_at for op in known] == [7, 5, 6, 4, 3]
    assert EvictionPlan(known).invalidates_prefix_at == 3


# Spooling


def test_what_is_small_stays():
    assert plan_spool("small", 50, 16) is None
    assert plan_spool("x" * 50, 50, 16) is None


def test_a_threshold_of_zero_turns_spooling_off():
    assert plan_spool("x" * 1000, 0, 16) is None


def test_what_is_large_keeps_a_preview():
    decision = plan_spool("y" * 1000, 100, 32, "there/7")
    assert decision is not None
    assert decision.original_bytes == 1000
    assert decision.preview.startswith("y" * 32 + "\n")
    assert "1000 bytes total" in decision.preview
    assert "there/7" in decision.preview
    assert len(decision.preview) < 1000


@pytest.mark.parametrize("letter", ["🚀", "€", "é", "\ud800"])
@pytest.mark.parametrize("preview_bytes", range(14))
def test_a_preview_ends_between_characters(letter, preview_bytes):
    decision = plan_spool(letter * 100, 50, preview_bytes)
    assert decision is not None
    size = len(letter.encode("utf-8", "surrogatepass"))
    kept = preview_bytes // size
    assert decision.preview.startswith(letter * kept + "\n")
    assert f"{100 * size} bytes total, the first {kept * size} shown" in decision.preview
