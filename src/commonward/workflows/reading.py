"""Reading the ledger's live state through its own slices: what members, handles and consents are right now."""

from commonward.workflows.ports import Ledger


class LedgerCells:
    """The state as slices see it, read only."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def get(self, key: bytes) -> bytes | None:
        return self._ledger.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        raise TypeError("a workflow reads the state; only transactions change it")

    def delete(self, key: bytes) -> None:
        raise TypeError("a workflow reads the state; only transactions change it")
