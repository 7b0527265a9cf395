"""Names in directories: which there can be, and the one that is the vault's own."""

from stowkenfs.errors import InvalidName, NameTooLong

NAME_BYTES_MAX = 255

HIDDEN_NAME = b".stowken"
"""In the root: no listing has it. Mounts have their control files there instead."""


def check_name(name: bytes) -> bytes:
    """``name`` if a directory entry can have it. Raises NameTooLong or InvalidName."""
    if len(name) > NAME_BYTES_MAX:
        raise NameTooLong(f"a name has at most {NAME_BYTES_MAX} bytes, this one {len(name)}")
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise InvalidName(f"{name!r} cannot be the name of a file")
    return name
