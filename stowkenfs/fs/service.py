"""One mount from its beginning to its end."""

import gc
import logging
import os
import resource
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import pyfuse3
import trio

from stowkenfs.control.jobs import Jobs
from stowkenfs.control.kept_log import KeptLog
from stowkenfs.control.tree import control_tree
from stowkenfs.errors import MountFailed
from stowkenfs.fs.agreement import keep_pages
from stowkenfs.fs.control_nodes import ControlNodes
from stowkenfs.fs.operations import StowkenOperations
from stowkenfs.fs.options import MountOptions
from stowkenfs.fs.receiving import receive_at_once
from stowkenfs.vault.config import VaultConfig
from stowkenfs.vault.vault import Vault

log = logging.getLogger(__name__)

WORKERS_MAX = 4
READ_AHEAD_KIB = 1024
"""The kernel's 128 KiB would make four requests of one record block's worth."""

ALWAYS = ("default_permissions", "fsname=stowkenfs", "subtype=stowkenfs")
"""Given to each mount. Without the first the kernel would ask nobody who may do what."""

ANSWER_SECONDS = 30.0

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The last of them only if it is not ignored, as under nohup."""

SWITCH_SECONDS = 0.0001
"""How long a thread that computes keeps the loop waiting; Python's default is 5 ms."""


Place = Callable[[], AbstractContextManager[None]]
"""Inside of it, nobody else mounts at the same mount point; it may refuse."""


async def serve(
    vault_path: Path,
    mountpoint: Path,
    options: MountOptions,
    ready: Callable[[], None],
    place: Place = nullcontext,
) -> None:
    """Mount the vault at ``mountpoint`` and answer requests until it is unmounted.

    ``ready()`` is called once the mount answers. On return everything is on disk and the
    vault is free. SIGTERM, SIGINT and SIGHUP unmount; a second one leaves the rest of the drafts
    for the next mount, where they are as safe.
    Raises MountFailed, and what ``Vault.open`` and ``place`` raise.
    """
    with _signals_only_here():  # before there is any thread, which would not know of it
        await _serve(vault_path, mountpoint, options, ready, place)


async def _serve(
    vault_path: Path,
    mountpoint: Path,
    options: MountOptions,
    ready: Callable[[], None],
    place: Place,
) -> None:
    workers = min(os.cpu_count() or 1, WORKERS_MAX) if options.workers is None else options.workers
    config = VaultConfig(
        workers=workers,
        seal_after_seconds=options.seal_after_seconds,
        near_dedup_threshold=options.near_dedup_threshold,
    )
    _allow_many_files()
    sys.setswitchinterval(SWITCH_SECONDS)
    where = await trio.to_thread.run_sync(os.path.realpath, mountpoint)
    async with KeptLog().listening() as kept_log, Vault.open(vault_path, config) as vault:
        vault.announce(where)
        if vault.read_only:
            log.warning("the vault %s cannot be written: it is mounted read-only", vault_path)
            options = replace(options, fuse=options.fuse | {"ro"})
        jobs = Jobs()
        words = ",".join(options.words)
        control = ControlNodes(control_tree(vault, jobs, kept_log, where, words))
        operations = StowkenOperations(
            vault,
            control,
            control_visible=options.control_visible,
            writeback=options.writeback,
        )
        if options.receive_direct:
            receive_at_once()
        keep_pages(keep=options.keep_pages)
        with place():
            _mount(operations, where, options)
        with trio.open_signal_receiver(*_heeded()) as signals:
            async with trio.open_nursery() as nursery:
                stop = trio.CancelScope()
                nursery.start_soon(_stop_on_signal, signals, jobs, stop)
                try:
                    await _answer(
                        vault,
                        where,
                        ready,
                        0 if "ro" in options.fuse else options.retention_seconds,
                    )
                finally:
                    vault.announce(where, leaving=True)
                    pyfuse3.close(unmount=True)
                    operations.release_all()
                with stop:
                    if not vault.read_only:
                        await vault.sealer.seal_due(everything=True)
                nursery.cancel_scope.cancel()


def _mount(operations: StowkenOperations, where: str, options: MountOptions) -> None:
    logging.getLogger("pyfuse3").addFilter(_is_news)
    words = {*pyfuse3.default_options, *ALWAYS, *options.fuse}
    try:
        pyfuse3.init(operations, where, words)
    except RuntimeError as error:
        raise MountFailed(
            f"cannot mount at {where}: {error}; the line above, from libfuse, says why "
            "(for allow_other, /etc/fuse.conf needs user_allow_other)"
        ) from error


async def _answer(
    vault: Vault, where: str, ready: Callable[[], None], retention_seconds: float
) -> None:
    """Serve the kernel's requests until it is told to stop."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(vault.tidy)
        if retention_seconds:
            nursery.start_soon(vault.retention.run, retention_seconds)
        nursery.start_soon(_announce, where, ready)
        # What is there now stays: a full collection need not look at it, and is over sooner.
        gc.collect()
        gc.freeze()
        await pyfuse3.main()
        nursery.cancel_scope.cancel()


async def _announce(where: str, ready: Callable[[], None]) -> None:
    """Call ``ready`` when the mount answers somebody else's request."""
    with trio.move_on_after(ANSWER_SECONDS):
        await trio.to_thread.run_sync(raise_read_ahead, where, abandon_on_cancel=True)
        ready()
        return
    log.error("the mount does not answer")


def raise_read_ahead(where: str) -> None:
    """Ask the mount something, and raise its read-ahead where that is allowed."""
    device = Path(where).stat().st_dev
    knob = f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb"
    with suppress(OSError):
        Path(knob).write_text(str(READ_AHEAD_KIB))


def _is_news(record: logging.LogRecord) -> bool:
    """Whether pyfuse3 tells more than that a program did not wait for its answer."""
    return "failed with No such file or directory" not in record.getMessage()


def _heeded() -> list[signal.Signals]:
    is_nohup = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [one for one in STOPPING if one != signal.SIGHUP or not is_nohup]


@contextmanager
def _signals_only_here() -> Iterator[None]:
    """Keep the signals that stop the mount from its worker processes.

    Ctrl-C and systemd send them to the whole group, but what is not sealed yet needs the
    workers. They are started with the signals blocked, as the threads that start them have
    them; one thread takes the signals for the process.
    """
    done = threading.Event()

    def take() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)
        done.wait()

    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    threading.Thread(target=take, name="signals", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _stop_on_signal(signals: AsyncIterator[int], jobs: Jobs, stop: trio.CancelScope) -> None:
    """The first signal ends the mount, the second also the sealing that follows."""
    received = 0
    async for number in signals:
        received += 1
        log.info("signal %s: unmounting", signal.Signals(number).name)
        if received == 1:
            jobs.stop()
            pyfuse3.terminate()
        else:
            stop.cancel()


def _allow_many_files() -> None:
    """Each file being written has a draft open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
