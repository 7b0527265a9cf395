"""A FUSE filesystem over a vault of deduplicated LLM conversations.

async with Vault.open("vault") as vault:
    await vault.store(Conversation(id="app/chat-7", messages=[Message("user", "Hello")]))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stowkenfs.context.pressure import ContextConfig, PressureLevels
    from stowkenfs.context.report import PlanReport
    from stowkenfs.errors import StowkenError
    from stowkenfs.ids import SegmentType
    from stowkenfs.vault.collection.report import GcReport, KindCount
    from stowkenfs.vault.compaction.batch import CompactOptions
    from stowkenfs.vault.compaction.compactor import CompactReport
    from stowkenfs.vault.config import VaultConfig
    from stowkenfs.vault.contexts import FittedDocument
    from stowkenfs.vault.conversation import Conversation, Message
    from stowkenfs.vault.near_clusters import NearCluster, NearMember
    from stowkenfs.vault.registry import DictionaryInfo, SubstringInfo
    from stowkenfs.vault.reindex.report import ReindexReport
    from stowkenfs.vault.stats_report import VaultStats
    from stowkenfs.vault.training.reports import (
        ActivationReport,
        DictionaryTrainingReport,
        SubstringCollection,
        SubstringCompaction,
        SubstringTraining,
    )
    from stowkenfs.vault.vault import StoreResult, Vault
    from stowkenfs.vault.verify_report import VerifyReport

__all__ = [
    "ActivationReport",
    "CompactOptions",
    "CompactReport",
    "ContextConfig",
    "Conversation",
    "DictionaryInfo",
    "DictionaryTrainingReport",
    "FittedDocument",
    "GcReport",
    "KindCount",
    "Message",
    "NearCluster",
    "NearMember",
    "PlanReport",
    "PressureLevels",
    "ReindexReport",
    "SegmentType",
    "StoreResult",
    "StowkenError",
    "SubstringCollection",
    "SubstringCompaction",
    "SubstringInfo",
    "SubstringTraining",
    "Vault",
    "VaultConfig",
    "VaultStats",
    "VerifyReport",
]

_MODULES = {
    "stowkenfs.context.pressure": ("ContextConfig", "PressureLevels"),
    "stowkenfs.context.report": ("PlanReport",),
    "stowkenfs.errors": ("StowkenError",),
    "stowkenfs.ids": ("SegmentType",),
    "stowkenfs.vault.collection.report": ("GcReport", "KindCount"),
    "stowkenfs.vault.compaction.batch": ("CompactOptions",),
    "stowkenfs.vault.compaction.compactor": ("CompactReport",),
    "stowkenfs.vault.config": ("VaultConfig",),
    "stowkenfs.vault.contexts": ("FittedDocument",),
    "stowkenfs.vault.conversation": ("Conversation", "Message"),
    "stowkenfs.vault.near_clusters": ("NearCluster", "NearMember"),
    "stowkenfs.vault.registry": ("DictionaryInfo", "SubstringInfo"),
    "stowkenfs.vault.reindex.report": ("ReindexReport",),
    "stowkenfs.vault.stats_report": ("VaultStats",),
    "stowkenfs.vault.training.reports": (
        "ActivationReport",
        "DictionaryTrainingReport",
        "SubstringCollection",
        "SubstringCompaction",
        "SubstringTraining",
    ),
    "stowkenfs.vault.vault": ("StoreResult", "Vault"),
    "stowkenfs.vault.verify_report": ("VerifyReport",),
}

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that ``stowkenfs --help`` does not load numpy."""
    if name in _HOMES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stowkenfs' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
