"""The parts of the measurement; each returns what it found as plain numbers. Sizes in bytes."""

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from lib.density.corpora import Corpus, say, write_log
from lib.density.sizes import archive_bytes, disk_bytes, files_below
from lib.density.watch import child
from lib.peer.conversations import of_corpus, write_conversations
from lib.peer.environment import Peer

Told = dict[str, Any]

ALL_WINDOW_LOG = 31
WINDOW_LOG = 27

TIMES_PACKED_MAX = 1.15
PACKED_BYTES_MIN = 400_000
"""Below this a corpus is too small for ``TIMES_PACKED_MAX`` to be asked of it."""

READS = 1000
COLD_READS = 400
LOG_BYTES = 100_000_000

WHEEL_CORPORA = ("hh-harmless", "alpaca-eval", "tau-airline")
COPIES = "copies"


class Whole:
    """One vault with all corpora, imported and compacted when first asked for.

    ``copies`` changes it; what else is asked of it comes before.
    """

    def __init__(self, corpora: Sequence[Corpus], work: Path) -> None:
        self._corpora = corpora
        self._sources = [str(corpus.path) for corpus in corpora]
        self._work = work
        self._vault = work / "all"

    @cached_property
    def imported(self) -> Told:
        say(f"importing {len(self._corpora)} directories into one vault")
        return _where(self._vault, _imported(self._vault, self._sources, stats=True))

    @cached_property
    def compacted(self) -> Told:
        _ = self.imported
        say("compacting it")
        return _where(self._vault, child("compact", self._vault, stats=True))

    def parts(self) -> Told:
        imported, compacted = self.imported, self.compacted
        say("comparing it with the files")
        compared = child("compare", self._vault, sources=self._sources)
        say("making one archive of all")
        report = imported["report"]
        return {
            "files": report["files"],
            "bytes_in": report["content_bytes"],
            "imported": imported,
            "compacted": compacted,
            "compared": compared,
            "archive_bytes": archive_bytes(
                [corpus.path for corpus in self._corpora], ALL_WINDOW_LOG
            ),
        }

    def compaction(self) -> Told:
        first = self.compacted
        before = _packs(self._vault)
        say("compacting it once more")
        second = child("compact", self._vault)
        after = _packs(self._vault)
        touched = sum(before.get(name) != after.get(name) for name in before | after)
        return {"first": first, "second": second, "packs_touched": touched}

    def reads(self) -> Told:
        _ = self.compacted
        say("reading small files")
        small = child("read", self._vault, reads=READS, cold_reads=COLD_READS)
        say("reading the largest file")
        largest = child("sequential", self._vault)
        return {"small": small, "largest": largest, "log": self._log()}

    def _log(self) -> Told:
        folder, vault = self._work / "log", self._work / "log-vault"
        folder.mkdir()
        say("writing, importing and reading a log")
        size = write_log(self._corpora, folder / "log.jsonl", LOG_BYTES)
        _imported(vault, [str(folder)])
        imported = child("sequential", vault)
        say("compacting and reading the log")
        compacted = child("compact", vault)
        after = child("sequential", vault)
        told = {
            "bytes": size,
            "imported_seconds": imported["seconds"],
            "compacted_seconds": after["seconds"],
            "compaction": compacted,
            "vault_bytes": disk_bytes(vault),
        }
        shutil.rmtree(vault)
        shutil.rmtree(folder)
        return told

    def copies(self) -> Told:
        _ = self.compacted
        before = disk_bytes(self._vault)
        say("copying half of the files under new names")
        files, size = _copy_half(self._corpora, self._work / COPIES)
        copied = str(self._work / COPIES)
        _imported(self._vault, [copied])
        after = disk_bytes(self._vault)
        say("compacting after the copy")
        child("compact", self._vault)
        again = disk_bytes(self._vault)
        say("comparing all of it with the files")
        compared = child("compare", self._vault, sources=[*self._sources, copied])
        shutil.rmtree(copied)
        return {
            "files": files,
            "bytes": size,
            "before_bytes": before,
            "copied_bytes": after,
            "again_bytes": again,
            "compared": compared,
        }


class Each:
    """Every corpus in a vault of its own."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._compacted: dict[str, Told] = {}

    def compacted(self, corpus: Corpus) -> Told:
        told = self._compacted.get(corpus.name)
        if told is None:
            vault = self._work / "each"
            say(f"{corpus.name}: importing and compacting")
            report = _imported(vault, [str(corpus.path)])["report"]
            imported = disk_bytes(vault)
            compacted = _where(vault, child("compact", vault, stats=True))
            told = {
                "name": corpus.name,
                "bytes_in": report["content_bytes"],
                "imported_bytes": imported,
                "compacted_bytes": compacted["disk_bytes"],
                "compaction_seconds": compacted["seconds"],
                "kinds": compacted["kinds"],
            }
            shutil.rmtree(vault)
            self._compacted[corpus.name] = told
        return told

    def by_corpus(self, corpora: Sequence[Corpus]) -> list[Told]:
        rows = []
        for corpus in corpora:
            told = self.compacted(corpus)
            archive = archive_bytes([corpus.path], WINDOW_LOG)
            packed = corpus.packed_bytes or archive
            within = told["compacted_bytes"] <= TIMES_PACKED_MAX * packed
            rows.append(
                told
                | {
                    "archive_bytes": archive,
                    "packed_bytes": corpus.packed_bytes,
                    "within": within if packed > PACKED_BYTES_MIN else None,
                }
            )
            say(f"{corpus.name}: {told['compacted_bytes'] / packed:.3f} x packed")
        return rows

    def wheel(self, corpora: Sequence[Corpus], peer: Peer) -> list[Told]:
        """Beside the stowken wheel, which gets the conversations of each corpus."""
        rows = []
        named = [corpus for corpus in corpora if corpus.name in WHEEL_CORPORA]
        for corpus in named or corpora:
            ours = self.compacted(corpus)
            say(f"{corpus.name}: storing it with the wheel")
            conversations = self._work / "conversations.jsonl"
            write_conversations(of_corpus(corpus.path), conversations)
            told = peer.store(conversations, self._work / "wheel")
            rows.append(
                ours
                | {name: told[name] for name in ("conversations", "refused", "reasons")}
                | {"wheel_bytes": told["disk_bytes"], "frame_bytes": told["segment_file_bytes"]}
            )
        return rows


def _imported(vault: Path, sources: Sequence[str], *, stats: bool = False) -> Told:
    told = child("import", vault, sources=sources, stats=stats)
    if not told["complete"]:
        raise SystemExit(f"bench: not all could be imported: {told['report']['failures'][:3]}")
    return told


def _where(vault: Path, told: Told) -> Told:
    """What a child told with its stats, and where the bytes of the closed vault are."""
    size, stats = disk_bytes(vault), told["stats"]
    kinds = {kind["kind"]: kind["stored_bytes"] for kind in stats["kinds"]}
    # What an open vault has beside it, the index's log, is not there when it is closed.
    kinds["index"] -= stats["disk_bytes"] - size
    return told | {"disk_bytes": size, "kinds": kinds}


def _packs(vault: Path) -> dict[str, tuple[int, int]]:
    """Size and time of the last change of each pack."""
    return {
        path.name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in (vault / "packs").iterdir()
    }


def _copy_half(corpora: Sequence[Corpus], target: Path) -> tuple[int, int]:
    """Every second file of each corpus, under another folder; how many, and their size."""
    files = size = 0
    for corpus in corpora:
        for path in files_below(corpus.path)[::2]:
            copy = target / corpus.name / path.relative_to(corpus.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            files += 1
            size += copy.stat().st_size
    return files, size
