"""The tree under ``.stowken/``."""

from stowkenfs.control.compaction import CompactFile, Compacting
from stowkenfs.control.jobs import Jobs, JobsFile
from stowkenfs.control.nodes import GrowingFile, StaticDirectory, TextFile
from stowkenfs.control.reports import (
    StatsFile,
    Status,
    Verification,
    VerifyFile,
    WhereFile,
    WhereView,
)
from stowkenfs.control.views import ConversationsDirectory, TokensDirectory
from stowkenfs.vault.vault import Vault

CONTROL_NAME = b".stowken"

README = """\
Control files of this mount. They are hidden from listings, and there when named.

  cat status                 the mount, live
  cat stats                  what the vault holds and takes up (stats.json for programs)
  cat where                  where the bytes are, by kind and by folder (where.json)
  echo 1 > compact           rewrite what is stored so that it takes less room; returns when
                             done (level=1 to level=22 instead of 1: less or more effort)
  cat compact                the last report (compact.json for programs)
  echo 1 > verify            read everything, check every checksum; returns when done
  cat verify                 the last report (verify.json for programs)
  tail -f progress           what the running job does
  cat jobs                   which job runs, and which ones did
  echo cancel > jobs         stop the running job; what it did until then is kept
  cat tokens/PATH            a file as its stored segments: type, tokenizer, ids, hash
  cat conversations/ID.json  a conversation by the id that its file gives itself

Every file also has attributes:

  getfattr -d FILE           user.stowken.tokens, .segments, .stored_bytes, .ratio, …
"""


def control_tree(vault: Vault, jobs: Jobs, mountpoint: str, options: str) -> StaticDirectory:
    """Everything under ``.stowken/``; ``jobs`` are those that are asked for there."""
    compacting = Compacting(vault, jobs)
    verification = Verification(vault, jobs)
    where = WhereView(vault)
    status = Status(vault, jobs, mountpoint, options)
    return StaticDirectory(
        {
            b"README": TextFile(lambda: README),
            b"status": TextFile(status.text),
            b"stats": StatsFile(vault, as_json=False),
            b"stats.json": StatsFile(vault, as_json=True),
            b"where": WhereFile(where, as_json=False),
            b"where.json": WhereFile(where, as_json=True),
            b"progress": GrowingFile(jobs.text),
            b"jobs": JobsFile(jobs),
            b"compact": CompactFile(compacting, as_json=False),
            b"compact.json": CompactFile(compacting, as_json=True),
            b"verify": VerifyFile(verification, as_json=False),
            b"verify.json": VerifyFile(verification, as_json=True),
            b"tokens": TokensDirectory(vault),
            b"conversations": ConversationsDirectory(vault),
        }
    )
