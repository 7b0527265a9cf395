"""Control files that report on the vault: stats, where, status."""

import json
import os
import resource
import time

import anyio

from stowkenfs.control.bars import Look
from stowkenfs.control.grid_views import GridViews
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.nodes import ControlFile, Rendered, RenderedBytes
from stowkenfs.control.where import format_stats_page, format_where
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.where import where_of
from stowkenfs.vault.where_report import Where

PAGE = Look()
"""Of control files, which do not know who reads them."""

WHERE_KEPT_TIMES = 10
"""How many times as long as it took to make it the page of ``where`` is kept."""


class StatsFile(ControlFile):
    """``stats`` and ``stats.json``."""

    def __init__(self, vault: Vault, *, as_json: bool) -> None:
        self._vault = vault
        self._as_json = as_json

    async def render(self) -> Rendered:
        stats = await self._vault.stats()
        if self._as_json:
            return RenderedBytes(json.dumps(stats.to_dict(), indent=2).encode() + b"\n")
        return RenderedBytes(format_stats_page(stats, PAGE).encode())


class WhereView:
    """What both files of ``where`` show. It takes a walk through all files, so it is kept.

    Event loop's thread: ``_kept``, good until ``_until``, of which one is made at a time.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._lock = anyio.Lock()
        self._kept: Where | None = None
        self._until = 0.0

    async def get(self) -> Where:
        async with self._lock:
            began = time.monotonic()
            if self._kept is None or began >= self._until:
                self._kept = await where_of(self._vault)
                ended = time.monotonic()
                self._until = ended + WHERE_KEPT_TIMES * (ended - began)
            return self._kept


class WhereFile(ControlFile):
    """``where`` and ``where.json``."""

    def __init__(self, view: WhereView, *, as_json: bool) -> None:
        self._view = view
        self._as_json = as_json

    async def render(self) -> Rendered:
        where = await self._view.get()
        if self._as_json:
            return RenderedBytes(json.dumps(where.to_dict(), indent=2).encode() + b"\n")
        return RenderedBytes(format_where(where, PAGE).encode("utf-8", "backslashreplace"))


class Status:
    """``status``: the mount, live."""

    def __init__(
        self, vault: Vault, jobs: Jobs, views: GridViews, mountpoint: str, options: str
    ) -> None:
        self._vault = vault
        self._jobs = jobs
        self._views = views
        self._mountpoint = mountpoint
        self._options = options
        self._since = time.time()

    def text(self) -> str:
        since = time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(self._since))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        lines = {
            "vault": self._vault.directory.resolve() if self._vault.directory else "memory",
            "mountpoint": self._mountpoint,
            "pid": os.getpid(),
            "mounted_since": since,
            "options": self._options or "none",
            "files_in_use": self._vault.files.in_use_count,
            "files_waiting_to_be_sealed": self._vault.sealer.waiting,
            "job": self._jobs.running or "none",
            "state_last_refused": self._views.last_refusal or "none",
            "memory_peak_kib": peak,
        }
        return "".join(f"{name}: {value}\n" for name, value in lines.items())
