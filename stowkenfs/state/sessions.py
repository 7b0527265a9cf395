"""What an agent remembers of a user: one session for each day, gone when it is old."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote

from stowkenfs.errors import InvalidStateKey, SnapshotCorrupt, StateNotFound
from stowkenfs.grids.formats import GridFormat
from stowkenfs.grids.grid import Grid
from stowkenfs.grids.snapshot import Metadata, Snapshot
from stowkenfs.state.durations import parse_duration
from stowkenfs.state.snapshots import load_snapshot, save_snapshot
from stowkenfs.state.store import StateStore, check_key
from stowkenfs.vault.files import Clock

SUFFIX = ".session"
USER_BYTES_MAX = 150
"""As they are in a key, percent-encoded."""


@dataclass(frozen=True, slots=True, order=True)
class Session:
    """One that is there. Sizes in bytes, times in ns since 1970."""

    user: str
    day: date
    size_bytes: int
    modified_ns: int
    expires_ns: int | None


class SessionStore:
    """Sessions below ``prefix``: ``user_001_2025-10-22.session``, compressed.

    One expires ``retention`` after it was last saved; None: never. Days are UTC's.
    """

    def __init__(
        self,
        store: StateStore,
        prefix: str = "sessions",
        *,
        retention: str | timedelta | None = "30d",
        grid_format: GridFormat = GridFormat.COMPRESSED,
        clock: Clock = time.time_ns,
    ) -> None:
        self._store = store
        self._prefix = check_key(prefix)
        self._retention = parse_duration(retention) if isinstance(retention, str) else retention
        self._grid_format = grid_format
        self._clock = clock

    async def save(
        self, user: str, grid: Grid, parameters: Any = None, *, day: date | None = None
    ) -> Snapshot:
        """Save as the session of a day, today's if none is named; replaces an earlier save."""
        key = self.key(user, day or self._today())
        created = None
        if (old := await self._load(key)) is not None:
            created = old.metadata.created_ns
        parameters = {} if parameters is None else parameters
        metadata = Metadata(created_ns=created, owner=user, parameters=parameters)
        return await save_snapshot(
            self._store,
            key,
            Snapshot(grid, metadata),
            self._grid_format,
            expires_after=self._retention,
            clock=self._clock,
        )

    async def load(self, user: str, day: date | None = None) -> Snapshot:
        """The session of a day, or a user's last one.

        Raises StateNotFound, SnapshotCorrupt, UnknownSnapshotVersion.
        """
        if day is None:
            days = [session.day for session in await self.sessions(user)]
            if not days:
                raise StateNotFound(f"session of {user!r}")
            day = max(days)
        return await load_snapshot(self._store, self.key(user, day))

    async def delete(self, user: str, day: date | None = None) -> int:
        """Remove a user's session of a day, or all of them; how many there were."""
        days = [day] if day else [session.day for session in await self.sessions(user)]
        return sum([await self._store.delete(self.key(user, one)) for one in days])

    async def sessions(self, user: str | None = None) -> Sequence[Session]:
        """All that are there, or a user's: by user and day."""
        prefix = f"{self._prefix}/" + ("" if user is None else f"{_encoded(user)}_")
        found = []
        for entry in await self._store.list(prefix):
            parsed = self._parsed(entry.key)
            if parsed is not None and user in (None, parsed[0]):
                found.append(
                    Session(*parsed, entry.size_bytes, entry.modified_ns, entry.expires_ns)
                )
        return sorted(found)

    async def sweep(self) -> int:
        """Remove what has expired, of the whole store; how many that were."""
        return await self._store.sweep()

    def key(self, user: str, day: date) -> str:
        """Where a session is. Raises InvalidStateKey for a user without a name."""
        return f"{self._prefix}/{_encoded(user)}_{day.isoformat()}{SUFFIX}"

    def _parsed(self, key: str) -> tuple[str, date] | None:
        name = key.removeprefix(f"{self._prefix}/")
        user, _, day = name.removesuffix(SUFFIX).rpartition("_")
        if not user or not name.endswith(SUFFIX):
            return None
        try:
            found = unquote(user, errors="strict"), date.fromisoformat(day)
        except ValueError:
            return None  # a file of somebody else's
        return found if self.key(*found) == key else None

    async def _load(self, key: str) -> Snapshot | None:
        """What is there to be replaced, if it can be read."""
        try:
            return await load_snapshot(self._store, key)
        except (StateNotFound, SnapshotCorrupt):
            return None

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock() / 1e9, UTC).date()


def _encoded(user: str) -> str:
    try:
        encoded = quote(user, safe="@+")
    except UnicodeEncodeError:
        raise InvalidStateKey(user, "is not valid Unicode text, as a user's name") from None
    if not encoded or len(encoded) > USER_BYTES_MAX:
        raise InvalidStateKey(
            user, f"is empty or longer than {USER_BYTES_MAX} bytes, as a user's name"
        )
    return encoded
