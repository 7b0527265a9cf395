"""Which of some byte strings occur in a content, in one pass over it."""

from stowkenfs import kernels


def occurring(content: bytes, needles: tuple[bytes, ...]) -> int:
    """A bit for each of ``needles`` that occurs, the lowest for the first.

    They are at most eight, and begin with the same byte.
    """
    if kernels.compiled is not None:
        return kernels.compiled.occurring(content, needles)
    return sum((needle in content) << at for at, needle in enumerate(needles))
