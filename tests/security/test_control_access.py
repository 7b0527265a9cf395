"""Control files are the owner's of the mount, and root's; nobody else reads or triggers them."""

import contextlib
import ctypes
import errno
import importlib
import multiprocessing
import os
import pkgutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import stowkenfs
from stowkenfs.cli.main import run as run_command
from tests.calls import fails_with
from tests.mount.mounted import Mount, detach, is_fuse_mount, listed, skip_without_fuse
from tests.posix.users import ALICE, BOB, acting

pytestmark = pytest.mark.mount

OPTIONS = "seal_after=0.2,workers=0"
NEW_MOUNT_NAMESPACE = 0x00020000  # sched.h, CLONE_NEWNS
REFUSED = (errno.EACCES, errno.EPERM)


@pytest.fixture(scope="module")
def public(reachable: Path) -> Iterator[Mount]:
    """Root's mount, which others may enter, and write in."""
    skip_without_fuse()
    mount = Mount(reachable / "public", f"{OPTIONS},allow_other")
    try:
        mount.start()
        mount.path.chmod(0o777)
        (mount.path / "a.json").write_text('{"id": "c", "messages": []}')
        yield mount
    finally:
        mount.close()
    mount.check_log()


def opened(path: Path, flags: int = os.O_RDONLY) -> bytes:
    """What can be read there."""
    fd = os.open(path, flags)
    try:
        return os.read(fd, 1 << 16)
    finally:
        os.close(fd)


def written(path: Path) -> None:
    path.write_bytes(b"1\n")


def entered(path: Path) -> None:
    """Only in a process of its own."""
    os.chdir(path)


def through_a_path_only(control: Path) -> bytes:
    """By a descriptor that stands for a place and was opened without looking into it."""
    fd = os.open(control, os.O_PATH)
    return opened(Path(f"/proc/self/fd/{fd}/stats"))


ATTEMPTS: dict[str, Callable[[Path], object]] = {
    "list": os.listdir,
    "enter": entered,
    "stat": lambda control: (control / "stats").stat(),
    "read": lambda control: opened(control / "stats"),
    "read-tokens": lambda control: opened(control / "tokens" / "a.json"),
    "read-link": lambda control: (control / "conversations" / "c.json").readlink(),
    "read-up": lambda control: opened(control / ".." / ".stowken" / "stats"),
    "list-up": lambda control: listed(control / "train" / ".."),
    "path-only": through_a_path_only,
    "trigger": lambda control: written(control / "verify"),
    "trigger-list": lambda control: written(control / "dictionaries"),
    "truncate": lambda control: os.truncate(control / "verify", 0),
    "link": lambda control: os.link(control / "stats", control.parent / "mine"),
    "rename": lambda control: (control / "stats").rename(control.parent / "mine"),
    "rename-all": lambda control: control.rename(control.parent / "mine"),
    "replace": lambda control: (control.parent / "a.json").rename(control / "stats"),
    "replace-all": lambda control: (control.parent / "a.json").rename(control),
    "remove": lambda control: (control / "stats").unlink(),
    "remove-all": os.rmdir,
    "make": lambda control: (control / "mine").mkdir(),
    "chmod": lambda control: control.chmod(0o777),
    "chown": lambda control: os.chown(control, os.getuid(), -1),
    "chmod-file": lambda control: (control / "stats").chmod(0o666),
    "setxattr": lambda control: os.setxattr(control, "user.mine", b"1"),
    "symlink-over": lambda control: control.symlink_to("a.json"),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_others_get_nowhere(public: Mount, attempt: str) -> None:
    jobs = (public.control / "jobs").read_text()
    with pytest.raises(OSError) as failure:
        acting(BOB, ATTEMPTS[attempt], public.control)
    others = {"symlink-over": errno.EEXIST, "replace-all": errno.EISDIR}
    assert failure.value.errno in (*REFUSED, others.get(attempt))
    assert (public.control / "jobs").read_text() == jobs
    assert not (public.path / "mine").exists()


def test_others_learn_no_more_than_that_it_is_there(public: Mount) -> None:
    status = acting(BOB, os.stat, public.control)
    assert stat.S_IMODE(status.st_mode) == 0o700
    assert status.st_uid == os.getuid()
    assert acting(BOB, os.listxattr, public.control) == []
    assert ".stowken" not in acting(BOB, os.listdir, public.path)


def test_what_is_not_there_is_told_to_nobody(public: Mount) -> None:
    """Whether there is a conversation of this id is nobody else's business either."""
    for name in ("conversations/c.json", "conversations/no.json", "tokens/no"):
        with fails_with(errno.EACCES):
            acting(BOB, os.lstat, public.control / name)


def test_a_file_that_the_owner_opened_may_be_handed_on(public: Mount) -> None:
    """As any other; but it opens no further one."""
    fd = os.open(public.control / "stats", os.O_RDONLY)
    try:
        assert acting(BOB, os.pread, fd, 10, 0)
        assert acting(BOB, os.fstat, fd).st_uid == os.getuid()
        with fails_with(errno.EACCES):
            acting(BOB, os.open, f"/proc/self/fd/{fd}", os.O_RDONLY)
    finally:
        os.close(fd)
    folder = os.open(public.control, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with fails_with(errno.EACCES):
            acting(BOB, lambda: os.open("stats", os.O_RDONLY, dir_fd=folder))
        with fails_with(errno.EACCES):
            acting(BOB, lambda: os.open("verify", os.O_WRONLY, dir_fd=folder))
    finally:
        os.close(folder)


class Unchecked(Mount):
    """A mount of which the kernel does not check who may do what."""

    def command(self) -> list[str]:
        script = (
            "import pyfuse3, stowkenfs.fs.service as service;"
            "service.ALWAYS = ('subtype=stowkenfs',); pyfuse3.default_options = frozenset();"
            "from stowkenfs.cli.main import main; main()"
        )
        words = ["mount", self.vault, self.path, "-f", "-o", self.options]
        return [sys.executable, "-c", script, *map(str, words)]


def test_the_daemon_looks_itself(reachable: Path) -> None:
    """Never only by mode bits: here nobody but the daemon looks at all."""
    skip_without_fuse()
    mount = Unchecked(reachable / "unchecked", f"{OPTIONS},allow_other")
    try:
        mount.start()
        assert "default_permissions" not in _options_of(mount.path)
        (mount.path / "a.json").write_text('{"id": "c", "messages": []}')
        for attempt in (
            "list", "stat", "read", "read-tokens", "read-link", "trigger", "truncate", "path-only",
            "chmod", "chown", "link", "rename", "remove", "setxattr",
        ):  # fmt: skip
            with pytest.raises(OSError) as failure:
                acting(BOB, ATTEMPTS[attempt], mount.control)
            assert failure.value.errno in REFUSED, attempt
        assert b"files" in opened(mount.control / "stats")
    finally:
        mount.close()


def _options_of(path: Path) -> str:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1] == str(path):
            return line.split()[3]
    raise AssertionError(f"nothing is mounted at {path}")


def test_the_kernel_always_checks_permissions(public: Mount) -> None:
    assert {"default_permissions", "allow_other"} <= set(_options_of(public.path).split(","))


# The mount of an ordinary user


def _load_everything() -> None:
    """All modules, since a user that is not the tests' may not get to them."""
    for module in pkgutil.walk_packages(stowkenfs.__path__, "stowkenfs."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    from stowkenfs.frames.spelling import spelling_table
    from stowkenfs.ids import Vocabulary

    spelling_table(Vocabulary.O200K_BASE)


def _serve(place: Path, options: str) -> None:
    """The daemon, as ALICE. In a process of its own; with its end."""
    os.setgroups([])
    os.setresgid(ALICE, ALICE, ALICE)
    os.setresuid(ALICE, ALICE, ALICE)
    os.environ["HOME"] = str(place)
    log = os.open(place / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir("/")
    words = ["mount", "-f", "-o", options, str(place / "vault"), str(place / "mnt")]
    os._exit(run_command(words))


@contextlib.contextmanager
def mount_of_alice(reachable: Path, options: str) -> Iterator[tuple[Path, Path]]:
    """Where it is, and its log; mounted when it answers, or not at all."""
    skip_without_fuse()
    _load_everything()
    place = reachable / options.replace(",", "_")
    (place / "mnt").mkdir(parents=True)
    for path in (place, place / "mnt"):
        os.chown(path, ALICE, ALICE)
    daemon = multiprocessing.get_context("fork").Process(target=_serve, args=(place, options))
    daemon.start()
    try:
        deadline = time.monotonic() + 30
        while daemon.is_alive() and not is_fuse_mount(place / "mnt"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield place / "mnt", place / "log"
    finally:
        subprocess.run(["fusermount3", "-u", place / "mnt"], capture_output=True, check=False)
        daemon.join(20)
        if daemon.is_alive() and daemon.pid:
            os.kill(daemon.pid, signal.SIGKILL)
        detach(place / "mnt")


class _NoView(Exception):
    """This machine gives no view of the files of its own."""


def _in_own_view(folder: Path, configuration: str, act: Callable[[], None]) -> None:
    """``act()`` where /dev/fuse is for all, and /etc/fuse.conf says ``configuration``.

    In a process with mounts of its own; skips where there can be none.
    """
    skip_without_fuse()
    _load_everything()

    passwd = Path("/etc/passwd").read_text() + f"alice:x:{ALICE}:{ALICE}::/:/bin/sh\n"
    texts = {"/etc/fuse.conf": configuration, "/etc/passwd": passwd}

    def bound() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNT_NAMESPACE) != 0:
            raise _NoView
        _mount("--make-rprivate", "/")
        for number, there in enumerate(("/dev/fuse", *texts)):
            ours = folder / str(number)
            if there in texts:
                ours.write_text(texts[there])
            else:
                os.mknod(ours, stat.S_IFCHR, Path(there).stat().st_rdev)
            ours.chmod(0o666 if there == "/dev/fuse" else 0o644)
            _mount("--bind", str(ours), there)
        act()

    try:
        acting(0, bound)
    except _NoView:
        pytest.skip("no view of the files of its own")
    finally:
        for number in range(1 + len(texts)):
            (folder / str(number)).unlink(missing_ok=True)


def _mount(*words: str) -> None:
    if subprocess.run(["mount", *words], capture_output=True, check=False).returncode:
        raise _NoView


def test_of_an_ordinary_user_not_even_root_gets_in_uninvited(reachable: Path) -> None:
    def act() -> None:
        with mount_of_alice(reachable, OPTIONS) as (path, log):
            assert acting(ALICE, lambda: opened(path / ".stowken" / "stats")), log.read_text()
            acting(ALICE, lambda: written(path / ".stowken" / "verify"))
            for user in (0, BOB):
                with fails_with(errno.EACCES):
                    acting(user, os.listdir, path)

    _in_own_view(reachable, "", act)


def test_an_ordinary_user_must_be_allowed_to_let_others_in(reachable: Path) -> None:
    def act() -> None:
        with mount_of_alice(reachable, f"allow_other,{OPTIONS}") as (path, log):
            assert not is_fuse_mount(path)
            assert "'user_allow_other' is set in /etc/fuse.conf" in log.read_text()
            assert "Traceback" not in log.read_text()

    _in_own_view(reachable, "", act)


@pytest.mark.parametrize("who", ["allow_other", "allow_root"])
def test_of_an_ordinary_user_others_see_files_and_no_control_files(
    reachable: Path, who: str
) -> None:
    def act() -> None:
        with mount_of_alice(reachable, f"{who},seal_after=0,{OPTIONS}") as (path, log):
            assert is_fuse_mount(path), log.read_text()
            assert "default_permissions" in _options_of(path)
            acting(ALICE, (path / "hers").write_bytes, b"a file")  # the root is hers
            if who == "allow_other":
                assert acting(BOB, os.listdir, path) == ["hers"]
            else:
                with fails_with(errno.EACCES):
                    acting(BOB, os.listdir, path)
            for attempt in ("list", "stat", "read", "trigger", "path-only", "rename-all"):
                with pytest.raises(OSError) as failure:
                    acting(BOB, ATTEMPTS[attempt], path / ".stowken")
                assert failure.value.errno in REFUSED, attempt
            assert opened(path / ".stowken" / "stats")  # root, who is not the owner
            assert acting(ALICE, lambda: opened(path / ".stowken" / "stats"))

    _in_own_view(reachable, "user_allow_other\n", act)
