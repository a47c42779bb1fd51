"""How a member's papers rest: sealed under its storage key, filed under keyed names.

`Sealing` is the one place where workflows turn meaning into what the vault may hold. `Drawer` wraps one drawer
of the cabinet in the type that lives there, so that no other module touches sealed bytes.
"""

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from commonward.ledger.encoding import Encodable, digest, encode
from commonward.records import envelope
from commonward.workflows.ports import Cabinet, Entropy, StorageKeys
from commonward.workflows.wire import Message

M = TypeVar("M", bound=Message)


class Altered(Exception):
    """Something at rest is not what was put there: its seal or its fingerprint does not fit."""


class Sealing:
    """Seals and names under a member's storage keys."""

    def __init__(self, keys: StorageKeys, entropy: Entropy) -> None:
        self._keys = keys
        self._entropy = entropy

    def name(self, kind: str, *parts: Encodable) -> bytes:
        """16 bytes that stand for these facts in this vault alone: without the index key they cannot be guessed."""
        return digest(f"commonward vault {kind} v1", self._keys.index, encode(parts))[:16]

    def secret(self, kind: str, *parts: Encodable) -> bytes:
        """32 bytes that follow from these facts: a salt that must come out the same when a step is walked again."""
        return digest(f"commonward vault secret {kind} v1", self._keys.index, encode(parts))

    def seal(self, place: str, key: bytes, plaintext: bytes) -> bytes:
        """`place` and `key` are bound: a paper moved to another place does not open there."""
        return envelope.seal_bytes(self._keys.wrap, self._entropy.bytes(12), plaintext, place.encode() + b"\0" + key)

    def open(self, place: str, key: bytes, sealed: bytes) -> bytes:
        """Raises Altered."""
        try:
            return envelope.open_bytes(self._keys.wrap, sealed, place.encode() + b"\0" + key)
        except envelope.EnvelopeError as cause:
            raise Altered(f"a paper in {place!r} under {key.hex()} does not open: altered, or moved") from cause


class Drawer(Generic[M]):
    """The papers of one kind. Every call is the cabinet's, so a caller's transaction covers it."""

    def __init__(self, cabinet: Cabinet, sealing: Sealing, name: str, kind: type[M]) -> None:
        self._cabinet = cabinet
        self._sealing = sealing
        self._name = name
        self._kind = kind

    def put(self, key: bytes, paper: M, under: bytes = b"") -> None:
        self._cabinet.put(self._name, key, self._sealing.seal(self._name, key, paper.to_bytes()), under)

    def get(self, key: bytes) -> M | None:
        """Raises Altered."""
        sealed = self._cabinet.get(self._name, key)
        return None if sealed is None else self._opened(key, sealed)

    def remove(self, key: bytes) -> None:
        self._cabinet.remove(self._name, key)

    def under(self, group: bytes) -> list[tuple[bytes, M]]:
        """All of one group, by key. For groups that stay small."""
        found: list[tuple[bytes, M]] = []
        after = b""
        while page := self._cabinet.under(self._name, group, after):
            found += [(key, self._opened(key, sealed)) for key, sealed in page]
            after = page[-1][0]
        return found

    def page(self, group: bytes, after: bytes = b"", limit: int = 1000) -> list[tuple[bytes, M]]:
        page: Sequence[tuple[bytes, bytes]] = self._cabinet.under(self._name, group, after, limit)
        return [(key, self._opened(key, sealed)) for key, sealed in page]

    def every(self) -> Iterator[tuple[bytes, M]]:
        """All papers, by key, a page at a time."""
        after = b""
        while page := self._cabinet.every(self._name, after):
            for key, sealed in page:
                yield key, self._opened(key, sealed)
            after = page[-1][0]

    def places(self, group: bytes | None = None) -> list[bytes]:
        """The keys of all papers, or of one group's, none opened: for who must go on where one was altered."""
        found: list[bytes] = []
        after = b""
        while page := (
            self._cabinet.every(self._name, after) if group is None else self._cabinet.under(self._name, group, after)
        ):
            found += [key for key, _ in page]
            after = page[-1][0]
        return found

    def count(self) -> int:
        return self._cabinet.count(self._name)

    def _opened(self, key: bytes, sealed: bytes) -> M:
        return self._kind.parse(self._sealing.open(self._name, key, sealed))
