"""``retention``: the policies of folders, what they would remove now, and removing it."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from stowkenfs.control.job_files import Runner
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kinds import JobKind, Progress, Values
from stowkenfs.control.listed import as_json
from stowkenfs.control.nodes import ControlFile, Node, Rendered, RenderedBytes
from stowkenfs.control.retained import (
    format_applied,
    format_plan,
    format_removed,
    parse_lines,
    usage,
)
from stowkenfs.control.words import REQUIRED, Word
from stowkenfs.errors import BadRequest, TreeError
from stowkenfs.vault.retention.policy import Policy
from stowkenfs.vault.retention.report import RetentionReport

if TYPE_CHECKING:
    from stowkenfs.vault.vault import Vault

APPLY = "apply"

KEPT_TIMES = 10
"""How many times as long as it took to make it a plan is shown."""


async def _apply(vault: "Vault", _values: Values, progress: Progress) -> RetentionReport:
    return await vault.retention.apply(progress)


def _is_apply(text: str) -> str:
    if text != APPLY:
        raise ValueError
    return text


RETENTION: "JobKind[RetentionReport]" = JobKind(
    file="retention",
    title="retention",
    words=(Word(APPLY, "remove what is to go", APPLY, _is_apply, REQUIRED, bare=True),),
    run=_apply,
    told=lambda _done, report: format_applied(report.folders),
    left="What was removed until then is gone, and the next run goes on from there.",
    measured=False,
    damage=lambda report: (
        "retention met problems; the report names them" if report.problems else None
    ),
    within="last",
)


async def set_policies(vault: "Vault", changes: Mapping[bytes, Policy | None]) -> None:
    """Set policies of folders by their paths. Raises BadRequest, which says why not, OSError."""
    try:
        await vault.retention.set(changes)
    except TreeError as error:
        raise BadRequest(str(error)) from error


class Plan:
    """What both files show. Making it takes a look at all files of folders with policies.

    Event loop's thread: ``_kept``, good until ``_until``, of which one is made at a time.
    """

    def __init__(self, vault: "Vault") -> None:
        self._vault = vault
        self._lock = anyio.Lock()
        self._kept: RetentionReport | None = None
        self._until = 0.0

    def forget(self) -> None:
        """Something was changed by which it is another one."""
        self._kept = None

    async def get(self) -> RetentionReport:
        async with self._lock:
            began = time.monotonic()
            if self._kept is None or began >= self._until:
                self._kept = report = await self._vault.retention.plan()
                ended = time.monotonic()
                self._until = ended + KEPT_TIMES * (ended - began)
                return report
            return self._kept


class RetentionFile(ControlFile):
    """``retention`` and ``retention.json``: policies are written to it, or ``apply``."""

    writable = True

    def __init__(
        self, vault: "Vault", jobs: Jobs, runner: Runner, plan: Plan, *, for_programs: bool
    ) -> None:
        self._vault = vault
        self._jobs = jobs
        self._runner = runner
        self._plan = plan
        self._for_programs = for_programs

    @property
    def refusal(self) -> str | None:
        return self._runner.refusal

    @refusal.setter
    def refusal(self, why: str | None) -> None:
        self._runner.refusal = why

    def check_writable(self) -> None:
        if self._jobs.running == RETENTION.title:  # a second writer would wait for its end
            self._jobs.check_idle()

    async def act(self, written: bytes) -> None:
        text = written.decode("utf-8", "surrogateescape").strip()
        try:
            if text == APPLY:
                await self._runner.act(text.encode())
            else:
                await set_policies(self._vault, parse_lines(text))
        finally:
            self._plan.forget()

    async def render(self) -> Rendered:
        plan = await self._plan.get()
        content = await anyio.to_thread.run_sync(self._shown, plan)  # there may be 1,000
        return RenderedBytes(content.encode("utf-8", "backslashreplace"))

    def _shown(self, plan: RetentionReport) -> str:
        if self._for_programs:
            policies = [folder.to_dict() for folder in plan.folders]
            return as_json({"policies": policies, "last": self._runner.to_dict()})
        last = self._runner.last
        applied = f"\nlast applied when asked for:\n{last.text()}" if last is not None else ""
        retention = self._vault.retention
        removed = format_removed(retention.removed_files, retention.removed_bytes)
        return f"{format_plan(plan.folders)}{removed}\n{usage()}{applied}{self._runner.refused()}"


def retention_files(vault: "Vault", jobs: Jobs) -> dict[bytes, Node]:
    """The file of the policies, for people and for programs."""
    runner, plan = Runner(vault, jobs, (RETENTION,)), Plan(vault)
    return {
        b"retention": RetentionFile(vault, jobs, runner, plan, for_programs=False),
        b"retention.json": RetentionFile(vault, jobs, runner, plan, for_programs=True),
    }
