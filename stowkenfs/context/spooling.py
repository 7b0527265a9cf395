"""What stays of a large result when it is spooled."""

from typing import NamedTuple


class SpoolDecision(NamedTuple):
    """``original_bytes`` of UTF-8 have left; ``preview`` takes their place."""

    original_bytes: int
    preview: str


def plan_spool(
    output: str, threshold_bytes: int, preview_bytes: int, where: str = "elsewhere"
) -> SpoolDecision | None:
    """Whether ``output`` is spooled, and what stays of it.

    None keeps it as it is: it has no more than ``threshold_bytes`` of UTF-8, or they are 0, which
    turns spooling off. The preview is as much of its first ``preview_bytes`` as are whole
    characters, and a line that says ``where`` the whole is. A lone surrogate counts three bytes.
    """
    utf8 = output.encode("utf-8", "surrogatepass")
    if not 0 < threshold_bytes < len(utf8):
        return None
    end = min(max(preview_bytes, 0), len(utf8))
    while 0 < end < len(utf8) and utf8[end] & 0xC0 == 0x80:  # within a character
        end -= 1
    head = utf8[:end].decode("utf-8", "surrogatepass")
    line = (
        f"[… tool result spooled: {len(utf8)} bytes total, the first {end} shown; whole: {where}]"
    )
    return SpoolDecision(len(utf8), f"{head}\n{line}")
