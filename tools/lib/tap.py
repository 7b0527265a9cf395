"""Counting what a test script prints in the Test Anything Protocol (testanything.org)."""

import re
from dataclasses import dataclass, field

_PLAN = re.compile(r"1\.\.(\d+)\s*(#\s*skip\b.*)?", re.IGNORECASE)
_ASSERT = re.compile(r"(not )?ok\b\s*(\d+)?\s*([^#]*)(?:#\s*(todo|skip)?(.*))?", re.IGNORECASE)

PROBLEMS_MAX = 20
"""Of one file; the rest is counted only."""


@dataclass(slots=True)
class Count:
    """One file's asserts. Each is in ``ok``, ``failed``, ``todo`` or ``skipped``, and in one.

    ``todo``: failed as its author expects there. ``problems`` tells of what failed, and why
    the file as a whole did: asserts that its plan promises and that never came have failed.
    """

    ok: int = 0
    failed: int = 0
    todo: int = 0
    skipped: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def asserts(self) -> int:
        return self.ok + self.failed + self.todo + self.skipped

    def add(self, other: "Count") -> None:
        """Add the numbers of ``other``, without its problems."""
        self.ok += other.ok
        self.failed += other.failed
        self.todo += other.todo
        self.skipped += other.skipped

    def fail(self, problem: str, times: int = 1) -> None:
        self.failed += times
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def count(text: str, exit_code: int | None) -> Count:
    """What a script printed, and how it ended: None when it was stopped for taking too long."""
    counted = Count()
    plan: int | None = None
    seen: set[int] = set()
    for line in text.splitlines():
        if found := _PLAN.fullmatch(line.strip()):
            if plan is not None:
                counted.fail("a second plan")
            plan = int(found[1])
            if found[2]:
                counted.skipped += 1
        elif found := _ASSERT.fullmatch(line):
            _count_assert(counted, found, seen)
        elif line.startswith("Bail out!"):
            counted.fail(line)
    _check_plan(counted, plan, seen)
    if exit_code is None:
        counted.fail("was stopped: it took too long")
    elif exit_code:
        counted.fail(f"ended with exit code {exit_code}")
    return counted


def _count_assert(counted: Count, found: re.Match[str], seen: set[int]) -> None:
    number = int(found[2]) if found[2] else max(seen, default=0) + 1
    directive = (found[4] or "").lower()
    if number in seen:
        counted.fail(f"{number}: a second time")
    elif directive == "skip":
        counted.skipped += 1
    elif not found[1]:
        counted.ok += 1
    elif directive == "todo":
        counted.todo += 1
    else:
        counted.fail(f"{number}: {found[3].strip().lstrip('- ') or 'not ok'}")
    seen.add(number)


def _check_plan(counted: Count, plan: int | None, seen: set[int]) -> None:
    if plan is None:
        counted.fail("printed no plan")
        return
    missing = [number for number in range(1, plan + 1) if number not in seen]
    if missing:
        counted.fail(f"{missing[0]}: {len(missing)} of {plan} never came", len(missing))
    beyond = [number for number in seen if number > plan]
    if beyond:
        counted.fail(f"{min(beyond)}: beyond the plan of {plan}")
