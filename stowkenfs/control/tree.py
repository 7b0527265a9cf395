"""The tree under ``.stowken/``."""

from stowkenfs.control.alike import NEAR_DUPLICATES
from stowkenfs.control.collection import GC
from stowkenfs.control.compaction import COMPACT
from stowkenfs.control.contexts import BudgetsDirectory, FittedViews, SpoolDirectory
from stowkenfs.control.grid_views import GridViews
from stowkenfs.control.job_files import job_files
from stowkenfs.control.jobs import Jobs, JobsFile
from stowkenfs.control.kept_log import KeptLog
from stowkenfs.control.lists import list_files
from stowkenfs.control.nodes import GrowingFile, StaticDirectory, TextFile
from stowkenfs.control.rebuilding import REINDEX
from stowkenfs.control.reports import (
    StatsFile,
    Status,
    WhereFile,
    WhereView,
)
from stowkenfs.control.retention import retention_files
from stowkenfs.control.state import StateDirectory
from stowkenfs.control.training import (
    COMPACT_SUBSTRINGS,
    GC_SUBSTRINGS,
    TRAIN_DICTIONARY,
    TRAIN_SUBSTRINGS,
)
from stowkenfs.control.verification import VERIFY
from stowkenfs.control.views import ConversationsDirectory, TokensDirectory
from stowkenfs.vault.vault import Vault

CONTROL_NAME = b".stowken"

README = """\
Control files of this mount. They are hidden from listings, and there when named.

  cat status                 the mount, live
  cat stats                  what the vault holds and takes up (stats.json for programs)
  cat where                  where the bytes are, by kind and by folder (where.json)

Jobs. Writing to their files begins them and returns when they are done; 1 means the
defaults. While one runs, another is refused. cat of the file shows the last report, and
before the first one what can be written; with .json behind its name it is for programs.

  echo 1 > compact           rewrite what is stored so that it takes less room
                             (level=1 to level=22: less or more effort)
  echo 1 > train/substrings  find runs of tokens that come again and again, so that what is
                             stored from now on refers to them
                             (samples=500 min_occurrences=5 are the defaults)
  echo what=substrings > compact
                             let what is stored already refer to them, too
  cat substrings             those that there are
  echo 1 > train/dictionary  train a dictionary for the compressor
                             (samples=200 is the default; activate=yes uses it at once)
  cat dictionaries           those that there are, the one in use with a star
  echo ID > dictionaries     use that one (none: none; ID force=yes: even if it costs room)
  echo 1 > near-duplicates   find segments that are nearly the same
                             (threshold=0.85 min_refs=1 limit=100 are the defaults)
  echo 1 > gc                give back the room of what nothing refers to any more
                             (dry-run=yes: only say how much; what=substrings: only those)
  echo 1 > reindex           make an index from the packs and compare it with the one in use;
                             what they do not tell of it is written to them
  echo 1 > verify            read everything, check every checksum

Retention. Folders may say which of their files go by themselves, and when.

  cat retention              the policies, and what each would remove now (retention.json)
  echo 'sessions/ max-age=30d' > retention
                             files last modified longer ago go, also in folders below
  echo 'checkpoints/ keep=5' > retention
                             of the files directly in the folder the 5 newest stay
  echo 'experiments/ versions=3' > retention
                             of each file, also in folders below, 3 earlier contents are kept
  echo 'sessions/ none' > retention
                             the folder has no policy any more
  echo apply > retention     remove now what would go with the next look, once a minute

While something runs.

  tail -f progress           what the running job does
  cat log                    the last of what the mount said; why it refused something
  cat jobs                   which job runs, and which ones did
  echo cancel > jobs         stop the running job; what it did until then is kept

Other views of the same files.

  cat tokens/PATH            a file as its stored segments: type, tokenizer, ids, hash
  cat state/PATH.json        a grid of numbers in another format than it was saved in: .bin,
                             .json, .bin.gz, .npy, or as a picture: .png
  cat state/PATH@1           what a file held before, as its folder keeps versions; PATH@2 what
                             before that; ls state/PATH@ lists them; PATH@1.json if it is a grid
  cat conversations/ID.json  a conversation by the id that its file gives itself
  cat context/8000/PATH      a conversation fitted into 8,000 tokens (any budget is there),
                             in the format of the file, ready to be sent
  cat context/8000/PATH.plan what was done for it (.plan.json for programs)
  cat spool/NAME             what left it for that, whole; names stand in its place

Every file also has attributes:

  getfattr -d FILE           user.stowken.tokens, .segments, .stored_bytes, .ratio, …
"""


def control_tree(
    vault: Vault, jobs: Jobs, kept_log: KeptLog, mountpoint: str, options: str
) -> StaticDirectory:
    """Everything under ``.stowken/``; ``jobs`` are those that are asked for there."""
    where = WhereView(vault)
    views = GridViews(vault)
    status = Status(vault, jobs, views, mountpoint, options)
    return StaticDirectory(
        {
            b"README": TextFile(lambda: README),
            b"status": TextFile(status.text),
            b"stats": StatsFile(vault, as_json=False),
            b"stats.json": StatsFile(vault, as_json=True),
            b"where": WhereFile(where, as_json=False),
            b"where.json": WhereFile(where, as_json=True),
            b"progress": GrowingFile(jobs.text),
            b"log": GrowingFile(kept_log.text),
            b"jobs": JobsFile(jobs),
            b"train": StaticDirectory(
                {
                    **job_files(vault, jobs, TRAIN_SUBSTRINGS),
                    **job_files(vault, jobs, TRAIN_DICTIONARY),
                }
            ),
            **list_files(vault, jobs),
            **job_files(vault, jobs, COMPACT, COMPACT_SUBSTRINGS),
            **job_files(vault, jobs, NEAR_DUPLICATES),
            **job_files(vault, jobs, GC, GC_SUBSTRINGS),
            **retention_files(vault, jobs),
            **job_files(vault, jobs, REINDEX),
            **job_files(vault, jobs, VERIFY),
            b"tokens": TokensDirectory(vault),
            b"state": StateDirectory(vault, views),
            b"conversations": ConversationsDirectory(vault),
            b"context": BudgetsDirectory(FittedViews(vault)),
            b"spool": SpoolDirectory(vault),
        }
    )
