"""What can go wrong, without errno: ``fs`` translates once, at its boundary.

StowkenError
├── VaultError            opening and locking
│   ├── NotAVault
│   ├── NotOwnFile
│   ├── UnknownFormat
│   ├── IndexDamaged
│   ├── VaultLocked
│   ├── VaultNotWritable
│   └── VaultClosed
├── Corrupt               bytes from disk that do not check out
│   ├── FrameCorrupt
│   ├── RecordCorrupt
│   ├── BlockCorrupt
│   ├── SnapshotCorrupt
│   └── SuperblockCorrupt
├── Unstorable            a value that no format here can hold
├── InvalidGrid           a grid without cells, with too many, or with NaN
├── GridFormatError       bytes that are no grid in the format they should have
├── StateError            saved state: stowkenfs.state
│   ├── InvalidStateKey
│   ├── StateNotFound
│   ├── UnknownSnapshotVersion
│   ├── StateStoreFailed
│   └── MissingExtra
├── InvalidId             a conversation id that could not be a path in the vault
├── ConversationNotFound
├── NotAConversation
├── BudgetTooSmall        what may not leave a conversation is more than it is to be fitted into
├── ActivationRefused     a dictionary that would make the vault larger
├── TreeError             the rules of files and directories
│   ├── NotFound
│   ├── AlreadyExists
│   ├── NotADirectory
│   ├── IsADirectory
│   ├── DirectoryNotEmpty
│   ├── NameTooLong
│   ├── InvalidName
│   ├── InvalidMove
│   ├── TooManyLinks
│   ├── NoSuchAttribute
│   ├── AttributeExists
│   ├── AttributesTooLarge
│   ├── FileTooLarge
│   └── NotPermitted
├── JobError              maintenance asked for through control files
│   ├── BadRequest
│   ├── JobRunning
│   ├── JobCancelled
│   └── DamageFound
├── WorkerDied
└── MountFailed
"""

import stat
from pathlib import Path


class StowkenError(Exception):
    """Base of all errors that this package raises on purpose."""


class VaultError(StowkenError):
    """The vault as a whole cannot be used as asked."""


class NotAVault(VaultError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path} is not a stowkenfs vault and is not empty; "
            "name an absent or empty directory to make a new vault there"
        )
        self.path = path


class NotOwnFile(VaultError):
    """Something else where a vault has a file or a directory of its own."""

    def __init__(self, path: Path, mode: int) -> None:
        what = "a symbolic link" if stat.S_ISLNK(mode) else "no file of a vault"
        super().__init__(
            f"{path} is {what}, and nothing outside of a vault is opened through it; "
            "put the file itself there (the vault's directory as a whole may be a link)"
        )
        self.path = path


class UnknownFormat(VaultError):
    def __init__(self, found: int, newest_known: int) -> None:
        super().__init__(
            f"the vault has format version {found}, and this release knows versions up to "
            f"{newest_known}; use a newer stowkenfs"
        )
        self.found = found


class IndexDamaged(VaultError):
    def __init__(self, path: Path | None, reason: str) -> None:
        super().__init__(
            f"the index {path or '(in memory)'} cannot be used: {reason}; what is stored in the "
            f"packs is untouched: 'stowkenfs reindex {path.parent if path else 'VAULT'}' makes a "
            "new index from it"
        )
        self.path = path
        self.reason = reason


class VaultLocked(VaultError):
    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(f"the vault {path} is in use by {holder}")
        self.path = path
        self.holder = holder


class VaultNotWritable(VaultError):
    def __init__(self, path: Path) -> None:
        super().__init__(
            f"the vault {path} cannot be written, and its index is not there to read it by; "
            "copy the vault to where it can be written: the copy's index is made when it is opened"
        )
        self.path = path


class VaultClosed(VaultError):
    def __init__(self) -> None:
        super().__init__("the vault is closed")


class Corrupt(StowkenError):
    """Bytes read from disk are not the bytes that were written."""


class FrameCorrupt(Corrupt):
    """A frame that does not decode; the message says where."""


class RecordCorrupt(Corrupt):
    """A record whose body does not decode, or whose content does not match its hash."""


class BlockCorrupt(Corrupt):
    def __init__(self, pack: int, offset_bytes: int, reason: str) -> None:
        super().__init__(f"block at byte {offset_bytes} of pack {pack}: {reason}")
        self.pack = pack
        self.offset_bytes = offset_bytes
        self.reason = reason


class SuperblockCorrupt(Corrupt):
    pass


class SnapshotCorrupt(Corrupt):
    """Saved state that does not check out: a snapshot, or a log of changes."""

    def __init__(self, what: str, offset_bytes: int, reason: str) -> None:
        super().__init__(f"{what} is damaged at byte {offset_bytes}: {reason}")
        self.offset_bytes = offset_bytes
        self.reason = reason


class Unstorable(StowkenError):
    """A value outside what the format can hold; the message gives the limit."""


class InvalidGrid(StowkenError, ValueError):
    """Something that no grid can be; the message says what grids are."""


class GridFormatError(StowkenError, ValueError):
    """Bytes that are no grid in a format. ``offset_bytes`` is where that shows.

    In the compressed format, of an error in what is compressed, it counts what comes out.
    """

    def __init__(self, format_name: str, offset_bytes: int, expected: str, found: str) -> None:
        super().__init__(
            f"no grid in {format_name}: expected {expected} at byte {offset_bytes}, found {found}"
        )
        self.format_name = format_name
        self.offset_bytes = offset_bytes
        self.expected = expected
        self.found = found


class StateError(StowkenError):
    """State cannot be saved or loaded as asked."""


class InvalidStateKey(StateError, ValueError):
    def __init__(self, key: object, reason: str) -> None:
        super().__init__(f"state key {str(key)[:80]!r} {reason}")
        self.key = key


class StateNotFound(StateError, KeyError):
    def __init__(self, what: str) -> None:
        super().__init__(f"there is no {what}")

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class UnknownSnapshotVersion(StateError):
    def __init__(self, what: str, found: int, newest_known: int) -> None:
        super().__init__(
            f"{what} has format version {found}, and this release knows versions up to"
            f" {newest_known}; use a newer stowkenfs"
        )
        self.found = found


class StateStoreFailed(StateError):
    """A server or a database did not do what it was asked; the message gives its words."""


class MissingExtra(StateError, ImportError):
    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs what 'pip install stowkenfs[{extra}]' installs")


class InvalidId(StowkenError, ValueError):
    def __init__(self, conversation_id: str, reason: str) -> None:
        super().__init__(f"conversation id {conversation_id[:80]!r} {reason}")
        self.conversation_id = conversation_id


class ConversationNotFound(StowkenError, KeyError):
    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"no conversation {conversation_id!r} in this vault")
        self.conversation_id = conversation_id

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would quote it


class NotAConversation(StowkenError):
    """The file exists and its bytes are safe, but they are no conversation."""


class BudgetTooSmall(StowkenError):
    """A conversation that cannot be made short enough. Figures in tokens."""

    def __init__(self, budget: int, needed: int, pinned: int) -> None:
        super().__init__(
            f"a budget of {budget} tokens is too small: {needed} are needed, {pinned} of them for "
            "what never leaves (the system prompt, definitions of tools, the last turns, what is "
            "marked)"
        )
        self.budget = budget
        self.needed = needed
        self.pinned = pinned

    def __reduce__(self) -> tuple[type["BudgetTooSmall"], tuple[int, int, int]]:
        return type(self), (self.budget, self.needed, self.pinned)


class ActivationRefused(StowkenError):
    """A dictionary costs more than it brings. Sizes in bytes."""

    def __init__(
        self, dictionary_id: str, dictionary_bytes: int, saving: int, frames: int, frames_bytes: int
    ) -> None:
        super().__init__(
            f"dictionary {dictionary_id[:16]} takes {dictionary_bytes} bytes and would make the"
            f" {frames} stored frames that could use it, {frames_bytes} bytes, about {saving} bytes"
            " smaller; it can be forced"
        )
        self.dictionary_id = dictionary_id
        self.dictionary_bytes = dictionary_bytes
        self.estimated_saving = saving
        self.frames = frames
        self.frames_bytes = frames_bytes


class TreeError(StowkenError):
    """A request that the rules of files and directories refuse."""


class NotFound(TreeError):
    pass


class AlreadyExists(TreeError):
    pass


class NotADirectory(TreeError):
    pass


class IsADirectory(TreeError):
    pass


class DirectoryNotEmpty(TreeError):
    pass


class NameTooLong(TreeError):
    pass


class InvalidName(TreeError):
    pass


class InvalidMove(TreeError):
    """A directory moved into itself."""


class TooManyLinks(TreeError):
    pass


class NoSuchAttribute(TreeError):
    pass


class AttributeExists(TreeError):
    pass


class AttributesTooLarge(TreeError):
    """All attributes of a file together; they are told again with each of its changes."""


class FileTooLarge(TreeError):
    pass


class NotPermitted(TreeError):
    pass


class JobError(StowkenError):
    """A control file refused; the file says why when read."""


class BadRequest(JobError):
    pass


class JobRunning(JobError):
    pass


class JobCancelled(JobError):
    """Somebody asked a running job to stop, and it did."""


class DamageFound(JobError):
    """A job ran and its report names damage."""


class WorkerDied(StowkenError):
    """A worker process ended at its work, and so did the one that took it on again."""

    def __init__(self) -> None:
        super().__init__(
            "two worker processes died at the same work, as they do when memory runs out; "
            "nothing is lost, and the next run goes on where this one stopped"
        )


class MountFailed(StowkenError):
    """The kernel or its helper refused the mount; the message says what to do."""
