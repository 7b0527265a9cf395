"""Going into the background once the work there has begun well."""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import IO, NoReturn

from stowkenfs.cli.failures import CommandFailed, ExitCode, exit_code_of, sentence_of

Work = Callable[[Callable[[], None]], None]
"""Calls its argument once it is ready, and returns at the very end."""


def start(work: Work, at_ready: Callable[[], None]) -> None:
    """Run ``work`` in a process of its own session; return when it is ready.

    ``at_ready`` is called there. Until then its stderr is ours. Raises CommandFailed with
    what ended it before.
    """
    reader, writer = os.pipe()
    with tempfile.TemporaryFile() as early, os.fdopen(reader, "rb") as status:
        pid = os.fork()
        if pid == 0:
            status.close()
            _run(work, at_ready, writer, early)
        os.close(writer)
        try:
            answer = status.read()
        except KeyboardInterrupt:
            os.kill(pid, signal.SIGTERM)
            os.waitpid(pid, 0)
            raise
        finally:
            _relay(early)
        if not answer:
            _, how = os.waitpid(pid, 0)
            raise CommandFailed(f"the daemon ended before it was ready: {_ending(how)}")
    result = json.loads(answer)
    if result["code"] != ExitCode.OK:
        raise CommandFailed(result["error"], ExitCode(result["code"]))


def _run(work: Work, at_ready: Callable[[], None], writer: int, early: IO[bytes]) -> NoReturn:
    """The daemon's life."""
    code = int(ExitCode.FAILED)
    try:
        os.setsid()
        _detach(early)
        reported = _Reporter(writer)

        def ready() -> None:
            at_ready()
            os.chdir("/")  # the directory it was started in can be unmounted
            reported.send(ExitCode.OK, "")

        try:
            work(ready)
            code = int(ExitCode.OK)
        except BaseException as error:  # noqa: BLE001 - told to whoever still listens
            code = int(exit_code_of(error))
            if not reported.send(ExitCode(code), sentence_of(error)):
                print(f"stowkenfs: {sentence_of(error)}", file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(code)


class _Reporter:
    """The pipe to the process that waits; it takes one message."""

    def __init__(self, writer: int) -> None:
        self._writer: int | None = writer

    def send(self, code: ExitCode, error: str) -> bool:
        """Whether anybody still waited."""
        if self._writer is None:
            return False
        os.write(self._writer, json.dumps({"code": int(code), "error": error}).encode())
        os.close(self._writer)
        self._writer = None
        return True


def _detach(early: IO[bytes]) -> None:
    """No terminal: nothing to read, nowhere to print, errors where the parent finds them."""
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    os.dup2(early.fileno(), 2)
    os.close(nothing)


def _relay(early: IO[bytes]) -> None:
    early.seek(0)
    sys.stderr.write(early.read().decode("utf-8", "backslashreplace"))
    sys.stderr.flush()


def _ending(how: int) -> str:
    code = os.waitstatus_to_exitcode(how)
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
