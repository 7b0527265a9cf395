"""Control files that report on the vault: stats, verify, status."""

import json
import os
import resource
import time
from collections.abc import Mapping

from stowkenfs.control.format import format_stats, format_verify
from stowkenfs.control.jobs import Jobs
from stowkenfs.control.nodes import ControlFile, Rendered, RenderedBytes
from stowkenfs.errors import DamageFound
from stowkenfs.vault.vault import Vault
from stowkenfs.vault.verify import VerifyReport


class StatsFile(ControlFile):
    """``stats`` and ``stats.json``."""

    def __init__(self, vault: Vault, *, as_json: bool) -> None:
        self._vault = vault
        self._as_json = as_json

    async def render(self) -> Rendered:
        stats = await self._vault.stats()
        text = (
            json.dumps(stats.to_dict(), indent=2) + "\n" if self._as_json else format_stats(stats)
        )
        return RenderedBytes(text.encode())


class Verification:
    """The last report of ``verify``, which both of its files show."""

    def __init__(self, vault: Vault, jobs: Jobs) -> None:
        self._vault = vault
        self._jobs = jobs
        self.report: VerifyReport | None = None

    async def run(self) -> None:
        """Verify the vault. Raises DamageFound or JobRunning."""
        self.report = await self._jobs.run("verify", self._vault.verify)
        if not self.report.clean:
            raise DamageFound("verify found damage; the report names it")


class VerifyFile(ControlFile):
    """``verify`` and ``verify.json``: writing runs it, reading shows the last report."""

    writable = True

    def __init__(self, verification: Verification, *, as_json: bool) -> None:
        self._verification = verification
        self._as_json = as_json

    async def render(self) -> Rendered:
        report = self._verification.report
        if self._as_json:
            text = json.dumps(report.to_dict() if report else None, indent=2) + "\n"
        elif report is None:
            text = "not run since the vault was mounted; echo 1 > verify runs it\n"
        else:
            text = format_verify(report)
        if self.refusal is not None and not self._as_json:
            text += f"the last request was refused: {self.refusal}\n"
        return RenderedBytes(text.encode("utf-8", "backslashreplace"))

    async def act(self, words: Mapping[str, str]) -> None:
        await self._verification.run()


class Status:
    """``status``: the mount, live."""

    def __init__(self, vault: Vault, jobs: Jobs, mountpoint: str, options: str) -> None:
        self._vault = vault
        self._jobs = jobs
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
            "memory_peak_kib": peak,
        }
        return "".join(f"{name}: {value}\n" for name, value in lines.items())
