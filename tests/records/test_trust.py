"""Trust files: authority passes from genesis on, each change vouched for by those who held it before."""

from dataclasses import replace

import pytest

from commonward.ledger.checkpoint import Authority, Note, known_lines, parse_note
from commonward.ledger.genesis import SignedGenesis
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members import AUTHORITY_KEY, RevokeKey
from commonward.ledger.merkle.map_proof import MapProof
from commonward.records.evidence import Evidence
from commonward.records.findings import State
from commonward.records.judging import judge
from commonward.records.trust import (
    AuthorityStep,
    TrustFile,
    TrustRefused,
    TrustUnreadable,
    authority_changes,
    fingerprint_words,
    genesis_authority,
    load_trust,
)
from tests.evidence_world import ALL, World, ca_certificate, salt, world_genesis
from tests.ledgerkit import Kit, SoftKey


class Changed:
    """South replaces its cosigning key; a record was anchored before, and one after."""

    def __init__(self) -> None:
        self.world = World()
        kit = self.world.kit
        self.before = self.world.record(b'{"n":1}')
        self.fresh = SoftKey("south fresh")
        self.old = kit.key("south", Purpose.COSIGN)
        self.added = self.world.authority_step(self.fresh.add(kit.ledger, "south", Purpose.COSIGN), "south")
        self.revoked = self.world.authority_step(RevokeKey(self.old.id, salt("why")), "south")
        before = kit.soft
        kit.soft = lambda m, p: self.fresh if (m, p) == ("south", Purpose.COSIGN) else before(m, p)
        self.after = self.world.record(b'{"n":2}')
        size = kit.machine.log.size
        self.after = replace(self.after, note=self.world.note(("clinic", "health", "north", "south"), size))
        self.steps = (self.added, self.revoked)


@pytest.fixture(scope="module")
def changed() -> Changed:
    return Changed()


def test_genesis_alone_is_enough_before_any_change(changed):
    assert judge(changed.before, load_trust(changed.world.trust())).convinces


def test_evidence_after_a_change_needs_the_steps(changed):
    assert not judge(changed.after, load_trust(changed.world.trust())).convinces
    trust = load_trust(changed.world.trust(*changed.steps))
    assert judge(changed.after, trust).convinces
    assert judge(changed.before, trust).convinces  # and the old evidence still holds


def test_authority_that_was_replaced_does_not_sign_for_what_came_after(changed):
    """South's old key, stolen after its end, cosigns a new checkpoint."""
    trust = load_trust(changed.world.trust(*changed.steps))
    kit = changed.world.kit
    now, kit.soft = kit.soft, lambda m, p: changed.old if (m, p) == ("south", Purpose.COSIGN) else now(m, p)
    try:
        note = changed.world.note(("clinic", "health", "north", "south"))
    finally:
        kit.soft = now
    found = judge(replace(changed.after, note=note), trust)
    assert {each.rule for each in found.findings if each.state is State.FAILED} == {"cosigners", "replaced"}


def test_a_trust_file_reads_back_as_it_was_written(changed):
    file = changed.world.trust_file(*changed.steps)
    assert TrustFile.parse(file.to_bytes()) == file


def test_the_first_authority_follows_from_genesis():
    kit = Kit(genesis=world_genesis())
    assert genesis_authority(kit.genesis).to_bytes() == kit.machine.get(AUTHORITY_KEY)


def test_an_authority_record_that_the_state_did_not_hold_is_refused(changed):
    real = Authority.parse(changed.added.authority)
    usurped = replace(
        real, cosigners=tuple(replace(c, weight=100 if c.member == "south" else 1) for c in real.cosigners)
    )
    for step in (
        replace(changed.added, authority=usurped.to_bytes()),
        replace(changed.added, proof=MapProof(())),
        replace(changed.added, leaf=changed.revoked.leaf),
        replace(changed.added, index=changed.added.index - 1),
        replace(changed.added, path=changed.added.path[1:]),
        replace(changed.added, note=changed.revoked.note),
    ):
        with pytest.raises(TrustRefused, match="step 1"):
            load_trust(changed.world.trust(step))


def test_a_change_vouched_for_by_too_few_is_refused(changed):
    size = changed.added.index + 1
    note = changed.world.note(("clinic", "health", "north"), size)
    with pytest.raises(TrustRefused, match="two thirds"):
        load_trust(changed.world.trust(replace(changed.added, note=note)))


def test_a_change_cosigned_with_the_keys_it_brings_itself_is_refused(changed):
    """South's new key may not vouch for its own introduction."""
    size = changed.added.index + 1
    note = changed.world.note(("clinic", "health", "north", "south"), size)  # the kit signs with the new key now
    with pytest.raises(TrustRefused, match="two thirds"):
        load_trust(changed.world.trust(replace(changed.added, note=note)))


def test_lines_of_strangers_are_left_out_before_a_step_is_kept(changed):
    size = changed.added.index + 1
    note = changed.world.note(ALL, size)  # south signs with the new key, which the authority before does not know
    with pytest.raises(TrustRefused, match="nobody"):
        load_trust(changed.world.trust(replace(changed.added, note=note)))
    trimmed = known_lines(parse_note(note), genesis_authority(changed.world.kit.genesis)).to_bytes()
    assert load_trust(changed.world.trust(replace(changed.added, note=trimmed)))


def test_steps_are_taken_in_order_and_once(changed):
    for steps in ((changed.revoked, changed.added), (changed.added, changed.added)):
        with pytest.raises(TrustRefused, match="step 2"):
            load_trust(changed.world.trust(*steps))


def test_a_genesis_that_a_member_did_not_sign_is_refused(changed):
    genesis = SignedGenesis.parse(changed.world.trust_file().genesis)
    unsigned = replace(genesis, signatures={**genesis.signatures, MemberId("south"): bytes(64)})
    with pytest.raises(TrustRefused, match="south"):
        load_trust(TrustFile(unsigned.to_bytes()).to_bytes())


def test_a_ca_certificate_that_no_authority_names_is_refused(changed):
    with pytest.raises(TrustRefused, match="CA certificates"):
        load_trust(changed.world.trust_file(certificates=[ca_certificate("stranger")]).to_bytes())


def test_every_changed_byte_of_a_trust_file_shows(changed):
    data = changed.world.trust(*changed.steps)
    evidence = Evidence.parse(changed.after.to_bytes())
    for at in range(0, len(data), max(1, len(data) // 300)):
        altered = data[:at] + bytes((data[at] ^ 0x02,)) + data[at + 1 :]
        try:
            assert not judge(evidence, load_trust(altered)).convinces, f"byte {at} may be changed unseen"
        except (TrustUnreadable, TrustRefused):
            continue


@pytest.mark.parametrize(
    "data",
    [b"", b"commonward/trust@v1\n", b"commonward/trust@v1\nAAAA\n", b"commonward/trust@v2\nAAAA\n", b"\xff" * 90],
)
def test_what_is_no_trust_file_is_unreadable(data):
    with pytest.raises(TrustUnreadable):
        load_trust(data)


def test_lines_of_another_length_are_unreadable(changed):
    data = changed.world.trust()
    with pytest.raises(TrustUnreadable):
        load_trust(data.replace(b"\n", b"", 2).replace(b"v1", b"v1\n", 1))
    with pytest.raises(TrustUnreadable):
        load_trust(data[:-1])


def test_who_keeps_a_trust_file_takes_only_the_steps_it_lacks(changed):
    known = changed.world.trust_file(changed.added)
    assert list(authority_changes(changed.steps, known)) == [changed.revoked]
    assert AuthorityStep.from_value(changed.added.to_value()) == changed.added


def test_a_pilot_is_said_to_be_one():
    world = World(Kit(genesis=world_genesis(pilot=True)))
    assert judge(world.record(b"{}"), load_trust(world.trust())).pilot


def test_two_members_that_heard_other_cosignatures_give_trust_files_of_one_fingerprint(changed):
    def heard(members):
        lines = tuple(line for line in parse_note(changed.added.note).lines if line.name in members)
        return replace(changed.added, note=Note(parse_note(changed.added.note).checkpoint, lines).to_bytes())

    one = changed.world.trust(heard(("clinic", "health", "north", "south")), changed.revoked)
    other = changed.world.trust(heard(("clinic", "north", "shield", "south")), changed.revoked)
    assert one != other
    assert load_trust(one).fingerprint == load_trust(other).fingerprint


def test_another_authority_gives_a_trust_file_another_fingerprint(changed):
    """Else a member could leave out the step that revoked a key, and two people who compare would not notice."""
    whole = load_trust(changed.world.trust(*changed.steps)).fingerprint
    without = load_trust(changed.world.trust(changed.added)).fingerprint
    other_genesis = World(Kit(genesis=world_genesis(tables={"other": salt("t")})))
    found = {
        whole,
        without,
        load_trust(changed.world.trust()).fingerprint,
        load_trust(other_genesis.trust()).fingerprint,
    }
    assert len(found) == 4


def test_people_can_compare_a_fingerprint_aloud():
    assert fingerprint_words(bytes(range(32))).startswith("0001 0203 0405")
    assert len(fingerprint_words(bytes(32)).split()) == 16
