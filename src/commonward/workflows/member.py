"""One member: the ports it stands on and what its workflows share. Everything else is given this."""

from dataclasses import dataclass, field
from typing import Final, Protocol

from commonward.ledger.ids import MemberId
from commonward.records.jurisdiction import JurisdictionTable, default_jurisdiction
from commonward.records.sensitivity import SensitivityTable, default_sensitivity
from commonward.workflows.anchoring import Anchoring
from commonward.workflows.identity import Identity
from commonward.workflows.member_log import MemberLog
from commonward.workflows.ports import Clock, Entropy, Keys, Ledger, Peers, Steps, StorageKeys, Trees, Vault
from commonward.workflows.reading import Reading
from commonward.workflows.sealing import Sealing
from commonward.workflows.submitting import Submitter

HOUR: Final = 3_600_000


class Pace(Protocol):
    """Makes answers leave on a grid, so that their time tells no more than a coarse class."""

    def start(self) -> float: ...

    async def settle(self, started: float, grid_ms: int) -> None:
        """Returns at the next multiple of `grid_ms` after `started`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Practice:
    """How this member practises; nothing here can change an outcome on the ledger."""

    fresh_ms: int = 60_000  # cosigned by a quorum within this proves liveness
    grace_ms: int = 4 * HOUR
    answer_grid_ms: int = 5
    refusal_grid_ms: int = 500  # coarse beside the work on a long history, all of it withheld
    request_lasts_ms: int = 5 * 60_000
    copy_lasts_ms: int = 30 * 24 * HOUR
    cosign_wait_ms: int = 10_000
    review_within_ms: int = 24 * HOUR
    clock_skew_ms: int = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What `apps/wiring` joins for one member."""

    ledger: Ledger
    vault: Vault
    keys: Keys
    peers: Peers
    clock: Clock
    entropy: Entropy
    steps: Steps
    pace: Pace
    trees: Trees | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """Ports, tables and the shared tools made of them."""

    ports: Ports
    rp_id: str  # of the consortium's passkeys, as genesis has it
    practice: Practice = field(default_factory=Practice)
    jurisdiction: JurisdictionTable = field(default_factory=default_jurisdiction)
    sensitivity: SensitivityTable = field(default_factory=default_sensitivity)
    sealing: Sealing = field(init=False)
    log: MemberLog = field(init=False)
    identity: Identity = field(init=False)
    submitter: Submitter = field(init=False)
    anchoring: Anchoring = field(init=False)
    reading: Reading = field(init=False)

    def __post_init__(self) -> None:
        p = self.ports
        sealing = Sealing(p.keys.storage(), p.entropy)
        submitter = Submitter(p.ledger, p.keys, p.vault, sealing, p.clock, p.entropy, p.steps)
        made = {
            "sealing": sealing,
            "log": MemberLog(p.vault, sealing, p.clock),
            "identity": Identity(p.vault, sealing, p.clock, p.entropy),
            "submitter": submitter,
            "anchoring": Anchoring(p.vault, p.ledger, submitter, p.entropy, p.steps, p.trees),
            "reading": Reading(p.ledger),
        }
        for name, value in made.items():
            object.__setattr__(self, name, value)

    @property
    def id(self) -> MemberId:
        return self.ports.keys.member

    @property
    def storage(self) -> StorageKeys:
        return self.ports.keys.storage()

    def now(self) -> int:
        return self.ports.clock.now()

    def ledger_now(self) -> int:
        """By the clock, or the ledger's last block when that is ahead: what stands there has happened."""
        return max(self.now(), self.ports.ledger.tip_time())
