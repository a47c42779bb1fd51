"""The ledger's state as this member last kept it: who belongs, with which keys, by which rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from commonward.adapters.store.readonly import peeking
from commonward.apps.settings import Settings
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import KeyId, MemberId
from commonward.ledger.members import Key, Roll
from commonward.ledger.merkle.log import MemoryLogStore
from commonward.ledger.state import MemoryStore, State
from commonward.ledger.transition import Machine

_CELL = b"s"
"""Under which the store keeps a cell (`ledger.transition`)."""


@dataclass(frozen=True, slots=True)
class Known:
    """`kept` is False where no state was kept yet, and this is how it was at genesis."""

    state: State
    kept: bool

    @property
    def roll(self) -> Roll:
        return self.state.roll

    def key(self, key: KeyId) -> Key | None:
        return self.roll.key(key)

    def authorities(self) -> list[bytes]:
        """Every member's CA certificate, of suspended ones too."""
        found = (self.roll.certificate(member) for member in self.roll.ids())
        return [each for each in found if each is not None]

    def has(self, member: str) -> bool:
        return self.roll.get(MemberId(member)) is not None


@contextmanager
def known(settings: Settings, genesis: Genesis) -> Iterator[Known]:
    """Raises StoreError where the state is there and cannot be read."""
    with peeking(settings.ledger_directory / "state") as read:
        if read is not None:
            found = State(lambda key: read(_CELL + key))
            if found.roll.ids():
                yield Known(found, kept=True)
                return
    yield Known(Machine(genesis, MemoryStore(), MemoryLogStore(), map_bits=8).view(), kept=False)
