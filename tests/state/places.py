"""Where state can live, with real servers behind, and clocks that tests turn."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from stowkenfs import Vault, VaultConfig
from stowkenfs.state import (
    RedisStateStore,
    S3StateStore,
    SQLiteStateStore,
    StateStore,
    VaultStateStore,
)

KINDS = ("vault", "memory", "sqlite", "redis", "s3")
CONFIG = VaultConfig(seal_after_seconds=0, lock_wait_seconds=0)
S3_OPTIONS: dict[str, Any] = {
    "region_name": "us-east-1",
    "aws_access_key_id": "test",
    "aws_secret_access_key": "test",
}


@dataclass
class FakeClock:
    """ns since 1970, as a test says; each look is a microsecond later."""

    now_ns: int = 1_761_091_200_000_000_000  # 2025-10-22

    def __call__(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    async def pass_time(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


class RealClock:
    """For Redis, whose own clock decides what has expired."""

    def __call__(self) -> int:
        return time.time_ns()

    async def pass_time(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@dataclass
class Place:
    """One kind of store, which can be opened again and again with what it holds."""

    kind: str
    make: Callable[[FakeClock | RealClock], AbstractAsyncContextManager[StateStore]]
    clock: FakeClock | RealClock = field(default_factory=FakeClock)

    def open(self) -> AbstractAsyncContextManager[StateStore]:
        return self.make(self.clock)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.pass_time(seconds)


Main = Callable[[StateStore], Awaitable[None]]


@contextlib.contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a new server, which keeps nothing on disk."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on PATH: install Debian's package of that name")
    # Not pytest's: names of sockets are short.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        socket = Path(folder, "socket")
        words = ["--port", "0", "--unixsocket", str(socket), "--save", "", "--appendonly", "no"]
        server = subprocess.Popen(
            ["redis-server", *words, "--dir", folder], stdout=subprocess.DEVNULL
        )
        try:
            deadline = time.monotonic() + 30
            while not socket.exists():
                assert server.poll() is None, "redis-server ended"
                assert time.monotonic() < deadline, "redis-server is not ready"
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            server.terminate()
            server.wait(30)


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The endpoint of a new server, in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def make_bucket(endpoint: str, name: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=endpoint, **S3_OPTIONS)
    client.create_bucket(Bucket=name)
    client.close()


def place_of(kind: str, folder: Path, redis_url: str, s3_url: str, number: int) -> Place:
    """A new and empty one. What has no such server has no need of its URL."""

    @asynccontextmanager
    async def in_vault(clock):
        # Not the vault's clock: reading that moves a test's.
        async with Vault.open(folder / "v", CONFIG) as vault:
            async with VaultStateStore.open(vault, "a/state", clock=clock) as store:
                yield store
            assert (await vault.verify()).clean

    @asynccontextmanager
    async def in_memory(clock):
        vault = Vault.memory(CONFIG)
        async with vault as opened, VaultStateStore.open(opened, clock=clock) as store:
            yield store

    match kind:
        case "vault":
            return Place(kind, in_vault)
        case "memory":
            return Place(kind, in_memory)
        case "sqlite":
            path = folder / "state.db"
            return Place(kind, lambda clock: SQLiteStateStore.open(path, clock=clock))
        case "redis":
            prefix = f"test-{number}[*]:"
            return Place(
                kind,
                lambda clock: RedisStateStore.open(redis_url, prefix=prefix, clock=clock),
                RealClock(),
            )
        case "s3":
            bucket = f"test-{number}"
            make_bucket(s3_url, bucket)
            return Place(
                kind,
                lambda clock: S3StateStore.open(
                    bucket, prefix="p/", endpoint_url=s3_url, clock=clock, **S3_OPTIONS
                ),
            )
    raise AssertionError(kind)
