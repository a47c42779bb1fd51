"""Refusals: which rule was broken, with the facts, under a number that never changes its meaning.

A rule raises where it breaks; `transition` turns it into an outcome in one place. The number is agreed by consensus
and stands in the log for ever; the sentence is for people and may be bettered. 1xx are common to all transactions and
live here; each capability keeps its own: 2xx members, 3xx registry, 4xx consent, 5xx audit, 6xx rounds.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final

REFUSALS: Final[dict[int, type["Refusal"]]] = {}
"""Every refusal that has been defined, by number. Import `transition` to have them all."""


class Refusal(Exception):
    """A rule of the ledger says no. Subclasses are dataclasses of the facts, with a `code` of their own."""

    code: ClassVar[int]

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Two refusals with one number would be two meanings of it: an error when the class is written, not later."""
        super().__init_subclass__(**arguments)
        code = cls.__dict__.get("code")
        if code is None:
            return
        known = REFUSALS.get(code)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise TypeError(f"refusal {code} is {known.__qualname__}; give {cls.__qualname__} a number of its own")
        REFUSALS[code] = cls


@dataclass(eq=False)
class Malformed(Refusal):
    """Not the encoding, or not the fields that this kind has."""

    code: ClassVar[int] = 101
    what: str
    offset: int | None = None

    def __str__(self) -> str:
        return f"malformed: {self.what}" + ("" if self.offset is None else f" at byte {self.offset}")


@dataclass(eq=False)
class ForeignLedger(Refusal):
    code: ClassVar[int] = 102
    expected: bytes
    got: bytes

    def __str__(self) -> str:
        return f"this is ledger {self.expected.hex()[:16]}; the transaction is for ledger {self.got.hex()[:16]}"


@dataclass(eq=False)
class Expired(Refusal):
    code: ClassVar[int] = 103
    expiry: int
    now: int

    def __str__(self) -> str:
        return f"expired at {self.expiry} ms; this block is at {self.now} ms: sign it again"


@dataclass(eq=False)
class ExpiryTooFar(Refusal):
    code: ClassVar[int] = 104
    expiry: int
    latest: int

    def __str__(self) -> str:
        return f"expires at {self.expiry} ms; the latest this block allows is {self.latest} ms"


@dataclass(eq=False)
class Replayed(Refusal):
    code: ClassVar[int] = 105
    digest: bytes

    def __str__(self) -> str:
        return f"transaction {self.digest.hex()} is on the ledger already"


@dataclass(eq=False)
class StaleRoot(Refusal):
    """The recent checkpoint that the body names is unknown, wrong or too old."""

    code: ClassVar[int] = 106
    size: int
    why: str

    def __str__(self) -> str:
        return f"the recent root at size {self.size} does not count: {self.why}"


@dataclass(eq=False)
class UnknownKey(Refusal):
    code: ClassVar[int] = 107
    key: bytes

    def __str__(self) -> str:
        return f"key {self.key.hex()} is not registered"


@dataclass(eq=False)
class BadSignature(Refusal):
    code: ClassVar[int] = 108
    key: bytes

    def __str__(self) -> str:
        return f"the signature is not that of key {self.key.hex()} over this transaction"


@dataclass(eq=False)
class WrongPurpose(Refusal):
    code: ClassVar[int] = 109
    key: bytes
    purpose: int
    expected: int

    def __str__(self) -> str:
        return f"key {self.key.hex()} has purpose {self.purpose}; this needs a key of purpose {self.expected}"


@dataclass(eq=False)
class KeyNotValid(Refusal):
    code: ClassVar[int] = 110
    key: bytes
    now: int

    def __str__(self) -> str:
        return f"key {self.key.hex()} is not valid at {self.now} ms: not yet, no longer, or revoked"


@dataclass(eq=False)
class TooLarge(Refusal):
    code: ClassVar[int] = 111
    what: str
    size: int
    limit: int

    def __str__(self) -> str:
        return f"{self.what} has {self.size} bytes; at most {self.limit} are allowed"


@dataclass(eq=False)
class QuotaExceeded(Refusal):
    code: ClassVar[int] = 112
    member: str
    what: str
    limit: int

    def __str__(self) -> str:
        return f"{self.member} has used up its quota of {self.limit} {self.what}: wait for the next block"


@dataclass(eq=False)
class Suspended(Refusal):
    code: ClassVar[int] = 113
    member: str

    def __str__(self) -> str:
        return f"{self.member} is suspended"


@dataclass(eq=False)
class UnknownKind(Refusal):
    code: ClassVar[int] = 114
    kind: int

    def __str__(self) -> str:
        return f"no transaction has kind {self.kind}"


@dataclass(eq=False)
class WrongProof(Refusal):
    """Such as a passkey where a member's key is needed."""

    code: ClassVar[int] = 115
    expected: str
    got: str

    def __str__(self) -> str:
        return f"expected {self.expected} as proof, got {self.got}"


@dataclass(eq=False)
class BadPossession(Refusal):
    """A new key must sign for itself, over label, ledger, subject and purpose."""

    code: ClassVar[int] = 116
    what: str

    def __str__(self) -> str:
        return f"possession is not proven: {self.what}"


@dataclass(eq=False)
class TooManySignatures(Refusal):
    code: ClassVar[int] = 117
    count: int
    limit: int

    def __str__(self) -> str:
        return f"{self.count} signatures; a block may ask for at most {self.limit}"


@dataclass(eq=False)
class BadPasskeyAssertion(Refusal):
    """`check` names the one that failed: length, type, challenge, origin, cross-origin, client-data-end, rp-id, up,
    uv, at, ed, backup, signature."""

    code: ClassVar[int] = 118
    check: str
    what: str

    def __str__(self) -> str:
        return f"the passkey's assertion fails at {self.check}: {self.what}"
