"""What a user of the library may choose."""

from dataclasses import dataclass

MEBI = 1 << 20


@dataclass(frozen=True, slots=True)
class VaultConfig:
    """Settings of one opened vault; none of them changes what can be read.

    Attributes:
        compression_level: zstd level of frames and blocks, 1 to 19.
        record_cache_bytes: decoded records kept in memory.
        block_cache_bytes: unpacked blocks kept in memory.
        workers: processes that encode; 0 encodes in a thread. Programs that set it need
            the usual ``if __name__ == "__main__":`` guard, as with ``multiprocessing``.
        seal_after_seconds: how long a file that nobody writes stays a draft.
        near_dedup_threshold: similarity, above 0 and up to 1, from which on a new segment is
            stored as its differences from one that is stored, where that is smaller; None
            stores each by itself. 0.85 is a good value. What is compared is which tokens
            there are.
        lock_wait_seconds: how long opening waits for a holder that is about to leave.

    """

    compression_level: int = 6
    record_cache_bytes: int = 64 * MEBI
    block_cache_bytes: int = 64 * MEBI
    workers: int = 0
    seal_after_seconds: float = 1.0
    lock_wait_seconds: float = 30.0
    near_dedup_threshold: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.compression_level <= 19:
            raise ValueError("compression_level is a zstd level from 1 to 19")
        if self.workers < 0:
            raise ValueError("workers is a number of processes, 0 or more")
        threshold = self.near_dedup_threshold
        if threshold is not None and not 0 < threshold <= 1:  # which no NaN is
            raise ValueError("near_dedup_threshold is a similarity, above 0 and up to 1, or None")
