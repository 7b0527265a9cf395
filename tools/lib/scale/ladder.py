"""Climbs one ladder: fills a vault up to each size and measures what it does there."""

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.density.corpora import say
from lib.density.sizes import disk_bytes
from lib.density.watch import child
from lib.mounts import mounted
from lib.scale.generate import BYTES, FILES, LOG_BYTES, deleted
from lib.scale.rows import Row

Told = dict[str, Any]

CHILD = "lib.scale.child"
IMPORTED, COMPACTED = "imported", "compacted"
LOG_SHARE = 20
"""No log is more than this part of the first size."""

MEGA = 1e6
MICRO = 1e6


@dataclass(frozen=True, slots=True)
class Settings:
    """What both ladders have in common. ``work`` is a directory, ``reads`` for each figure."""

    corpora: Sequence[Path]
    work: Path
    seed: int
    reads: int


class Ladder:
    """One vault that grows. Owns a folder of the work directory."""

    def __init__(self, name: str, sizes: Sequence[int], settings: Settings) -> None:
        self._name = name
        self._sizes = sizes
        self._settings = settings
        self._folder = settings.work / name
        self._vault = self._folder / "vault"
        self._source = self._folder / "source"
        self._files = self._bytes = 0
        self._deleted: list[tuple[int, int]] = []

    def climb(self) -> Iterator[Row]:
        """What was measured, as soon as it is known."""
        if self._folder.exists():
            sys.exit(f"bench: {self._folder} is there already")
        self._folder.mkdir(parents=True)
        for size in self._sizes:
            say(f"{self._name}: up to {size:,}")
            first, before = self._files, self._bytes
            self._generate(size)
            files, added = self._files - first, self._bytes - before
            yield from self._rows(size, IMPORTED, self._ingest(files, added))
            yield from self._rows(size, IMPORTED, self._state())
            yield from self._rows(size, COMPACTED, self._compact(added))
            yield from self._rows(size, COMPACTED, self._state())
            yield from self._rows(size, COMPACTED, self._mount())
            yield from self._rows(size, COMPACTED, self._collect(first))

    def _rows(self, size: int, state: str, found: dict[str, tuple[float, str]]) -> Iterator[Row]:
        for measure, (value, unit) in found.items():
            yield Row(self._name, size, state, measure, value, unit)

    def _child(self, command: str, **words: Any) -> Told:
        return child(command, self._vault, module=CHILD, began=time.monotonic(), **words)

    def _generate(self, size: int) -> None:
        log_bytes = LOG_BYTES
        if self._name == BYTES:
            log_bytes = min(LOG_BYTES, max(self._sizes[0] // LOG_SHARE, 1))
        told = self._child(
            "generate",
            ladder=self._name,
            corpora=[str(path) for path in self._settings.corpora],
            seed=self._settings.seed,
            log_bytes=log_bytes,
            target=str(self._source),
            first=self._files,
            amount=size - (self._files if self._name == FILES else self._bytes),
        )
        self._files, self._bytes = told["next"], self._bytes + told["bytes"]

    def _ingest(self, files: int, added: int) -> dict[str, tuple[float, str]]:
        names = sorted(path.name for path in self._source.iterdir())
        told = self._child("ingest", source=str(self._source), names=names, bytes=added)
        if not told["complete"]:
            sys.exit("bench: not everything was taken in")
        shutil.rmtree(self._source)
        cpu = told["user_seconds"] + told["system_seconds"]
        return {
            "ingest_us_per_file": (told["seconds"] / files * MICRO, "us"),
            "ingest_cpu_us_per_file": (cpu / files * MICRO, "us"),
            "ingest_s_per_mb": (told["seconds"] / added * MEGA, "s/MB"),
            "ingest_cpu_s_per_mb": (cpu / added * MEGA, "s/MB"),
            "ingest_log_peak": (told["log_bytes"] / MEGA, "MB"),
            "ingest_close": (told["close_seconds"], "s"),
            **_memory("ingest", told),
            "added": (added / MEGA, "MB"),
        }

    def _state(self) -> dict[str, tuple[float, str]]:
        """What can be asked of a vault that is closed."""
        evict(self._vault)
        cold = self._child("open")
        warm = self._child("open")
        evict(self._vault)
        looked = self._child(
            "look",
            ladder=self._name,
            seed=self._settings.seed + self._files,
            files=self._files,
            deleted=self._deleted,
            reads=self._settings.reads,
        )
        find, again, read = looked["find_cold"], looked["find_warm"], looked["read_cold"]
        index = (self._vault / "index.db").stat().st_size
        return {
            "open_cold": (cold["open_seconds"], "s"),
            "open_warm": (warm["open_seconds"], "s"),
            "start_cold": (cold["start_seconds"], "s"),
            "start_warm": (warm["start_seconds"], "s"),
            "close": (warm["close_seconds"], "s"),
            **_memory("open", warm),
            **_each("lookup_cold", find),
            **_each("lookup_warm", again),
            **_each("read_cold", read),
            "read_cold_speed": (looked["read_bytes"] / max(read["seconds"], 1e-9) / MEGA, "MB/s"),
            **_memory("look", looked),
            "index": (index / MEGA, "MB"),
            "index_per_file": (index / self._files, "B"),
            "vault": (disk_bytes(self._vault) / MEGA, "MB"),
            "held": (self._bytes / MEGA, "MB"),
        }

    def _compact(self, added: int) -> dict[str, tuple[float, str]]:
        told = self._child("compact")
        cpu = told["user_seconds"] + told["system_seconds"]
        return {
            "compact_s_per_mb": (told["seconds"] / added * MEGA, "s/MB"),
            "compact_cpu_s_per_mb": (cpu / added * MEGA, "s/MB"),
            "compact_close": (told["close_seconds"], "s"),
            **_memory("compact", told),
            "compact_scratch": (told["scratch_peak_bytes"] / MEGA, "MB"),
        }

    def _collect(self, first: int) -> dict[str, tuple[float, str]]:
        told = self._child("collect", ladder=self._name, first=first, files=self._files)
        gone = deleted(self._name, first, self._files)
        self._deleted.append((gone.start, gone.stop))
        return {
            "gc": (told["seconds"], "s"),
            "gc_us_per_file": (told["seconds"] / self._files * MICRO, "us"),
            "gc_s_per_mb": (told["seconds"] / self._bytes * MEGA, "s/MB"),
            "gc_cpu_us_per_file": (told["gc_cpu_seconds"] / self._files * MICRO, "us"),
            "gc_cpu_s_per_mb": (told["gc_cpu_seconds"] / self._bytes * MEGA, "s/MB"),
            **_memory("gc", told),
        }

    def _mount(self) -> dict[str, tuple[float, str]]:
        """From starting ``stowkenfs mount`` till the root answers; nothing where none can be."""
        if not os.access("/dev/fuse", os.W_OK):
            say("no /dev/fuse here; nothing is mounted")
            return {}
        mountpoint = self._folder / "mnt"
        told = {}
        for name in ("mount_cold", "mount_warm"):
            if name == "mount_cold":
                evict(self._vault)
            begin = time.perf_counter()
            with mounted(self._vault, mountpoint):
                (mountpoint / self._name).stat()
                told[name] = (time.perf_counter() - begin, "s")
                begin = time.perf_counter()
            told[f"u{name}"] = (time.perf_counter() - begin, "s")
        return told


def _memory(what: str, told: Told) -> dict[str, tuple[float, str]]:
    found = {f"{what}_memory": (told["own_peak_bytes"] / MEGA, "MB")}
    if told["worker_peak_bytes"]:
        found[f"{what}_worker_memory"] = (told["worker_peak_bytes"] / MEGA, "MB")
    return found


def _each(what: str, told: Told) -> dict[str, tuple[float, str]]:
    """Of one look-up or reading."""
    count = max(told["count"], 1)
    return {
        what: (told["seconds"] / count * MICRO, "us"),
        f"{what}_p50": (told["p50_seconds"] * MICRO, "us"),
        f"{what}_p99": (told["p99_seconds"] * MICRO, "us"),
        f"{what}_cpu": (told["cpu_seconds"] / count * MICRO, "us"),
    }


def evict(vault: Path) -> None:
    """Let the next reading of the vault ask the disk; only its own files are forgotten."""
    for parent, _, names in os.walk(vault):
        for name in names:
            fd = os.open(Path(parent, name), os.O_RDONLY)
            try:
                os.fdatasync(fd)  # what is not written yet stays
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(fd)
