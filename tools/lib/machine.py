"""What figures are measured on."""

import os
import platform
import sys
from pathlib import Path
from typing import Any


def about_machine() -> dict[str, Any]:
    """Processors that may be used, and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def drop_caches() -> None:
    """Let the next read ask the filesystem; where that may not be, it is warm, and said so."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        print("bench: caches cannot be dropped here; reads are warm", file=sys.stderr)
