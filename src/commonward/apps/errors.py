"""Errors of ours that end a command with their own sentence: each says what was found, where, and what to do."""

from __future__ import annotations

from commonward.adapters.keys import KeyFileExposed, KeyFileMissing, KeyFileUnreadable, KeyUnusable
from commonward.adapters.store.errors import StoreError
from commonward.apps.settings import BadSettings
from commonward.workflows.ports import VaultFull
from commonward.workflows.sealing import Altered

FORESEEN = (
    Altered,
    BadSettings,
    KeyFileExposed,
    KeyFileMissing,
    KeyFileUnreadable,
    KeyUnusable,
    StoreError,
    VaultFull,
)
"""What an operator can mend. Anything else is a fault of this program, and shows as one."""
