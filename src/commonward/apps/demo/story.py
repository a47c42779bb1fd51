"""The main job, told with five real nodes: a patient's records travel under consent, and anyone can check it.

Each chapter does what the commands do, and checks that it came out: a chapter that does not ends the demo with a
sentence. The people are Synthea's and ours; nobody in them is real.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
from collections import Counter
from contextlib import closing
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Final

from commonward.apps import verify
from commonward.apps.api.client import NodeRefused
from commonward.apps.demo.stage import Stage, StoryBroken, Voice
from commonward.apps.founding import GENESIS
from commonward.apps.outsider import Counts, replay
from commonward.apps.signing.signer import Shown
from commonward.apps.signing.wallet import KeptPatient, Site, WalletFolder
from commonward.apps.signing.words import Words
from commonward.apps.wiring import SystemEntropy, WallClock
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import ConsentId, MemberId
from commonward.records.rules import everything_but
from commonward.records.sensitivity import default_sensitivity
from commonward.workflows.patient_log import PatientLog, read_log

PATIENT: Final = "ee9f8dd8-72d2-4769-8020-89e504b1504b"  # Liz Conn, made by Synthea
PIN: Final = b"190325"
_AHEAD: Final = 32  # tags looked up at once: those of the marks shown, and as many beyond
HIDDEN_TYPES: Final = "mental-health"
NORTH, SOUTH, CLINIC, INSURER = "north", "south", "clinic", "insurer"


def run(directory: Path, port: int, voice: Voice, engine: str = "solo") -> None:
    """The whole story. Raises StoryBroken, and what the commands raise."""
    with as_file(files("commonward.apps").joinpath("samples")) as samples:
        asyncio.run(_Story(Stage(directory, voice, engine), voice, samples, port).tell())


class _Story:
    def __init__(self, stage: Stage, voice: Voice, samples: Path, port: int) -> None:
        self.stage = stage
        self.voice = voice
        self.samples = samples
        self.port = port
        self.words = Words()
        self.handle = ""
        self.tag = ""
        self.consent = b""

    async def tell(self) -> None:
        self.consortium()
        await self.intake()
        await self.enrolment()
        await self.consenting()
        self.fetch_ahead()
        self.insurer_asks()
        await self.the_log()
        self.tampering()
        await self.correction()
        await self.withdrawal()
        await self.broken_glass()
        self.evidence()
        self.outsider()
        self.going_on()

    # 1
    def consortium(self) -> None:
        self.voice.chapter("Five members, no owner")
        founded = self.stage.found(self.port)
        self.stage.start()
        status = self.stage.control(NORTH).get("/status")
        for member in founded.genesis.genesis.members:
            tier = f", tier {member.tier}" if member.tier else ""
            self.voice.say(f"{member.name} ({member.id}: {member.kind.name.lower()}{tier})")
        genesis = founded.genesis.genesis
        voting = [member.id for member in genesis.members if member.weight]
        if genesis.consensus:
            self.voice.say(
                f"Nobody orders alone: {', '.join(voting)} agree on each block (CometBFT), and any one of them may "
                "fail or lie"
            )
        else:
            self.voice.say(f"{genesis.operator} runs the sequencer; the others execute all it orders, and cosign")
        self.voice.good(
            f"{len(self.stage.processes)} processes run; {len(status['proven']['members'])} of {len(voting)} members "
            f"cosigned the ledger {status['ledger'][:16]} at height {status['height']}"
        )

    # 2
    async def intake(self) -> None:
        self.voice.chapter("Each hospital takes in what its own systems send")
        fhir, hl7, bad = self.samples / "fhir", self.samples / "hl7v2", self.samples / "malformed"
        first = [each for each in sorted(fhir.glob("*.json")) if "3-corrected" not in each.name]
        for member, paths in (
            (NORTH, [*first, hl7 / "synthetic-oru-1-preliminary.hl7", hl7 / "synthetic-oru-2-final.hl7"]),
            (SOUTH, [hl7 / "ADT-A01-01.hl7", hl7 / "LAB-ORU-2.hl7", hl7 / "synthetic-adt-gb18030.hl7"]),
            (CLINIC, [hl7 / "ADT04-28.hl7", hl7 / "VXU.hl7", bad / "entry-not-fhir.json", bad / "no-msh.hl7"]),
        ):
            taken = await self.stage.ingest(member, paths, f"{member}: FHIR and HL7 v2")
            report = taken.report
            dead = f"; {report.dead} could not be read and wait as dead letters" if report.dead else ""
            self.voice.good(
                f"{member}: {report.records} records from {taken.files} files, {report.corrections} of them "
                f"newer versions{dead}"
            )
        again = (await self.stage.ingest(NORTH, first, "north: the same files again")).report
        self._must(again.records == 0, f"the same files again made {again.records} new records")
        self.voice.good(f"north: the same files again: nothing new, {again.duplicates} known already")
        self.stage.until(lambda: self.stage.anchored(NORTH), "north's records to be anchored")
        self.voice.good("anchored: the ledger holds one root for them all, and not how many they are")

    # 3
    async def enrolment(self) -> None:
        self.voice.chapter("A patient, and a passkey of her own")
        genesis = (self.stage.directory / GENESIS).read_bytes()
        addresses = {MemberId(each): self.stage.settings(each).signing for each in self.stage.members}
        site = Site(page=MemberId(CLINIC), addresses=addresses)
        folder = self.stage.directory / "patients" / "liz"
        self.wallet = WalletFolder.create(folder, genesis, site, PIN, SystemEntropy())
        (folder / "pin").write_bytes(PIN + b"\n")
        (folder / "pin").chmod(0o600)
        asked = await self.wallet.request(self.words)
        self.handle = asked.handle.hex()
        for member, number, role, department in (
            (NORTH, "N00481", "registrar", "front-desk"),
            (SOUTH, "S20017", "registrar", "front-desk"),
            (SOUTH, "S20733", "clinician", "ophthalmology"),
            (SOUTH, "S20951", "clinician", "emergency"),
            (INSURER, "I31146", "claims-officer", "claims"),
        ):
            self.stage.employ(member, number, role, department)
        desk = self.stage.control(NORTH)
        words = "identity card seen at the desk"
        request = base64.b64encode(asked.to_bytes()).decode()
        desk.post("/patients/enrol", {"request": request, "words": words, "staff": "N00481"})
        linked = desk.post(
            "/patients/link",
            {"handle": self.handle, "system": "fhir", "patient": PATIENT, "words": words, "staff": "N00481"},
        )
        self.patient = self._open_wallet()
        links = await self.patient.learn_links()
        self._must(links == [NORTH], f"the wallet heard of links at {links}, not at north")
        self.voice.say("Liz Conn, 39 (synthetic, made by Synthea), shows her card at north's desk.")
        self.voice.good(f"her passkey speaks for the handle {self.handle[:8]}…, linked to {linked['records']} records")

    def _open_wallet(self) -> KeptPatient:
        self.gate = self.wallet.gate(WallClock())
        return self.wallet.patient(self.gate, self._show, self.words, SystemEntropy())

    def _show(self, shown: Shown) -> None:
        self.voice.panel("\n".join(shown.lines), f"What her phone shows before it signs: {shown.title}")

    # 4
    async def consenting(self) -> None:
        self.voice.chapter("She lets south's doctors see everything at north but mental health")
        table = default_sensitivity()
        rules = everything_but(
            frozenset({HIDDEN_TYPES}),
            members=frozenset({SOUTH}),
            purposes=frozenset({"TREAT"}),
            custodians=frozenset({NORTH}),
            sensitive=frozenset(table.sensitive),
        )
        told = await self.patient.grant(rules, days=365)
        self.consent = told.consent
        self._must(not told.waiting, f"{sorted(told.waiting)} did not acknowledge the consent")
        self.voice.good(
            "on the ledger; its rules went sealed: all of them to north, to south only what permits it. "
            f"Acknowledged by {', '.join(sorted(told.acknowledged))}"
        )

    # 5
    def fetch_ahead(self) -> None:
        self.voice.chapter("At south's registration desk her records are fetched ahead")
        copy = self._fetch()
        self.tag = copy["tag"]
        shown = self._display(self.tag)
        kinds = Counter(_resource(each)["resourceType"] for each in shown)
        self.voice.good(
            f"{len(shown)} records, sealed to south: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}"
        )
        self.voice.say("What the ophthalmologist sees (a few of them), each checked against its anchor:")
        self.voice.table(["what", "value", "verified unchanged"], [_row(each) for each in _interesting(shown)])
        self._must(all(each["verified"] == "anchored" for each in shown), "a record came without its anchor")
        at_north = self.stage.control(NORTH).get("/patients/records", handle=self.handle)
        withheld = {each["id"] for each in at_north} - {each["id"] for each in shown}
        self._must(bool(withheld), "north withheld nothing, though mental health was denied")
        text = "".join(each["stored"] for each in shown)
        self._must("44261-6" not in text and "depress" not in text.lower(), "a mental-health record was released")
        self.voice.good(
            f"north holds {len(at_north)} and withheld {len(withheld)}; nothing in what south got tells that they exist"
        )

    def _fetch(self, purpose: str = "TREAT") -> dict[str, Any]:
        body = {"encounter": "V-1001", "handle": self.handle, "custodian": NORTH, "staff": "S20017", "purpose": purpose}
        found = self.stage.control(SOUTH).post("/copies", body)
        assert isinstance(found, dict)
        return found

    def _display(self, tag: str, staff: str = "S20733", purpose: str = "TREAT") -> list[dict[str, Any]]:
        shown = self.stage.control(SOUTH).post(
            f"/copies/{tag}/display", {"encounter": "V-1001", "staff": staff, "purpose": purpose}
        )
        assert isinstance(shown, list)
        return shown

    # 6
    def insurer_asks(self) -> None:
        self.voice.chapter("The insurer asks too")
        body = {"encounter": "C-77", "handle": self.handle, "custodian": NORTH, "staff": "I31146", "purpose": "HPAYMT"}
        why = self._refused(lambda: self.stage.control(INSURER).post("/copies", body), "the insurer was not refused")
        self.voice.refused(why)

    def _refused(self, what: Any, otherwise: str) -> str:
        try:
            what()
        except NodeRefused as why:
            return str(why)
        raise StoryBroken(otherwise)

    # 7
    async def the_log(self) -> None:
        self.voice.chapter("She looks who saw what")
        log = await self._log()
        self._must(log.whole, f"her log is not whole: {[t.what for t in log.troubles]} {log.unreachable}")
        self.voice.table(
            ["when", "custodian", "to", "who", "for", "records"],
            [
                [
                    self.words.time(mark.at), mark.custodian, mark.requester,
                    f"{mark.role} {mark.number}, {mark.department}", mark.purpose, str(mark.records),
                ]
                for mark in log.marks
            ],
        )  # fmt: skip
        self.voice.good(
            f"{len(log.marks)} release; numbers without a gap, each on the ledger, no hidden one, "
            f"{len(log.receipts)} receipt"
        )

    async def _log(self) -> PatientLog:
        self.gate.look_up(self.patient.tags(_AHEAD))
        return await read_log(self.patient)

    # 8
    def tampering(self) -> None:
        self.voice.chapter("Someone alters one byte")
        vault = self.stage.data(NORTH) / "vault.sqlite"
        record = next(each["id"] for each in self._display(self.tag))
        query = "select c.sealed, c.number from contents c join records r on r.number = c.number where r.id = ?"
        put = "update contents set sealed = ? where number = ?"
        before, number = _altered(vault, query, (bytes.fromhex(record),), put)
        held = {each["id"] for each in self.stage.control(NORTH).get("/patients/records", handle=self.handle)}
        flagged = [each for each in self.stage.control(NORTH).get("/uses", limit=5000) if "altered" in each["detail"]]
        self._must(record not in held and bool(flagged), "north did not notice the altered byte in its vault")
        self.voice.good(f"in north's vault: {flagged[-1]['detail']}; it is not released")
        _restore(vault, put, before, number)
        vault = self.stage.data(SOUTH) / "vault.sqlite"
        query = "select sealed, rowid from papers where drawer = 'copies'"
        put = "update papers set sealed = ? where rowid = ?"
        before, number = _altered(vault, query, (), put)
        why = self._refused(lambda: self._display(self.tag), "south showed a copy that was altered")
        self.voice.good(f"in south's copy: {why}")
        _restore(vault, put, before, number)
        self._display(self.tag)
        self.voice.say("(both bytes put back)")

    # 9
    async def correction(self) -> None:
        self.voice.chapter("North corrects a result")
        corrected = self.samples / "fhir" / "synthetic-result-3-corrected.json"
        await self.stage.ingest(NORTH, [corrected], "north: one corrected result")
        south = self.stage.control(SOUTH)
        self.stage.until(
            lambda: any(copy["recalled"] for copy in south.get("/copies", handle=self.handle)), "the recall"
        )
        self.stage.until(
            lambda: all(recall["acknowledged"] for recall in self.stage.control(NORTH).get("/recalls")),
            "south's acknowledgement",
        )
        old = next(each for each in self._display(self.tag) if each["recalled"])
        self.stage.until(lambda: self.stage.anchored(NORTH), "the corrected result to be anchored")
        self.tag = self._fetch()["tag"]
        new = next(each for each in self._display(self.tag) if _resource(each)["id"] == _resource(old)["id"])
        self.voice.good(f"south was told and marked its copy: {_what(old)} {_value(old)}, {old['recalled']}")
        self.voice.good(f"fetched again: {_value(new)}, version {new['version']}")

    # 10
    async def withdrawal(self) -> None:
        self.voice.chapter("She withdraws")
        told = await self.patient.withdraw(ConsentId(self.consent), "moving away")
        self._must(not told.waiting, f"{sorted(told.waiting)} did not acknowledge the withdrawal")
        why = self._refused(self._fetch, "south still got records after the withdrawal")
        self.voice.refused(f"the next request: {why}")
        why = self._refused(lambda: self._display(self.tag), "south still showed its copy after the withdrawal")
        self.voice.refused(f"the copy south holds: {why}")

    # 11
    async def broken_glass(self) -> None:
        self.voice.chapter("An emergency: a doctor breaks the glass")
        body = {
            "encounter": "E-9", "handle": self.handle, "custodian": NORTH, "staff": "S20951",
            "reason": "unconscious after a fall, medication unknown",
        }  # fmt: skip
        copy = self.stage.control(SOUTH).post("/glass", body)
        shown = self.stage.control(SOUTH).post(
            f"/copies/{copy['tag']}/display", {"encounter": "E-9", "staff": "S20951", "purpose": "ETREAT"}
        )
        self.voice.good(f"{len(shown)} records at once; the reason, the mark and the deadline for review are on record")
        log = await self._log()
        self._must(bool(log.glasses), "the patient was not told of the broken glass")
        notice = log.glasses[0]
        self.voice.good(
            f"she is told: {notice.role} {notice.number} of {notice.requester}, “{notice.reason}”, "
            f"to be reviewed by {self.words.time(notice.review_by)}"
        )
        south = self.stage.control(SOUTH)
        south.post(f"/glass/{copy['glass']}/review", {"staff": "S20733", "finding": "justified: life at risk"})
        self._must(not south.get("/glass"), "the reviewed glass is still open")
        self.voice.good("reviewed by another doctor, and closed")

    # 12
    def evidence(self) -> None:
        self.voice.chapter("A file that convinces a stranger")
        north = self.stage.control(NORTH)
        wanted = next(each for each in self._at_north() if each["type"] == "Observation")
        made = north.get(f"/evidence/records/{wanted['id']}")
        folder = self.stage.directory / "evidence"
        folder.mkdir(exist_ok=True)
        self.file, self.trust = folder / "record.tlog-proof", folder / "consortium.trust"
        self.file.write_bytes(base64.b64decode(made["evidence"]))
        self.trust.write_bytes(base64.b64decode(made["trust"]))
        self.voice.say(f"$ commonward verify {self.file}")
        report = verify.verify_file(self.file.read_bytes(), self.trust.read_bytes())
        for step in report.steps:
            self.voice.say(f"{step.number:2}. {step.state}: {step.text}")
        self._must(report.exit_code == 0, f"the evidence did not convince: {report.verdict}")
        self.voice.good(report.verdict)
        data = bytearray(self.file.read_bytes())
        data[len(data) // 2] ^= 1
        forged = verify.verify_file(bytes(data), self.trust.read_bytes())
        self._must(forged.exit_code != 0, "an altered evidence file convinced")
        self.voice.good(f"with one bit changed: {forged.verdict}")

    def _at_north(self) -> list[dict[str, Any]]:
        found = self.stage.control(NORTH).get("/patients/records", handle=self.handle)
        assert isinstance(found, list)
        return found

    # 13
    def outsider(self) -> None:
        self.voice.chapter("What an outsider learns who reads the whole ledger")
        genesis = SignedGenesis.parse((self.stage.directory / GENESIS).read_bytes()).genesis
        counts = Counts()
        last = list(replay(genesis, self.stage.data(NORTH) / "ledger" / "blocks", counts))[-6:]
        self.voice.table(
            ["block", "time", "who", "kind"],
            [[str(each.height), self.words.time(each.time), each.signer, each.kind] for each in last],
        )
        told = Counter[str]()
        for (_, kind), count in counts.by_kind.items():
            told[kind] += count
        self.voice.say(", ".join(f"{count} {kind}" for kind, count in told.most_common()))
        blocks = b"".join(
            path.read_bytes() for path in (self.stage.data(NORTH) / "ledger" / "blocks").rglob("*") if path.is_file()
        )
        for secret in (
            b"Conn",
            PATIENT.encode(),
            b"S20733",
            b"ophthalmology",
            b"mental",
            b"unconscious",
            b"Observation",
        ):
            self._must(secret not in blocks, f"the ledger holds {secret!r}")
        self.voice.good(
            "who, what kind, when, and random-looking bytes: no name, record, rule or staff, and no number of records"
        )

    # the end
    def going_on(self) -> None:
        root = self.stage.directory
        self.voice.panel(
            f"commonward log --wallet {root}/patients/liz --pin-file {root}/patients/liz/pin\n"
            f"commonward records list --data {root}/members/south\n"
            f"commonward uses --data {root}/members/south\n"
            f"commonward dead-letters list --data {root}/members/clinic\n"
            f"commonward ledger read --data {root}/members/north\n"
            f"commonward verify {self.file}\n"
            f"commonward network status {root}\n"
            f"commonward doctor --data {root}/members/north\n"
            f"commonward down {root}",
            f"Done in {self.voice.seconds:.0f} s. The five nodes still run: go on with",
        )

    def _must(self, true: bool, otherwise: str) -> None:
        if not true:
            raise StoryBroken(otherwise)


def _altered(vault: Path, query: str, key: tuple[bytes, ...], put: str) -> tuple[bytes, int]:
    """Flips one bit in a value at rest, past every program of ours. Returns what it was, and where."""
    with closing(sqlite3.connect(vault, timeout=10)) as store, store:
        before, number = store.execute(query, key).fetchone()
        changed = bytearray(before)
        changed[len(changed) // 2] ^= 1
        store.execute(put, (bytes(changed), number))
    return before, number


def _restore(vault: Path, put: str, before: bytes, number: int) -> None:
    with closing(sqlite3.connect(vault, timeout=10)) as store, store:
        store.execute(put, (before, number))


def _interesting(shown: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A few to look at: results with their digits, a condition, a medication."""
    wanted = []
    seen: Counter[str] = Counter()
    for each in sorted(shown, key=lambda each: "5b1e" not in _resource(each)["id"]):
        kind = _resource(each)["resourceType"]
        if kind in ("Observation", "Condition", "MedicationRequest", "Immunization") and seen[kind] < 4:
            seen[kind] += 1
            wanted.append(each)
    return wanted[:9]


def _resource(each: dict[str, Any]) -> dict[str, Any]:
    """The record, its numbers as text: a doctor sees the digits that the laboratory wrote."""
    found = json.loads(each["stored"], parse_float=str, parse_int=str)
    assert isinstance(found, dict)
    return found


def _what(each: dict[str, Any]) -> str:
    resource = _resource(each)
    for name in ("code", "medicationCodeableConcept", "vaccineCode"):
        concept = resource.get(name) or {}
        if concept:
            return str(concept.get("text") or (concept.get("coding") or [{}])[0].get("display", ""))
    return str(resource["resourceType"])


def _value(each: dict[str, Any]) -> str:
    resource = _resource(each)
    value = resource.get("valueQuantity")
    return f"{value['value']} {value.get('unit', '')}".strip() if value else str(resource.get("status", ""))


def _row(each: dict[str, Any]) -> list[str]:
    since = Words().time(each["unchanged_since"]) if each["unchanged_since"] else "not yet"
    return [_what(each)[:60], _value(each), f"since {since} UTC"]
