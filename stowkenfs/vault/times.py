"""Times of files as they are kept."""

TIME_NS_MAX = (1 << 63) - 1
"""The year 2262; times outside the index's integers become the nearest within, as on XFS."""


def kept_time(time_ns: int) -> int:
    """``time_ns`` since 1970, or the nearest that can be kept."""
    return max(-TIME_NS_MAX, min(time_ns, TIME_NS_MAX))
