"""The index made anew from packs (docs/DESIGN.md, "Rebuilding the index")."""

from stowkenfs.vault.reindex.background import rebuild_index
from stowkenfs.vault.reindex.report import ReindexReport

__all__ = ["ReindexReport", "rebuild_index"]
