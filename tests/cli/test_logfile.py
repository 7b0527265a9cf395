"""The daemon's log is bounded."""

import os

from stowkenfs.cli.logfile import LOG_BYTES_MAX, shorten


def test_a_long_log_keeps_its_newer_half_from_a_whole_line_on(tmp_path):
    path = tmp_path / "log"
    line = b"a message of some length\n"
    path.write_bytes(line * (LOG_BYTES_MAX // len(line) + 2))
    fd = os.open(path, os.O_RDWR | os.O_APPEND)
    shorten(fd)
    os.write(fd, b"the newest\n")
    os.close(fd)
    content = path.read_bytes()
    assert LOG_BYTES_MAX // 2 - len(line) < len(content) < LOG_BYTES_MAX // 2 + len(line)
    assert content.startswith(line)
    assert content.endswith(line + b"the newest\n")


def test_short_logs_and_pipes_are_left_alone(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b"short\n")
    with path.open("r+b") as file:
        shorten(file.fileno())
    assert path.read_bytes() == b"short\n"
    reader, writer = os.pipe()
    shorten(writer)
    os.close(reader)
    os.close(writer)
