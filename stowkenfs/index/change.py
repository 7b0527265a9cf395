"""A change of the tree: all or nothing."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stowkenfs.index.connection import Connection


class Change:
    """The context of ``Connection.change``; a class, because a generator takes twice the time."""

    __slots__ = ("_connection",)

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def __enter__(self) -> None:
        self._connection.begin_change()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._connection.fail_change()
            return
        try:
            self._connection.end_change()
        except BaseException:
            self._connection.fail_change()
            raise
