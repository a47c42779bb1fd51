"""Errors of ours that end a command with their own sentence: each says what was found, where, and what to do."""

from __future__ import annotations

from commonward.adapters.cometbft.engine import EngineFailed
from commonward.adapters.cometbft.home import HomeDamaged
from commonward.adapters.cometbft.process import BinaryMissing
from commonward.adapters.keys import KeyFileExposed, KeyFileMissing, KeyFileUnreadable, KeyUnusable
from commonward.adapters.solo.sequencer import SequencerError
from commonward.adapters.store.errors import StoreError
from commonward.apps.settings import BadSettings
from commonward.ledger.proofs import SelfTestFailed
from commonward.ledger.transition import StateDamaged, UnknownProtocol
from commonward.workflows.ports import VaultFull
from commonward.workflows.replica import CannotFollow
from commonward.workflows.sealing import Altered


class CannotListen(Exception):
    """A door could not be opened; `entry` is the settings' entry that names its address."""

    def __init__(self, entry: str, address: str, cause: OSError) -> None:
        super().__init__(
            f"cannot listen at {address}: {cause.strerror or cause}; stop the program that does, or change {entry!r} "
            "in node.toml"
        )


FORESEEN = (
    Altered,
    BadSettings,
    BinaryMissing,
    CannotFollow,
    CannotListen,
    EngineFailed,
    HomeDamaged,
    KeyFileExposed,
    KeyFileMissing,
    KeyFileUnreadable,
    KeyUnusable,
    SelfTestFailed,
    SequencerError,
    StateDamaged,
    StoreError,
    UnknownProtocol,
    VaultFull,
)
"""What an operator can mend. Anything else is a fault of this program, and shows as one."""
