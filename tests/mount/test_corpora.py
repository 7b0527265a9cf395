"""Real conversations in by ``cp``, out again byte for byte, through the mount and by export.

Small corpora by default, all with STOWKENFS_CORPORA=all.
"""

import os
import time
from pathlib import Path

import pytest

from tests.documents.corpora import CORPORA, unpacked
from tests.mount.conftest import MakeMount
from tests.mount.mounted import cli_command, environment, has_cli, listed, run

SMALL = ("inspect-logs", "tau-airline-split", "gpteacher")
ALL = sorted(path.name.removesuffix(".tar.zst") for path in CORPORA.glob("*.tar.zst"))
NAMES = ALL if os.environ.get("STOWKENFS_CORPORA") == "all" else SMALL
PEAK_KIB_MAX = 512 << 10

pytestmark = [pytest.mark.corpora, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", NAMES)
def test_corpus_comes_back(
    make_mount: MakeMount, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, name, say
) -> None:
    source = unpacked(name, tmp_path_factory.mktemp("corpora"))
    mount = make_mount()
    seconds = {}

    def timed(what: str, *command: str | Path) -> None:
        began = time.monotonic()
        run(*command, env=environment(), timeout=900)
        seconds[what] = time.monotonic() - began

    with mount.watched():
        timed("cp", "cp", "-r", source, mount.path / name)
        began = time.monotonic()
        mount.unmount()
        seconds["umount"] = time.monotonic() - began
        assert listed(mount.vault / "drafts") == []
        mount.start()
        timed("diff", "diff", "-r", source, mount.path / name)
        timed("verify", "bash", "-c", f"echo 1 > {mount.control}/verify")
    mount.unmount()
    if has_cli():
        timed("export", *cli_command("export", mount.vault, tmp_path / "exported"))
        run("diff", "-r", source, tmp_path / "exported" / name)
    took = ", ".join(f"{what} {spent:.1f} s" for what, spent in seconds.items())
    say(f"{name}: peak memory {mount.peak_kib / 1024:.0f} MiB, {took}")
    assert mount.peak_kib < PEAK_KIB_MAX
