"""Real conversations in by ``cp``, out again byte for byte, through the mount and by export.

Small corpora by default, all with STOWKENFS_CORPORA=all.
"""

import os
import shutil
import time
from pathlib import Path

import pytest

from tests.documents.corpora import CORPORA, unpacked
from tests.mount.conftest import MakeMount
from tests.mount.mounted import cli_command, environment, has_cli, listed, run

SMALL = ("inspect-logs", "tau-airline-split")
ALL = sorted(path.name.removesuffix(".tar.zst") for path in CORPORA.glob("*.tar.zst"))
NAMES = ALL if os.environ.get("STOWKENFS_CORPORA") == "all" else SMALL
PEAK_KIB_MAX = 512 << 10

pytestmark = [pytest.mark.corpora, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", NAMES)
def test_corpus_comes_back(
    make_mount: MakeMount, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, name, say
) -> None:
    """As it was sealed, compacted, and copied again in part."""
    source = unpacked(name, tmp_path_factory.mktemp("corpora"))
    mount = make_mount()
    seconds = {}
    taken = {}

    def timed(what: str, *command: str | Path) -> None:
        began = time.monotonic()
        run(*command, env=environment(), timeout=900)
        seconds[what] = time.monotonic() - began

    def ask(what: str) -> None:
        timed(what, "bash", "-c", f"echo 1 > {mount.control}/{what}")

    def unmount(what: str) -> None:
        mount.unmount()
        assert listed(mount.vault / "drafts") == []
        taken[what] = int(run("du", "-s", "--block-size=1", mount.vault).split()[0])

    with mount.watched():
        timed("cp", "cp", "-r", source, mount.path / name)
        began = time.monotonic()
        unmount("sealed")
        seconds["umount"] = time.monotonic() - began
        mount.start()
        timed("diff", "diff", "-r", source, mount.path / name)
        ask("verify")
        ask("compact")
        unmount("compacted")
        mount.start()
        timed("diff compacted", "diff", "-r", source, mount.path / name)
        files = sorted(path for path in source.rglob("*") if path.is_file())
        again = mount.path / "again"
        again.mkdir()
        for at, path in enumerate(files[::2]):
            shutil.copyfile(path, again / f"copy {at}")
        mount.remount()
        for at, path in enumerate(files[::2]):
            assert (again / f"copy {at}").read_bytes() == path.read_bytes(), path
        ask("compact")
        ask("verify")
        timed("diff again", "diff", "-r", source, mount.path / name)
    unmount("with copies")
    if has_cli():
        timed("export", *cli_command("export", mount.vault, tmp_path / "exported"))
        run("diff", "-r", source, tmp_path / "exported" / name)
    took = ", ".join(f"{what} {spent:.1f} s" for what, spent in seconds.items())
    sizes = ", ".join(f"{what} {size}" for what, size in taken.items())
    say(f"{name}: peak memory {mount.peak_kib / 1024:.0f} MiB, {took}; bytes {sizes}")
    assert taken["compacted"] < taken["sealed"]
    # A copy costs its name, times and place: some 60 bytes for each file, and disk blocks.
    assert taken["with copies"] < taken["compacted"] + 120 * len(files) + (48 << 10)
    assert mount.peak_kib < PEAK_KIB_MAX
