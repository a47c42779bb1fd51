"""The whole consortium in memory: five members at work over the embedded engine, and patients with passkeys.

    async with Consortium() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await ada.grants(permit("south"))
        copy = await c.south.fetches(ada, "north")

North is a tier-3 hospital, clinic tier-1, south a second hospital, shield an insurer, health the authority. Everything
fails on cue: vaults (`c.north.vault.cue`), peers (`c.peers.cue`, `c.peers.cut`), nodes (`c.north.node.cue`,
`c.engine.cut`), and any member dies at any named step (`c.north.dies_at`), to be woken again (`c.north.wakes`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID

from commonward.ledger.ids import Algorithm, CredentialId, Digest, Handle, MemberId, Purpose, Tag
from commonward.ledger.parameters import Parameter
from commonward.records.certificates import STAFF_PURPOSE
from commonward.records.envelope import open_from
from commonward.records.rules import Effect, Rule, Scope
from commonward.workflows.copies import Checked, Copy
from commonward.workflows.enrolment import new_passkey
from commonward.workflows.identity import Link
from commonward.workflows.ingest import FHIR, Report, Tools, in_this_process
from commonward.workflows.member import Member, Ports, Practice
from commonward.workflows.memory import CountedEntropy, Deadly, MemoryPeers, MemoryTrees, MemoryVault, SteppedPace
from commonward.workflows.messages import Mode
from commonward.workflows.office import Office
from commonward.workflows.patient import Delivered, Patient, Wallet
from commonward.workflows.patient_log import PatientLog, read_log
from commonward.workflows.ports import Piece
from commonward.workflows.requests import Encounter
from tests.evidence_world import DAY, _seed, _sign, _usage, ca_key, world_genesis
from tests.ledgerkit import MEMBERS, RP_ID, SoftKey, SoftPasskey, handle_of
from tests.memory_agreement import MemoryAgreement
from tests.memory_engine import CuedReplica, MemoryEngine, SoftKeys

ORDERED_BY = "solo"
"""Which engine the next `Consortium` is on: "solo" or "consensus"; set by `tests.both_engines`."""

LOINC = "http://loinc.org"


class AnyResource:
    def errors(self, resource: object) -> list[str]:
        return []


@dataclass(frozen=True)
class SoftStaff:
    """A person at a member: certificate of today, key made from the words."""

    member: str
    role: str
    number: str

    @property
    def key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(_seed("person", self.member, self.role, self.number))

    @property
    def certificate(self) -> bytes:
        return _certificate(self)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


@lru_cache
def _certificate(staff: SoftStaff) -> bytes:
    issuer = ca_key(staff.member)
    fields = [
        (NameOID.ORGANIZATION_NAME, staff.member),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, "cardiology"),
        (NameOID.TITLE, staff.role),
        (NameOID.SERIAL_NUMBER, staff.number),
    ]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{staff.member} CA")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(oid, value) for oid, value in fields]))
        .issuer_name(name)
        .public_key(staff.key.public_key())
        .serial_number(int.from_bytes(_seed("serial", staff.member, staff.role, staff.number)[:8], "big") | 1)
        .not_valid_before(DAY)
        .not_valid_after(DAY + timedelta(hours=23))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(_usage(ca=False), True)
        .add_extension(x509.ExtendedKeyUsage([STAFF_PURPOSE]), True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), False)
    )
    return _sign(builder, issuer)


@dataclass(frozen=True)
class SoftSigner:
    """`ports.PatientSigner` by a passkey in software, and the opening key that goes with it."""

    passkey: SoftPasskey

    @property
    def credential(self) -> CredentialId:
        return self.passkey.credential

    @property
    def algorithm(self) -> Algorithm:
        return self.passkey.algorithm

    @property
    def public(self) -> bytes:
        return self.passkey.public

    @property
    def sealing_public(self) -> bytes:
        return self.passkey.sealing

    async def prove(self, body: bytes, digest: Digest) -> bytes:
        return self.passkey.assertion(digest)

    async def possess(self, message: bytes) -> bytes:
        return self.passkey.assertion(message)

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        return open_from(SoftKey(f"sealing {self.passkey.name}", Algorithm.X25519).seed, info, sealed, aad)


class House:
    """One member: its office, its vault, its node; it can die and wake."""

    def __init__(self, consortium: "Consortium", name: str) -> None:
        self.consortium = consortium
        self.name = MemberId(name)
        self.vault = MemoryVault()
        self.trees = MemoryTrees()
        self.steps = Deadly()
        self.entropy = CountedEntropy(name)
        self.pace = SteppedPace()
        self.wakes()

    @property
    def node(self) -> CuedReplica:
        return self.consortium.engine.nodes[self.name]

    def wakes(self) -> None:
        """A new process over the same vault and node."""
        c = self.consortium
        ports = Ports(
            ledger=self.node, vault=self.vault, trees=self.trees, keys=SoftKeys(self.name), peers=c.peers.of(self.name),
            clock=c.engine.clock, entropy=self.entropy, steps=self.steps, pace=self.pace,
        )  # fmt: skip
        self.office = Office(Member(ports, RP_ID, c.practice))
        c.peers.open_door(self.name, self.office.desk.answer)

    def dies_at(self, step: str) -> None:
        self.steps.arm(step)

    def staff(self, role: str = "clinician", number: str = "n1") -> SoftStaff:
        return SoftStaff(self.name, role, number)

    # as a hospital with systems of its own

    async def takes(self, *pieces: Piece) -> Report:
        tools = Tools(self.office.member.storage, self.entropy, AnyResource())
        return await self.office.ingest.run(pieces, in_this_process(tools))

    async def ticks(self) -> list[str]:
        """Time for the next tick, and everything it brings."""
        await self.consortium.engine.pass_time(1000)
        return await self.office.tick()

    def local(self, patient: str) -> bytes:
        return self.office.member.identity.patient("his", patient)

    # as a requester

    def visit(self, patient: "Person", number: str = "visit 1") -> Encounter:
        return self.office.requests.encounter(number, patient.handle)

    async def fetches(
        self, patient: "Person", custodian: str, *, role: str = "registrar", purpose: str = "TREAT", **more: Any
    ) -> Copy:
        return await self.office.requests.fetch_ahead(
            self.staff(role), self.visit(patient), MemberId(custodian), purpose=purpose, **more
        )

    async def shows(self, patient: "Person", tag: Tag, *, role: str = "clinician") -> list[Checked]:
        return await self.office.requests.display(self.staff(role), tag, self.visit(patient))


class Person:
    """A patient with a passkey, a wallet and a gate at some member."""

    def __init__(self, consortium: "Consortium", name: str) -> None:
        self.consortium = consortium
        self.name = name
        self.passkey = SoftPasskey(name)
        self.signer = SoftSigner(self.passkey)
        self.handle: Handle = handle_of(name)
        self.client = Patient(
            self.signer, consortium.houses["clinic"].office.gate, CountedEntropy(f"patient {name}"), Wallet(self.handle)
        )

    def through(self, member: str) -> None:
        """Uses another member's gate."""
        self.client.gate = self.consortium.houses[member].office.gate

    async def grants(self, *rules: Rule, **more: Any) -> Delivered:
        return await self.client.grant(tuple(rules), **more)

    async def withdraws(self, delivered: Delivered) -> Delivered:
        return await self.client.withdraw(delivered.consent, "no longer")

    async def log(self) -> PatientLog:
        """Once every node has what the others have: this gate asks its own member's alone."""
        await self.consortium.engine.settle()
        return await read_log(self.client)


class Consortium:
    """Use as an async context."""

    def __init__(self, practice: Practice | None = None, parameters: dict[Parameter, int] | None = None) -> None:
        consensus = ORDERED_BY == "consensus"
        genesis = world_genesis(parameters={Parameter.TICK: 1000, **(parameters or {})}, consensus=consensus)
        # Both have the same words; a test that names the sequencer runs on solo alone (`both_engines`).
        self.engine: MemoryEngine = MemoryAgreement(genesis) if consensus else MemoryEngine(genesis)  # type: ignore
        self.peers = MemoryPeers()
        self.practice = practice or Practice(cosign_wait_ms=300)
        self.houses: dict[str, House] = {}
        self._patience: dict[str, int] = {}

    async def __aenter__(self) -> Self:
        await self.engine.__aenter__()
        for name in MEMBERS:
            self.houses[name] = House(self, name)
        await self.engine.pass_time(1000)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.engine.__aexit__(kind, error, at)

    @property
    def north(self) -> House:
        return self.houses["north"]

    @property
    def south(self) -> House:
        return self.houses["south"]

    @property
    def clinic(self) -> House:
        return self.houses["clinic"]

    @property
    def shield(self) -> House:
        return self.houses["shield"]

    @property
    def health(self) -> House:
        return self.houses["health"]

    async def patient(self, name: str, at: Sequence[str] = ("north",)) -> Person:
        """Enrolled at the first of these members, linked at all of them."""
        person = Person(self, name)
        first = self.houses[at[0]]
        passkey = await new_passkey(person.signer, self.engine.genesis.ledger_id, person.handle)
        await first.office.enrolment.enrol(person.handle, passkey, person.signer.sealing_public, "passport", "n9")
        await self.engine.settle()
        for member in at:
            self.link(person, member)
        return person

    def link(self, person: Person, member: str) -> Link:
        house = self.houses[member]
        link = house.office.enrolment.link(person.handle, house.local(person.name), "passport seen", "n9")
        person.client.linked(MemberId(member), link.tag_key)
        return link

    async def all_tick(self) -> None:
        await self.engine.pass_time(1000)
        for house in self.houses.values():
            await house.office.tick()
        await self.engine.settle()

    async def ledger_away(self, ms: int) -> None:
        """Nobody cosigns or orders any more, and time passes. What is submitted cannot arrive, and is soon given up."""
        for name, node in self.engine.nodes.items():
            self.engine.cut(name)
            self._patience[name], node._submit_ms = node._submit_ms, 50
        self.engine.clock.move(ms)

    async def ledger_back(self) -> None:
        for name, node in self.engine.nodes.items():
            node._submit_ms = self._patience[name]
            self.engine.mend(name)
        await self.engine.settle()
        await self.engine.pass_time(31_000)


# what hospitals hold


def observation(
    identity: str, patient: str, value: str = "7.40", *, status: str = "final", code: str = "718-7", **more: Any
) -> Piece:
    """A blood count (LOINC 718-7, haemoglobin) unless another code is given."""
    tree = {
        "resourceType": "Observation",
        "id": identity,
        "status": status,
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
                                  "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": "2026-05-31T08:30:00+08:00",
        "valueQuantity": {"value": orjson.Fragment(value.encode()), "unit": "g/dL"},
        **more,
    }  # fmt: skip
    return Piece("his", FHIR, f"file {identity}", orjson.dumps(tree))


def psychiatric(identity: str, patient: str) -> Piece:
    """Labelled as psychiatry (HL7 v3 ActCode PSY). Synthetic."""
    label = {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "PSY"}]}
    return observation(identity, patient, "1.0", meta=label)


# what patients say


def permit(*members: str, purposes: Sequence[str] = ("TREAT", "ETREAT"), number: int = 1, **scope: Any) -> Rule:
    return Rule(number, Effect.PERMIT, Scope(members=frozenset(members), purposes=frozenset(purposes), **scope))


def deny(number: int = 2, **scope: Any) -> Rule:
    return Rule(number, Effect.DENY, Scope(**scope))


def answers_between(consortium: Consortium, path: str) -> list[bytes]:
    return [answer for _, _, said, _, answer in consortium.peers.carried if said == path]


__all__ = [
    "Callable",
    "Consortium",
    "House",
    "Mode",
    "Person",
    "Purpose",
    "answers_between",
    "deny",
    "observation",
    "permit",
    "psychiatric",
    "replace",
]
