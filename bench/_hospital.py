"""A member's whole node in a process of its own, driven over a pipe, with a patient enrolled (for `bench.release`)."""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

from bench._consortium import lone, quiet, signed
from commonward.adapters import fhir
from commonward.adapters.keys import StaffKey
from commonward.apps import node as node_process
from commonward.apps.memory import keep_loaded
from commonward.apps.preparing import make_tools
from commonward.apps.samples import samples
from commonward.apps.settings import Settings, load
from commonward.apps.signing.passkey import SoftwarePasskey
from commonward.apps.wiring import Node, SystemEntropy, open_authority
from commonward.ledger.ids import Algorithm, BlockTime, CredentialId, Digest, Handle, MemberId
from commonward.ledger.proofs import PasskeyProof, der_to_rs_low_s
from commonward.records.envelope import open_from, public_of, unpad
from commonward.records.rules import everything_but
from commonward.records.stored import read
from commonward.workflows.copies import opened
from commonward.workflows.enrolment import new_passkey
from commonward.workflows.ingest import in_this_process, local_patient
from commonward.workflows.messages import ASK, Answer, Delivery, delivery_info
from commonward.workflows.patient import Patient, Wallet
from commonward.workflows.ports import Piece

SAMPLE = "Paris_Casper"
SYSTEM = "his"


class Stopwatch:
    """Implements `workflows.ports.Steps`: notes when each named step was reached (seconds, one clock a machine)."""

    seen: list[tuple[str, float]] = []  # noqa: RUF012  of the process: everything that is wired in it notes here

    def reach(self, name: str) -> None:
        self.seen.append((name, time.perf_counter()))


class Signer:
    """Implements `workflows.ports.PatientSigner` over a passkey in software, and shows nothing: nobody is looking."""

    def __init__(self, passkey: SoftwarePasskey, origin: str) -> None:
        self._passkey = passkey
        self._origin = origin
        self._sealing = os.urandom(32)

    @property
    def credential(self) -> CredentialId:
        return CredentialId(self._passkey.credential_id)

    @property
    def algorithm(self) -> Algorithm:
        return Algorithm.ES256

    @property
    def public(self) -> bytes:
        return self._passkey.public_key

    @property
    def sealing_public(self) -> bytes:
        return public_of(self._sealing)

    async def prove(self, body: bytes, digest: Digest) -> bytes:
        return await self.possess(digest)

    async def possess(self, message: bytes) -> bytes:
        made = self._passkey.get(self._origin, self._passkey.rp_id, message)
        return PasskeyProof(
            CredentialId(made.credential_id), made.authenticator_data, made.client_data, der_to_rs_low_s(made.signature)
        ).to_bytes()

    def open_sealed(self, info: bytes, sealed: bytes, aad: bytes = b"") -> bytes:
        return open_from(self._sealing, info, sealed, aad)


def history(count: int) -> tuple[str, list[Piece]]:
    """A Synthea patient's own resources, `count` of them, and what the source calls the patient."""
    (file,) = (each for each in samples("fhir") if each.name.startswith(SAMPLE))
    pieces = list(fhir.pieces(file.read_bytes(), SYSTEM, name=file.name))
    trees = [read(piece.raw)[0] for piece in pieces]
    (patient,) = (tree["id"] for tree in trees if tree["resourceType"] == "Patient")
    named = [(tree.get("subject") or tree.get("patient") or {}).get("reference", "") for tree in trees]
    own = [
        piece
        for piece, tree, reference in zip(pieces, trees, named, strict=True)
        if tree["resourceType"] == "Patient" or local_patient(reference) == patient
    ]
    if len(own) < count:
        raise ValueError(f"expected {count} resources of one patient in {file.name}, got {len(own)}")
    return patient, own[:count]


def member_main(pipe: Connection, data: str) -> None:
    """A member's node as `commonward` runs it; commands come over the pipe."""
    quiet()
    asyncio.run(_member(pipe, load(Path(data))))


async def _member(pipe: Connection, settings: Settings) -> None:
    hospital = Hospital(Node(settings, steps=Stopwatch()))  # the one thing that differs from a node in service
    await hospital.node.listen()
    keep_loaded()
    tasks = [asyncio.create_task(each) for each in node_process._work(hospital.node)]
    loop = asyncio.get_running_loop()
    with suppress(EOFError, OSError):
        while True:
            name, *rest = await loop.run_in_executor(None, pipe.recv)
            try:
                answer = await getattr(hospital, name)(*rest)
            except Exception as error:
                answer = RuntimeError(f"{settings.member} could not {name}: {error!r}")
            pipe.send(answer)
    for task in tasks:
        task.cancel()


class Hospital:
    """What the benchmark asks of one node. Names are the commands."""

    def __init__(self, node: Node) -> None:
        self.node = node
        asked = node.office.desk.handlers[ASK]

        async def noted(asker: MemberId, body: bytes) -> bytes:
            Stopwatch().reach("ask.arrived")
            answer = await asked(asker, body)
            Stopwatch().reach("ask.leaves")
            return answer

        node.office.desk.handlers[ASK] = noted

    async def ready(self) -> bool:
        while not self.node.replica.connected:
            await asyncio.sleep(0.02)
        return True

    async def admit(self, count: int, requester: str) -> tuple[bytes, int]:
        """A patient with `count` records here, anchored, who lets `requester` see everything: handle, stored bytes."""
        node, office, entropy = self.node, self.node.office, SystemEntropy()
        name, pieces = history(count)
        tools = make_tools(node.member.storage, "+00:00")
        report = await office.ingest.run(pieces, in_this_process(tools))
        assert report.records == count, report
        (origin,) = (each.origin for each in node.genesis.members if each.id == node.member.id)
        signer = Signer(SoftwarePasskey.create(origin, node.genesis.rp_id), origin)
        handle = Handle(entropy.bytes(16))
        passkey = await new_passkey(signer, node.genesis.ledger_id, handle)
        await office.enrolment.enrol(handle, passkey, signer.sealing_public, "passport", "n9")
        link = office.enrolment.link(handle, node.member.identity.patient(SYSTEM, name), "passport seen", "n9")
        while node.member.anchoring.prove(count, node.vault.fingerprints(count, count)[0]) is None:
            await asyncio.sleep(0.1)
        patient = Patient(signer, office.gate, entropy, Wallet(handle))
        patient.linked(node.member.id, link.tag_key)
        sensitive = node.member.sensitivity.sensitive
        rules = everything_but(
            frozenset(), members=frozenset({requester}), purposes=frozenset({"TREAT"}), sensitive=sensitive
        )
        told = await patient.grant(rules)
        assert told.acknowledged == {node.member.id, requester} and not told.waiting, told
        return handle, sum(len(read(piece.raw)[1]) for piece in pieces)

    async def fetch(self, handle: Handle, custodian: str, count: int, pause_s: float) -> list[tuple[float, float]]:
        """As the desk does at registration, again and again: when each began and when it was over (the receipt too)."""
        member, requests = self.node.member, self.node.office.requests
        staff = StaffKey.issue(
            open_authority(self.node.settings), member.id, role="registrar", department="registration", number="n1",
            starts=BlockTime(member.now()),
        )  # fmt: skip
        encounter = requests.encounter("visit 1", handle)
        spans = []
        for _ in range(count):
            began = time.perf_counter()
            copy = await requests.fetch_ahead(staff, encounter, MemberId(custodian))
            spans.append((began, time.perf_counter()))
            assert copy.receipt
            await asyncio.sleep(pause_s)
        self._last = copy
        return spans

    async def seen(self) -> list[tuple[str, float]]:
        """The steps reached since this was last asked."""
        found, Stopwatch.seen[:] = list(Stopwatch.seen), []
        return found

    async def sizes(self) -> tuple[int, int]:
        """Of the last delivery, sealed; and of the whole answer that carried it."""
        return len(Delivery.parse(self._last.delivery).sealed), len(Answer(delivery=self._last.delivery).to_bytes())

    async def unseal(self, times: int) -> list[float]:
        """Seconds to open the last delivery's seal and nothing else."""
        copy, keys = self._last, self.node.keys
        delivery = Delivery.parse(copy.delivery)
        info = delivery_info(self.node.genesis.ledger_id, copy.custodian, self.node.member.id, delivery.tag)
        took = []
        for _ in range(times):
            began = time.perf_counter()
            unpad(keys.open_sealed(info, delivery.sealed))
            took.append(time.perf_counter() - began)
        assert len(opened(self.node.member, copy).records)
        return took

    async def lone(self, count: int) -> list[float]:
        """Seconds from one transaction's submission to its proof by a quorum, one at a time."""
        replica = self.node.replica
        return (await lone(replica, signed(self.node.keys, replica.ledger_id, replica.recent(), 10**9, count)))[1]

    async def grid(self, milliseconds: int) -> int:
        """Answers leave on this grid from now on; returns the one before."""
        before = self.node.member.practice
        object.__setattr__(self.node.member, "practice", replace(before, answer_grid_ms=milliseconds))
        return before.answer_grid_ms

    async def profile(self, path: str) -> None:
        """Starts a profile of this process; an empty path ends it and writes to the first."""
        import cProfile

        if path:
            self._profile = (cProfile.Profile(), path)
            self._profile[0].enable()
        else:
            self._profile[0].disable()
            self._profile[0].dump_stats(self._profile[1])


def between(steps: Sequence[tuple[str, float]]) -> dict[str, list[float]]:
    """Times by name, in order."""
    found: dict[str, list[float]] = {}
    for name, at in steps:
        found.setdefault(name, []).append(at)
    return found
