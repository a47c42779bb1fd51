"""Evidence: what convinces, and every way of making it lie that we could think of."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.audit import Release
from commonward.ledger.checkpoint import Note, cosign, parse_note, sign_note
from commonward.ledger.consent import Assurance, Consent, Enrol, credential_key
from commonward.ledger.encoding import Value
from commonward.ledger.ids import BlockTime, ConsentId, Purpose
from commonward.ledger.members import key_key, revoked_staff_key
from commonward.ledger.registry import AnchorBatch, TooEarly
from commonward.records.certificates import revocation_digest
from commonward.records.evidence import Evidence, EvidenceUnreadable, RecordStatement
from commonward.records.findings import State
from commonward.records.fingerprint import build_batch, source_fingerprint
from commonward.records.judging import forks, judge
from commonward.records.openings import RulesTree
from commonward.records.trust import load_trust
from tests.evidence_world import ALL, DAY, World, salt, staff_certificate
from tests.ledgerkit import SoftKey, SoftPasskey, handle_of

STORED = b'{"resourceType":"Observation","value":7.40}'


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def record(world: World) -> Evidence:
    return world.record(STORED)


@pytest.fixture(scope="module")
def release(world: World, record: Evidence) -> Evidence:
    return world.release()


@pytest.fixture(scope="module")
def trust(world, record, release):
    return load_trust(world.trust())


def states(judgement) -> dict[str, State]:
    return {each.rule: each.state for each in judgement.findings}


def failed(judgement) -> set[str]:
    assert not judgement.convinces
    return {each.rule for each in judgement.findings if each.state is State.FAILED}


def renoted(world: World, evidence: Evidence, *members: str, at: int | None = None) -> Evidence:
    """The same evidence under other cosignatures of its checkpoint."""
    size = parse_note(evidence.note).checkpoint.size
    return replace(evidence, note=world.note(members, size, at))


# ---------------------------------------------------------------------------------------------------- what convinces


def test_a_record_that_was_anchored_convinces_and_says_when(world, record, trust):
    found = judge(Evidence.parse(record.to_bytes()), trust)
    assert found.convinces
    assert found.member == "north"
    assert found.signed_after is not None and found.ordered is not None and found.before is not None
    assert found.signed_after < found.ordered < found.before
    assert set(states(found).values()) == {State.PASSED}


def test_evidence_reads_back_as_it_was_written(record, release):
    for evidence in (record, release):
        assert Evidence.parse(evidence.to_bytes()) == evidence
        assert Evidence.parse(evidence.to_bytes()).to_bytes() == evidence.to_bytes()


def test_a_record_file_is_under_4_kib_and_a_release_under_8_kib(world, record, release):
    bare = replace(record, statement=replace(record.statement, stored=None))
    hashes = tuple(hashlib.sha256(b"%d" % n).digest() for n in range(24))  # the paths of a log of ten million
    own = tuple(hashlib.sha256(each).digest() for each in hashes)
    # the recent block some 2,000 entries before, the own block's leaf at most 500 after: what lies higher is shared
    paths = (own[:11] + hashes[11:], own[:9] + hashes[9:])
    for evidence, limit in ((bare, 4096), (release, 8192)):
        blocks = tuple(replace(block, path=path) for block, path in zip(evidence.blocks, paths, strict=True))
        deep = replace(evidence, path=hashes, blocks=blocks)
        assert len(evidence.note.splitlines()) == 4 + 1 + 4  # four cosigners and the sequencer
        assert len(deep.to_bytes()) < limit


def test_the_record_may_come_in_a_file_of_its_own(record, trust):
    bare = replace(record, statement=replace(record.statement, stored=None))
    assert judge(bare, trust, STORED).convinces
    assert failed(judge(bare, trust, STORED.replace(b"7.40", b"7.4"))) == {"batch"}
    assert failed(judge(record, trust, STORED + b" ")) == {"same-bytes", "batch"}


def test_without_the_record_nothing_is_said_of_one(record, trust):
    found = judge(replace(record, statement=replace(record.statement, stored=None)), trust)
    assert not found.convinces
    assert states(found)["batch"] is State.NOT_CHECKED


def test_a_raw_source_message_is_evidence_too():
    world = World()
    message = b"MSH|^~\\&|LIS|NORTH\r"
    mine = source_fingerprint(message, salt("raw"))
    batch = build_batch([mine], salt("seed"))
    committed = world.commit(AnchorBatch(world.kit.tick(), batch.root), "north")
    statement = RecordStatement(salt("raw"), batch.prove(mine))
    evidence = world.evidence(committed, world.kit.key("north"), statement)
    assert judge(evidence, load_trust(world.trust()), message).convinces


def test_a_release_names_who_asked_and_what_stayed_closed(release, trust):
    found = judge(release, trust, b"a sealed bundle")
    assert found.convinces
    facts = {each.rule: each.facts for each in found.findings}
    assert (facts["request"]["member"], facts["request"]["role"]) == ("south", "clinician")
    assert states(found)["sealed"] is State.PASSED
    assert failed(judge(release, trust, b"another bundle")) == {"sealed"}
    partly = replace(release, statement={2: release.statement[2]})
    found = judge(partly, trust)
    assert found.convinces
    assert {each.rule: each.facts for each in found.findings}["openings"]["closed"] == (
        "decision", "consent", "running", "previous", "sealed",
    )  # fmt: skip


def test_a_release_without_its_request_does_not_convince(release, trust):
    closed = replace(release, statement={number: each for number, each in release.statement.items() if number != 2})
    found = judge(closed, trust)
    assert not found.convinces
    assert states(found)["request"] is State.NOT_CHECKED


def test_the_state_shows_that_a_certificate_was_not_revoked_and_whose_key_signed(world, trust):
    request = world.request()
    revoked = revoked_staff_key("south", revocation_digest(request.certificate))
    evidence = world.release(request, facts=[revoked, key_key(world.kit.key("north").id)])
    found = judge(Evidence.parse(evidence.to_bytes()), trust)
    assert found.convinces
    assert states(found)["not-revoked"] is State.PASSED
    assert {each.rule: each.facts for each in found.findings}["author"]["source"] == "state"
    assert len(evidence.to_bytes()) < 8192


def test_rules_of_a_consent_are_opened_one_by_one():
    world = World()
    tree = RulesTree([["permit", "south"], ["deny", "shield"], ["permit", "clinic"]], salt("seed of rules"))
    payload = Consent(
        ConsentId(b"\x22" * 16), handle_of("li"), Assurance.WITNESSED, BlockTime(_midnight(world)), tree.root,
        salt("p"), salt("f"), False,
    )  # fmt: skip
    committed = world.commit(payload, "north")
    [opened] = [rule.to_value() for rule in tree.open_some([["permit", "south"]])]
    assert isinstance(opened, list)
    evidence = world.evidence(committed, world.kit.key("north"), {5: (bytes(32), [opened])})
    trust = load_trust(world.trust())
    found = judge(Evidence.parse(evidence.to_bytes()), trust)
    assert found.convinces
    assert {each.rule: each.facts for each in found.findings}["rules"] == {"count": 1}
    wider: list[Value] = [[["permit", "shield"], *opened[1:]]]
    assert failed(judge(replace(evidence, statement={5: (bytes(32), wider)}), trust)) == {"rules"}
    _every_byte(evidence.to_bytes(), trust, 3)


def _midnight(world: World) -> int:
    return (world.kit.now // 86_400_000 + 30) * 86_400_000


def test_a_patients_consent_is_evidence_with_its_passkey():
    world = World()
    kit = world.kit
    patient, handle = SoftPasskey("mei"), handle_of("mei")
    kit.accept(Enrol(handle, patient.enrolled(kit.ledger, handle), patient.sealing, salt("identity")), by="north")
    world.catch_up()
    payload = Consent(
        id=ConsentId(b"\x22" * 16), handle=handle, assurance=Assurance.PASSKEY,
        end=BlockTime(_midnight(world)), rules=salt("r"), recipients=salt("p"), form=salt("f"),
        hold=False,
    )  # fmt: skip
    committed = world.commit(payload, patient, [credential_key(patient.author)])
    evidence = world.evidence(committed, patient)
    trust = load_trust(world.trust())
    found = judge(Evidence.parse(evidence.to_bytes()), trust)
    assert found.convinces
    assert states(found)["passkey"] is State.PASSED
    other = replace(evidence, public=SoftPasskey("eve").public)
    assert "signature" in failed(judge(other, trust))
    without = replace(evidence, blocks=tuple(replace(block, facts=()) for block in evidence.blocks))
    assert not judge(without, trust).convinces  # whose passkey it is would be hearsay


# ------------------------------------------------------------------------------------------------------- the attacks


def test_every_changed_byte_shows(record, trust):
    _every_byte(record.to_bytes(), trust, 1)


def test_every_changed_byte_of_a_release_shows(release, trust):
    _every_byte(release.to_bytes(), trust, 2, flip=0x02)


def _every_byte(data: bytes, trust, step: int, flip: int = 0x01) -> None:
    for at in range(0, len(data), step):
        changed = data[:at] + bytes((data[at] ^ flip,)) + data[at + 1 :]
        assert not _convinces(changed, trust), f"byte {at} ({data[at : at + 1]!r}) may be changed unseen"


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_no_small_change_anywhere_convinces(record, trust, data):
    original = record.to_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    cut = data.draw(st.integers(0, 3))
    put = data.draw(st.binary(max_size=3))
    changed = original[:at] + put + original[at + cut :]
    if changed != original:
        assert not _convinces(changed, trust)


def _convinces(data: bytes, trust) -> bool:
    try:
        return judge(Evidence.parse(data), trust).convinces
    except EvidenceUnreadable:
        return False


def test_a_checkpoint_of_another_size_does_not_prove_it(world, record, trust):
    size = parse_note(record.note).checkpoint.size
    for other in (size - 1, size + 1):
        assert "logged" in failed(judge(replace(record, note=world.note(ALL, other)), trust))


def test_two_thirds_of_the_weight_or_less_do_not_convince(world, record, trust):
    assert failed(judge(renoted(world, record, "clinic", "health", "north"), trust)) == {"cosigners"}
    assert judge(renoted(world, record, "clinic", "health", "north", "shield"), trust).convinces


def test_a_cosigner_listed_often_counts_once(world, record, trust):
    note = parse_note(renoted(world, record, "clinic", "health", "north").note)
    assert note.lines[1].seconds is not None
    first = note.lines[1].seconds * 1000
    often = note.with_lines(world.cosigned(note.checkpoint, "north", first + 1000 * n) for n in range(4))
    doubled = Note(often.checkpoint, often.lines * 2)
    for each in (often, doubled):
        assert failed(judge(replace(record, note=each.to_bytes()), trust)) == {"cosigners"}


def test_cosigners_that_nobody_knows_do_not_help(world, record, trust):
    note = parse_note(renoted(world, record, "clinic", "health", "north").note)
    forged = [
        cosign(note.checkpoint, name, SoftKey(name).public, BlockTime(world.kit.now), SoftKey(name).sign)
        for name in ("shield", "south", "east", "west")
    ]
    assert failed(judge(replace(record, note=note.with_lines(forged).to_bytes()), trust)) == {"cosigners", "stranger"}


def test_a_checkpoint_without_its_sequencer_does_not_convince(world, record, trust):
    note = parse_note(record.note)
    assert failed(judge(replace(record, note=Note(note.checkpoint, note.lines[1:]).to_bytes()), trust)) == {"cosigners"}


def test_a_made_up_history_does_not_convince(world, record, trust):
    """The sequencer alone makes another root for the same size, and reuses the members' lines."""
    note = parse_note(record.note)
    false = replace(note.checkpoint, root=salt("another root"))
    operator = world.kit.key("health", Purpose.SEQUENCE)
    forged = Note(false, (sign_note(false, operator.public, operator.sign), *note.lines[1:]))
    evidence = replace(record, note=forged.to_bytes())
    assert "cosigners" in failed(judge(evidence, trust))
    assert forks(record, evidence)  # and two files side by side show it
    assert not forks(record, record)


def test_evidence_of_another_ledger_does_not_convince(record):
    other = World()
    other.kit.genesis = replace(other.kit.genesis, name="Another")
    found = judge(record, load_trust(other.trust()))
    assert {"ledger", "checkpoint", "cosigners"} <= failed(found)


def test_a_refused_transaction_does_not_pass_for_an_accepted_one(world, trust):
    batch = build_batch([], salt("x"))
    committed = world.commit(AnchorBatch(10**9 * 9, batch.root), "north")
    assert committed[1].code == TooEarly.code
    honest = world.evidence(committed, world.kit.key("north"), RecordStatement(salt("s"), _any_proof(), STORED))
    assert "accepted" in failed(judge(honest, trust))
    assert "logged" in failed(judge(replace(honest, code=0), trust))


def _any_proof():
    fp = source_fingerprint(b"", salt("any"))
    return build_batch([fp], salt("any")).prove(fp)


@pytest.mark.parametrize("change", ["height", "time", "index"])
def test_an_outcome_told_otherwise_is_not_in_the_log(record, trust, change):
    found = judge(replace(record, **{change: getattr(record, change) + 1}), trust)
    assert "logged" in failed(found)


def test_a_signature_swapped_under_the_same_body_shows(world, record, trust):
    """The digest covers the body alone, so the log would not tell."""
    mallory = SoftKey("mallory")
    evidence = Evidence.of(
        world.kit.prove(record.transaction.body_bytes, by=mallory),
        height=record.height,
        time=record.time,
        code=0,
        author=(mallory.algorithm, mallory.public),
        index=record.index,
        path=record.path,
        note=record.note,
        blocks=record.blocks,
        statement=record.statement,
    )
    assert failed(judge(evidence, trust)) == {"signature"}


def test_a_block_of_another_time_cannot_stretch_the_bracket(record, trust):
    blocks = tuple(replace(block, time=block.time - 10**9) for block in record.blocks)
    assert "block" in failed(judge(replace(record, blocks=blocks), trust))


def test_without_the_recent_block_the_earliest_time_is_not_claimed(record, trust):
    found = judge(replace(record, blocks=record.blocks[1:]), trust)
    assert found.convinces
    assert found.signed_after is None
    assert states(found)["recent"] is State.NOT_CHECKED


def test_a_fact_that_the_state_did_not_hold_spoils_the_file(world, release, trust):
    block = release.blocks[1]
    lie = replace(world.fact(b"authority"), key=b"consent/" + b"\x11" * 16)
    found = judge(replace(release, blocks=(release.blocks[0], replace(block, facts=(lie,)))), trust)
    assert "fact" in failed(found)


def test_an_opening_of_another_value_shows(release, trust):
    salt_of_n, _ = release.statement[5]
    lie = {**release.statement, 5: (salt_of_n, 8)}
    assert failed(judge(replace(release, statement=lie), trust)) == {"opening", "openings"}
    nowhere = {**release.statement, 1: (salt_of_n, 8)}  # the tag commits to nothing
    assert "opening" in failed(judge(replace(release, statement=nowhere), trust))


def test_a_request_of_yesterdays_certificate_does_not_convince(world, trust):
    evidence = world.release(world.request(starts=DAY - timedelta(days=1)))
    assert failed(judge(evidence, trust)) == {"request"}


def test_a_request_certified_by_another_members_ca_does_not_convince(world, trust):
    assert failed(judge(world.release(world.request(by="shield")), trust)) == {"request"}


def test_an_insurers_clinician_does_not_convince(world, trust):
    assert failed(judge(world.release(world.request("clinician", "shield")), trust)) == {"request"}


def test_a_request_signed_by_another_key_does_not_convince(world, trust):
    request = world.request()
    forged = replace(request, certificate=staff_certificate("south", "nurse"))
    assert failed(judge(world.release(forged), trust)) == {"request"}


def test_a_key_that_nobody_is_shown_to_hold_is_not_credited(world, record):
    """A key added after genesis: the file must show its registration."""
    later = World()
    fresh = SoftKey("north later")
    later.kit.accept(fresh.add(later.kit.ledger, "north", Purpose.OPERATE), by="north")
    later.catch_up()
    trust = load_trust(later.trust())
    statement = RecordStatement(salt("s"), _any_proof(), b"")
    root = build_batch([source_fingerprint(b"", salt("any"))], salt("any")).root
    statement = replace(statement, salt=salt("any"))
    committed = later.commit(AnchorBatch(later.kit.tick(), root), fresh, [key_key(fresh.id)])
    evidence = later.evidence(committed, fresh, statement)
    assert judge(evidence, trust).convinces
    hidden = replace(evidence, blocks=tuple(replace(block, facts=()) for block in evidence.blocks))
    found = judge(hidden, trust)
    assert not found.convinces
    assert states(found)["author"] is State.NOT_CHECKED


@pytest.mark.parametrize(
    "change",
    [
        lambda t: b"",
        lambda t: t[:-1],
        lambda t: t + b"\n",
        lambda t: b"\xef\xbb\xbf" + t,
        lambda t: t.replace(b"\n", b"\r\n"),
        lambda t: t.replace(b"index ", b"index 0", 1),
        lambda t: t.replace(b"proof@v1", b"proof@v2"),
        lambda t: t.replace(b"extra ", b"extra  ", 1),
        lambda t: t.replace(b"\n\n", b"\n", 1),
        lambda t: t.replace(b"index", b"extra AAAA\nindex", 1),
    ],
)
def test_another_form_is_unreadable_or_does_not_convince(record, trust, change):
    assert not _convinces(change(record.to_bytes()), trust)


def test_the_fields_of_a_release_have_labels_of_their_own(release, trust):
    """An opening of one field does not open another that committed to the same value."""
    names = {each.number: each.name for each in Release.FIELDS}
    swapped = {**release.statement, 3: release.statement[4]}
    assert names[3] != names[4]
    assert "opening" in failed(judge(replace(release, statement=swapped), trust))
