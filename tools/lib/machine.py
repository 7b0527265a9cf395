"""What figures were measured on."""

import os
import platform
from typing import Any


def about_machine() -> dict[str, Any]:
    """Processors that may be used, and versions."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
