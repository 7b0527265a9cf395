"""Where the stowken wheel is installed, and running it there."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lib.density.corpora import say
from lib.density.sizes import disk_bytes, files_below

WHEEL = Path(__file__).with_name("wheel.py")
OWN_ENVIRONMENT = Path(sys.prefix)


class Peer:
    """An environment with the wheel. Sizes in bytes."""

    def __init__(self, python: Path) -> None:
        self._python = python

    @classmethod
    def found(cls, environment: Path | None) -> "Peer | None":
        """The one in ``environment``, a directory or a Python; None, and said, where none is."""
        if environment is None:
            return None
        python = environment / "bin" / "python" if environment.is_dir() else environment
        try:
            done = subprocess.run(
                [python, "-c", "import stowken"], check=False, capture_output=True, text=True
            )
            reason = done.stderr.strip().rpartition("\n")[2]
        except OSError as error:
            reason = str(error)
        if reason:
            say(f"nothing is compared with the stowken wheel, it is not in {environment}: {reason}")
            return None
        return cls(python)

    def store(self, conversations: Path, store: Path, **words: Any) -> dict[str, Any]:
        """What wheel.py told and what its store took; the store is removed."""
        spec = words | {"store": str(store), "conversations": str(conversations)}
        try:
            out = subprocess.run(
                [self._python, WHEEL, json.dumps(spec)], check=True, stdout=subprocess.PIPE
            )
            told: dict[str, Any] = json.loads(out.stdout)
            segments = files_below(store / "segments")
            return told | {
                "disk_bytes": disk_bytes(store),
                "segment_file_bytes": _bytes(p for p in segments if p.suffix != ".meta"),
                "side_file_bytes": _bytes(p for p in segments if p.suffix == ".meta"),
                "registry_bytes": _bytes(
                    path
                    for folder in ("dictionaries", "substrings")
                    for path in files_below(store / folder)
                ),
            }
        finally:
            shutil.rmtree(store, ignore_errors=True)


def _bytes(paths: Iterable[Path]) -> int:
    return sum(path.stat().st_size for path in paths)
