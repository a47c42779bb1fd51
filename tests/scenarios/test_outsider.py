"""An outsider who reads the whole ledger: member, kind, time, status and deadline; and no more.

Every byte of a whole story is searched for everything that was said in it, as it is, in hex and in base64, and by
guessing: each known value is hashed, with every label there is and every public value as its salt.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import commonward
from commonward.ledger.audit import LogRoot, Receipt, Release
from commonward.ledger.consent import Consent
from commonward.ledger.encoding import Encodable, Value, decode, digest, encode
from commonward.ledger.proofs import PasskeyProof, ProofKind, parse_proof
from commonward.ledger.registry import AnchorBatch
from commonward.records.openings import commit
from commonward.workflows.enrolment import midnight_after
from tests.consortium import Consortium, Person, SoftStaff, deny, observation, permit, psychiatric
from tests.ledgerkit import SoftPasskey
from tests.scenarios.calm import Calm
from tests.scenarios.reader import read, records

NAME, NUMBER, REASON = "Ada-Lovelace-1815", "MRN-4711-2026", "unconscious after an accident"
STAFF = ("staff-8841", "staff-8842", "staff-9007")
FINDING, WORDS = "it was right to do so", "passport seen, photograph matches"
SAID = (
    NAME, NUMBER, REASON, *STAFF, FINDING, WORDS, "cardiology", "clinician", "registrar", "claims-officer",
    "o-secret-1", "o-secret-2", "p-secret-1", "718-7", "7.40", "8.10", "0.010", "g/dL", "Observation", "Patient/",
    "PSY", "mental-health", "laboratory", "TREAT", "ETREAT", "HPAYMT", "visit 1", "his", "no longer",
    "2026-05-31T08:30:00+08:00", "subject", "valueQuantity", "permit", "deny",
)  # fmt: skip
TOO_SHORT = 5
"""Fewer bytes than this turn up by chance in a ledger of random ones: those are only guessed by hash."""


async def story(c: Consortium) -> Person:
    """Everything that a member can say to the ledger about a patient, once."""
    ada = await c.patient(NAME, at=("north", "south"))
    await c.north.takes(observation("o-secret-1", NAME), observation("o-secret-2", NAME, "0.010"))
    await c.north.takes(psychiatric("p-secret-1", NAME), observation(NUMBER, NAME))
    await c.all_tick()
    told = await ada.grants(permit("south"), deny(classes=frozenset({"mental-health"})))
    requests = c.south.office.requests
    copy = await requests.fetch_ahead(SoftStaff("south", "registrar", STAFF[0]), c.south.visit(ada), c.north.name)
    await requests.display(SoftStaff("south", "clinician", STAFF[1]), copy.tag, c.south.visit(ada))
    await c.north.takes(observation("o-secret-1", NAME, "8.10", status="corrected"))
    await c.all_tick()
    glass = c.south.office.glass
    doctor = SoftStaff("south", "clinician", STAFF[1])
    tag, _ = await glass.break_glass(doctor, c.south.visit(ada), c.north.name, REASON)
    await glass.review(SoftStaff("south", "clinician", STAFF[2]), tag, FINDING)
    hold = await ada.client.hold(REASON)
    await ada.withdraws(hold)
    await ada.withdraws(told)
    await c.all_tick()
    return ada


def forms(text: str) -> Iterator[bytes]:
    """A text as it might stand there."""
    plain = text.encode()
    yield plain
    yield plain.hex().encode()
    yield base64.b64encode(plain).rstrip(b"=")[: len(plain) * 4 // 3 - 1]
    yield text.upper().encode()
    yield text.lower().encode()
    yield text.encode("utf-16-le")


def found_plain(ledger: bytes, said: Iterable[str]) -> list[str]:
    return [text for text in said if any(len(form) >= TOO_SHORT and form in ledger for form in forms(text))]


def labels() -> list[str]:
    """Every label of the program's source, and those of the fields of transactions."""
    from commonward.ledger.transactions import KINDS
    from commonward.records.evidence import label_of

    root = Path(commonward.__file__).parent
    written = {
        found for path in root.rglob("*.py") for found in re.findall(r"commonward [\w -]+ v\d+", path.read_text())
    }
    fields = {label_of(kind, each.name) for kind in KINDS.values() for each in kind.FIELDS}
    return sorted(written | fields)


def strings(value: Value) -> Iterator[bytes]:
    """Every byte string in a decoded value, also in those that are encodings themselves."""
    if isinstance(value, bytes):
        yield value
        try:
            inner = decode(value)
        except ValueError:
            return
        if isinstance(inner, list | dict):
            yield from strings(inner)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from strings(each)


def fields(c: Consortium) -> frozenset[bytes]:
    return frozenset(each for record in records(c) for each in strings(decode(record)) if 16 <= len(each) <= 64)


def guesses(values: Iterable[Encodable], salts: Iterable[bytes]) -> dict[bytes, Encodable]:
    """Digest -> the value that a guesser would have confirmed by finding it."""
    table: dict[bytes, Encodable] = {}
    known, salts = labels(), [b"", bytes(32), *salts]
    for value in values:
        encoded = encode(value)
        plain = value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else encoded
        for data in {plain, encoded}:
            for hashed in (hashlib.sha256, hashlib.sha1, hashlib.md5, hashlib.sha3_256):
                table[hashed(data).digest()] = value
            for label in known:
                table[digest(label, data)] = value
                start = hashlib.sha256(label.encode() + b"\0")
                for salt in salts:
                    each = start.copy()
                    each.update(salt + data)
                    table[each.digest()] = value
    return table


async def test_nothing_that_was_said_stands_on_the_ledger() -> None:
    async with Calm() as c:
        await story(c)
        ledger = b"".join(records(c))
        assert len(ledger) > 20_000
        assert found_plain(ledger, SAID) == []
        assert found_plain(ledger + REASON.encode(), SAID) == [REASON], "the control: it would be found"
        assert found_plain(ledger + NAME.encode().hex().encode(), SAID) == [NAME]


async def test_no_guess_is_confirmed_by_hashing_it() -> None:
    async with Calm() as c:
        ada = await story(c)
        seen = list(read(c))
        marks = [each.transaction.payload for each in seen if isinstance(each.transaction.payload, Release)]
        consents = [each.transaction.payload for each in seen if isinstance(each.transaction.payload, Consent)]
        rules = [permit("south").to_value(), deny(classes=frozenset({"mental-health"})).to_value()]
        values: list[Encodable] = [*SAID, *rules, *range(8), ada.handle, bytes(32), bytes(16), [], ["south"], b""]
        values += [mark.tag for mark in marks] + [consent.id for consent in consents]
        values += [[name] for name in ("north", "south")]
        on_ledger = fields(c)
        public = sorted(each for each in on_ledger if len(each) == 32)
        table = guesses(values, public[:: max(1, len(public) // 60)])
        assert len(table) > 50_000
        assert {table[each] for each in on_ledger & table.keys()} == set()
        planted = commit("commonward Release running v1", bytes(32), 3)
        assert table[planted] == 3, "the control: with a salt that all know, the number of a release would be found"


async def test_no_commitment_stands_twice_so_nothing_can_be_joined_by_it() -> None:
    """Equal values get unequal commitments: what joins two transactions is what is said to (tags, ids, handles)."""
    async with Calm() as c:
        ada = await story(c)
        given = await ada.grants(permit("south"), permit("clinic", number=2))
        for house in (c.south, c.clinic):
            await house.fetches(ada, "north", consent=given.consent)
        counted: Counter[bytes] = Counter()
        joins = {"tag", "id", "handle", "author", "credential", "key"}
        for each in read(c):
            payload = each.transaction.payload
            for one in payload.FIELDS:
                value = getattr(payload, one.name)
                if (
                    isinstance(value, bytes)
                    and len(value) == 32
                    and (isinstance(payload, Receipt) or one.name not in joins)
                ):
                    counted[value] += 1
        assert len(counted) > 100
        assert [value for value, times in counted.items() if times > 1] == []


async def test_a_receipt_and_its_mark_have_nothing_in_common() -> None:
    async with Calm() as c:
        await story(c)
        marks = [each for each in read(c) if isinstance(each.transaction.payload, Release)]
        receipts = [each for each in read(c) if isinstance(each.transaction.payload, Receipt)]
        assert marks and receipts
        for mark in marks:
            for receipt in receipts:
                ours = set(strings(decode(mark.transaction.body_bytes)))
                theirs = set(strings(decode(receipt.transaction.body_bytes)))
                common = {each for each in ours & theirs if len(each) > 8}
                assert common <= {mark.transaction.ledger, mark.transaction.recent.root}


async def test_batches_of_none_one_and_a_thousand_records_look_alike() -> None:
    async with Calm() as c:
        person = await c.patient("ada", at=("north",))
        sizes: list[list[tuple[type, int]]] = []
        places: list[bytes] = []
        for count in (0, 1, 1000, 0):
            await c.north.takes(*(observation(f"{len(sizes)}-{n}", person.name) for n in range(count)))
            before = len(list(read(c)))
            await c.north.ticks()
            new = [each for each in list(read(c))[before:] if each.carrier == "north"]
            kinds = (AnchorBatch, LogRoot)
            sizes.append([(type(each.transaction.payload), each.size) for each in new])
            assert [kind for kind, _ in sizes[-1]] == list(kinds)
            batch = new[0].transaction.payload
            assert isinstance(batch, AnchorBatch) and batch.announce is None and batch.extra is None
            places.append(batch.root)
        assert all(each == sizes[0] for each in sizes)
        assert len(set(places)) == 4, "and an empty batch has a root like any other"


async def test_counts_and_times_of_a_members_marks_do_show() -> None:
    """A stated leak: whoever reads the ledger counts a member's releases and receipts, and sees when."""
    async with Calm() as c:
        ada = await c.patient("ada", at=("north",))
        await c.north.takes(observation("o1", "ada"))
        await ada.grants(permit("south"))
        for _ in range(3):
            await c.engine.pass_time(1000)
            await c.south.fetches(ada, "north")
        marks = [each for each in read(c) if isinstance(each.transaction.payload, Release)]
        assert [each.carrier for each in marks] == ["north"] * 3
        assert len({each.time for each in marks}) == 3


async def test_handles_are_pseudonyms_and_their_consents_can_be_counted() -> None:
    """A stated leak: a handle's consents and withdrawals stand under it, so handles stay personal data."""
    async with Calm() as c:
        ada = await c.patient("ada", at=("north",))
        told = await ada.grants(permit("south"))
        await ada.withdraws(told)
        await ada.grants(permit("clinic"))
        under = [each for each in read(c) if bytes(ada.handle) in each.transaction.raw]
        assert len(under) == 3, "enrolled, and two consents; the withdrawal names the consent"


async def test_a_counting_security_key_joins_handles_by_its_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stated leak: the assertion stands on the ledger with the authenticator's counter. Synced passkeys say 0; a
    security key that counts all its uses in one counter can join a patient's handles."""
    used = iter(range(4711, 5000))
    honest = SoftPasskey.assertion

    def counting(key: SoftPasskey, challenge: bytes) -> bytes:
        proof = parse_proof(ProofKind.PASSKEY, honest(key, challenge))
        assert isinstance(proof, PasskeyProof)
        data = proof.authenticator_data[:33] + next(used).to_bytes(4, "big")
        signature = key.key.sign(data + hashlib.sha256(proof.client_data).digest())
        return PasskeyProof(proof.credential_id, data, proof.client_data, signature).to_bytes()

    monkeypatch.setattr(SoftPasskey, "assertion", counting)
    async with Calm() as c:
        for name in ("one handle", "another"):
            person = await c.patient(name, at=("north",))
            await person.grants(permit("south"))
        proofs = [each.transaction.proof for each in read(c) if isinstance(each.transaction.payload, Consent)]
        parsed = [parse_proof(ProofKind.PASSKEY, proof) for proof in proofs]
        counts = [
            int.from_bytes(each.authenticator_data[33:], "big") for each in parsed if isinstance(each, PasskeyProof)
        ]
        assert counts == [4712, 4714], "the ledger does not look at it, and everyone can"


def test_a_consents_end_is_a_midnight_and_tells_no_hour() -> None:
    day = 86_400_000
    ends = {midnight_after(1_790_000_000_000 + hour * 3_600_000, 30) for hour in range(12)}
    assert all(end % day == 0 for end in ends) and len(ends) <= 2
