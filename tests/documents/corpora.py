"""The real corpora beside the repository, unpacked once per test run."""

import shutil
import subprocess
from pathlib import Path

import pytest

CORPORA = Path(__file__).resolve().parents[3] / "shared" / "corpora"


def unpacked(name: str, under: Path) -> Path:
    """The directory of one corpus, unpacked below ``under``. Skips the test without it."""
    if not (CORPORA / f"{name}.tar.zst").is_file() or not shutil.which("zstd"):
        pytest.skip(f"corpus {name} needs ../shared/corpora and the zstd command")
    subprocess.run([CORPORA / "unpack", under, name], check=True)
    return under / name
