"""The power goes while a vault is mounted, read, written, compacted and collected."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from tests.mount.mounted import Mount, skip_without_fuse
from tests.power.actor import Actor, InMount
from tests.power.conftest import CUTS
from tests.power.cuts import Recording, cuts, run_cuts
from tests.power.recording import Marks, read_events, recorded
from tests.power.workloads import append_logs, replace_files, write_anywhere

pytestmark = pytest.mark.mount

JOBS = {
    "compact": "1",
    "gc": "1",
    "train/substrings": "samples=200 min_occurrences=3",
    "reindex": "1",
}


@contextmanager
def mounted(directory: Path, log: Path, patch: pytest.MonkeyPatch) -> Iterator[Mount]:
    """A recorded mount of a new vault."""
    skip_without_fuse()
    mount = Mount(directory, "seal_after=0.2,workers=1")
    try:
        with patch.context() as recording:
            for name, value in recorded(mount.vault, log).items():
                recording.setenv(name, value)
            mount.start()
        yield mount
    finally:
        mount.close()
    mount.check_log()


class Asked(threading.Thread):
    """A job of the mount, from another thread."""

    def __init__(self, mount: Mount, name: str, words: str) -> None:
        super().__init__(daemon=True)
        self._path, self._words = mount.control / name, words
        self.start()

    def run(self) -> None:
        with self._path.open("wb", buffering=0) as file:
            file.write(f"{self._words}\n".encode())


def record_mounted(
    directory: Path, patch: pytest.MonkeyPatch, work: Callable[[Mount, Actor], None]
) -> Recording:
    log = directory / "events"
    marks = Marks(log)
    with mounted(directory / "one", log, patch) as mount:
        actor = Actor(InMount(mount.path), marks)
        work(mount, actor)
        actor.place.close_all()
        mount.unmount()
        actor.closed()
    return Recording(read_events(mount.vault, log))


def write_files(mount: Mount, actor: Actor) -> None:
    anyio.run(replace_files, actor)
    anyio.run(append_logs, actor)
    anyio.run(write_anywhere, actor, 7)
    actor.place.close_all()
    mount.wait_sealed()
    anyio.run(write_anywhere, actor, 8)


def do_jobs(mount: Mount, actor: Actor) -> None:
    for number, (name, words) in enumerate(JOBS.items()):
        anyio.run(append_logs, actor, 6, f"{number} before ")
        mount.wait_sealed()
        asked = Asked(mount, name, words)
        anyio.run(append_logs, actor, 4, f"{number} beside ")
        asked.join()


@pytest.mark.parametrize("work", [write_files, do_jobs], ids=lambda work: work.__name__)
def test_promises_of_a_mount_are_kept(
    work: Callable[[Mount, Actor], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = record_mounted(tmp_path, monkeypatch, work)
    outcome = run_cuts(recording, cuts(recording.events, CUTS, seed=CUTS), tmp_path / "broken")
    assert outcome.states == CUTS
    assert not outcome.broken, "\n".join([str(tmp_path), *outcome.broken[:20]])
