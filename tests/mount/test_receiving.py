"""Requests received in either way are answered the same, and background work goes on."""

import os
import threading

import pytest

from tests.mount.conftest import MakeMount


@pytest.mark.parametrize("receive", ["direct", "pyfuse3"])
def test_a_mount_that_is_never_idle_seals(make_mount: MakeMount, receive: str) -> None:
    mount = make_mount(f"receive={receive},seal_after=0.2")
    stop = threading.Event()
    answered = []

    def ask() -> None:
        """Requests that no cache answers."""
        count = 0
        while not stop.is_set():
            os.statvfs(mount.path)
            count += 1
        answered.append(count)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        (mount.path / "a.json").write_bytes(b'{"a": 1}')
        mount.wait_sealed()
        assert (mount.path / "a.json").read_bytes() == b'{"a": 1}'
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert min(answered) > 10
    mount.unmount()
