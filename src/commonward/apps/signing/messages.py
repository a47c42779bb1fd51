"""What a patient's page and a member's signing API say to each other.

Bodies are `workflows.wire` maps, as between members. Handles and tags travel in bodies alone, never in a path, so that
no access log of ours or of a proxy holds them. Whatever a member says of the ledger comes with its proof; nothing here
is believed because of who sent it (`proven`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from commonward.ledger.encoding import digest, encode
from commonward.ledger.ids import ConsentId, Digest, Handle, LedgerId, MemberId, Tag
from commonward.workflows.messages import Relayed
from commonward.workflows.wire import Message

GENESIS: Final = "/signing/genesis"  # GET: the genesis file
TRUST: Final = "/signing/trust"  # GET: the trust file
CONTEXT: Final = "/signing/context"  # GET ?since=SIZE: StateShown of the members
TRANSACTIONS: Final = "/signing/transactions"  # a whole transaction -> Carried
ENTRIES: Final = "/signing/entries"  # EntryWanted -> EntryShown
MARKS: Final = "/signing/marks"  # TagsWanted -> MarksShown: the releases that bear these tags
GLASSES: Final = "/signing/glasses"  # TagWanted -> EntryShown: the broken glass that bears it
HANDLES: Final = "/signing/handles"  # HandleWanted -> StateShown of a handle and its passkeys
CONSENTS: Final = "/signing/consents"  # ConsentsWanted -> StateShown of consents
OPENINGS: Final = "/signing/openings"  # OpeningDeposit -> OpeningAck
PAPERS: Final = "/signing/papers"  # PapersWanted -> Papers: a member's mailbox
LINE: Final = "/signing/line"  # PapersWanted -> Papers: a custodian's marks
SEALING_KEY: Final = "/signing/sealing-key"  # KeyKept -> Noted
SEALING_KEY_FETCH: Final = "/signing/sealing-key/fetch"  # KeyWanted -> KeyFound

MAX_WRAPPED: Final = 256
MAX_CONSENTS: Final = 64
MAX_TAGS: Final = 64


# --- the ledger, with proofs -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fact(Message):
    """That the state held this value under a key, or nothing. `proof`: a map proof's wire bytes."""

    key: bytes
    proof: bytes
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class StateShown(Message):
    """Facts of the state after one block, and why to believe them.

    `leaf` at `index` of the log is that block's and holds the state root; `path` is its inclusion in the log of the
    checkpoint `note`; `consistency` shows that the asker's last checkpoint is a beginning of that log (RFC 9162).
    """

    note: bytes
    index: int
    leaf: bytes
    path: tuple[bytes, ...]
    facts: tuple[Fact, ...]
    consistency: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class EntryProof(Message):
    """A transaction, and that its outcome leaf [1, digest, height, time, code] stands in the log of `note`."""

    index: int
    raw: bytes
    height: int
    time: int
    code: int
    path: tuple[bytes, ...]
    note: bytes


@dataclass(frozen=True, slots=True)
class EntryShown(Message):
    """What was asked for; or nothing, as of the checkpoint `note` (a word, not a proof: ask others too)."""

    note: bytes
    entry: EntryProof | None = None


@dataclass(frozen=True, slots=True)
class Carried(Message):
    """What became of a patient's transaction, with the proof once a quorum has cosigned it."""

    relayed: Relayed
    entry: EntryProof | None = None


@dataclass(frozen=True, slots=True)
class EntryWanted(Message):
    index: int


@dataclass(frozen=True, slots=True)
class TagWanted(Message):
    """A tag counts together with the member that used it."""

    tag: Tag
    member: MemberId


@dataclass(frozen=True, slots=True)
class TagsWanted(Message):
    tags: tuple[TagWanted, ...]


@dataclass(frozen=True, slots=True)
class MarksShown(Message):
    """Of the tags asked for, the marks that stand; of the others none, as of the checkpoint `note` (a word: ask on)."""

    note: bytes
    entries: tuple[EntryProof, ...] = ()


@dataclass(frozen=True, slots=True)
class HandleWanted(Message):
    handle: Handle


@dataclass(frozen=True, slots=True)
class ConsentsWanted(Message):
    consents: tuple[ConsentId, ...]


# --- the wrapped half of the sealing key -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeyKept(Message):
    """Keep this for the passkey that signs: its handle's sealing key, wrapped so that only that passkey opens it.

    `proof` is a live passkey's of the handle over `digest`. A later `at` replaces what is kept.
    """

    ledger: LedgerId
    member: MemberId
    handle: Handle
    at: int
    wrapped: bytes
    proof: bytes = b""

    def digest(self) -> Digest:
        facts = replace(self, proof=b"").to_bytes()
        return digest("commonward sealing key kept v1", facts)


@dataclass(frozen=True, slots=True)
class KeyWanted(Message):
    """Give back what was kept for the passkey that signs this."""

    ledger: LedgerId
    member: MemberId
    handle: Handle
    at: int
    proof: bytes = b""

    def digest(self) -> Digest:
        return digest("commonward sealing key wanted v1", encode([self.ledger, self.member, self.handle, self.at]))


@dataclass(frozen=True, slots=True)
class KeyFound(Message):
    wrapped: bytes | None = None
