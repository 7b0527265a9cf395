"""What a vault does to itself, and content for it to do that with."""

import random
from collections.abc import Iterator

from tests.mount.mounted import Mount

LINES = b"".join(
    b'{"role": "user", "content": "line %d of a log in which someone says something"}\n' % at
    for at in range(3000)
)
NOISE = random.Random(5).randbytes(300_000)

JOBS = ("compact", "gc", "reindex", "verify")


def all_jobs(mount: Mount) -> Iterator[str]:
    """Run each job; its name when it is done, and "" before the first."""
    yield ""
    for job in JOBS:
        (mount.control / job).write_text("1\n")
        yield job
