"""The words after ``-o``."""

from dataclasses import dataclass, field

from stowkenfs.errors import BadRequest

_FUSE_WORDS = frozenset(("allow_other", "allow_root", "ro", "nodev", "nosuid", "noexec", "dev",
                         "suid", "exec", "noatime", "sync", "dirsync", "auto_unmount"))  # fmt: skip
_FSTAB_WORDS = frozenset(("rw", "defaults", "auto", "noauto", "user", "nouser", "users", "_netdev",
                          "nofail", "owner", "group", "relatime", "async"))  # fmt: skip

_OWN_WORDS = frozenset(("control", "writeback", "workers", "seal_after", "near_dedup", "receive",
                        "invalidate"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class MountOptions:
    """What a mount was asked for.

    ``fuse`` words go to the kernel: allow_other, allow_root, ro, nodev, nosuid, noexec,
    noatime, sync, dirsync. Our own are control=hidden|visible, writeback (faster writes,
    which the kernel loses if the daemon dies), workers=N (processes that encode; default
    one for each processor, at most 4), seal_after=SECONDS (default 1), near_dedup=SIMILARITY
    (store what is nearly the same as something stored as its difference; default off),
    receive=direct|pyfuse3 (how requests are received; the second is slower),
    invalidate=explicit|auto (auto: the kernel forgets what it has of a file that is written to).
    Words of fstab and systemd (_netdev, nofail, x-…) are accepted and mean nothing here.
    """

    fuse: frozenset[str] = frozenset()
    control_visible: bool = False
    writeback: bool = False
    workers: int | None = None
    seal_after_seconds: float = 1.0
    near_dedup_threshold: float | None = None
    receive_direct: bool = True
    keep_pages: bool = True
    words: tuple[str, ...] = field(default=())

    @classmethod
    def parse(cls, text: str) -> "MountOptions":
        """Options of a comma-separated list. Raises BadRequest, which names the bad word."""
        fuse: set[str] = set()
        own: dict[str, str] = {}
        words = tuple(word for word in (part.strip() for part in text.split(",")) if word)
        for word in words:
            name, _, value = word.partition("=")
            if word in _FUSE_WORDS:
                fuse.add(word)
            elif name in _OWN_WORDS:
                own[name] = value
            elif word not in _FSTAB_WORDS and not word.startswith(("x-", "comment=")):
                raise BadRequest(
                    f"unknown mount option {word!r}; known are {', '.join(sorted(_FUSE_WORDS))}, "
                    "control=hidden|visible, writeback, workers=N, seal_after=SECONDS, "
                    "near_dedup=SIMILARITY, receive=direct|pyfuse3, invalidate=explicit|auto"
                )
        return cls(
            fuse=frozenset(fuse),
            control_visible=_choice(own, "control", ("hidden", "visible")) == "visible",
            writeback="writeback" in own,
            workers=_whole_number(own, "workers"),
            seal_after_seconds=_seconds(own, "seal_after", 1.0),
            near_dedup_threshold=_similarity(own, "near_dedup"),
            receive_direct=_choice(own, "receive", ("direct", "pyfuse3")) == "direct",
            keep_pages=_choice(own, "invalidate", ("explicit", "auto")) == "explicit",
            words=words,
        )


def _choice(own: dict[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = own.get(name, choices[0])
    if value not in choices:
        raise BadRequest(f"mount option {name}={value}: say {' or '.join(choices)}")
    return value


def _whole_number(own: dict[str, str], name: str) -> int | None:
    value = own.get(name)
    if value is None:
        return None
    if not value.isdecimal():
        raise BadRequest(f"mount option {name}={value}: give a whole number, 0 or more")
    return int(value)


def _seconds(own: dict[str, str], name: str, default: float) -> float:
    value = own.get(name)
    try:
        seconds = default if value is None else float(value)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise BadRequest(f"mount option {name}={value}: give seconds from 0 to 86400")
    return seconds


def _similarity(own: dict[str, str], name: str) -> float | None:
    value = own.get(name)
    if value is None:
        return None
    try:
        similarity = float(value)
    except ValueError:
        similarity = 0.0
    if not 0 < similarity <= 1:
        raise BadRequest(
            f"mount option {name}={value}: give a similarity above 0 and up to 1, as 0.85"
        )
    return similarity
