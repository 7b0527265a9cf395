"""A FUSE filesystem over a vault of deduplicated LLM conversations.

async with Vault.open("vault") as vault:
    await vault.store(Conversation(id="app/chat-7", messages=[Message("user", "Hello")]))
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stowkenfs.ids import SegmentType
    from stowkenfs.vault.config import VaultConfig
    from stowkenfs.vault.conversation import Conversation, Message
    from stowkenfs.vault.vault import StoreResult, Vault

__all__ = ["Conversation", "Message", "SegmentType", "StoreResult", "Vault", "VaultConfig"]

_HOMES = {
    "Conversation": "stowkenfs.vault.conversation",
    "Message": "stowkenfs.vault.conversation",
    "SegmentType": "stowkenfs.ids",
    "StoreResult": "stowkenfs.vault.vault",
    "Vault": "stowkenfs.vault.vault",
    "VaultConfig": "stowkenfs.vault.config",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that ``stowkenfs --help`` does not load numpy."""
    if name in _HOMES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stowkenfs' has no attribute {name!r}")
