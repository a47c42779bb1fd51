"""`commonward verify` refuses too little weight and signers out of their term, and says what each engine rests on."""

from dataclasses import replace
from pathlib import Path

import pytest

from commonward.apps.verify import main, verify_file
from commonward.ledger.checkpoint import Note, parse_note, sign_note
from commonward.ledger.ids import MemberId, Purpose
from commonward.ledger.members import RevokeKey, Suspend
from commonward.records.evidence import Evidence
from tests.evidence_world import World, salt, world_genesis
from tests.ledgerkit import Kit, SoftKey

FOUR = ("clinic", "health", "north", "south")


def renoted(world: World, members: tuple[str, ...], at: int | None = None) -> Evidence:
    evidence = world.record()
    return replace(evidence, note=world.note(members, parse_note(evidence.note).checkpoint.size, at))


def said(capsys: pytest.CaptureFixture[str], folder: Path, evidence: Evidence, trust: bytes) -> tuple[int, str]:
    (folder / "e").write_bytes(evidence.to_bytes())
    (folder / "t.trust").write_bytes(trust)
    return main([str(folder / "e")]), capsys.readouterr().out


def test_too_little_weight_is_refused(capsys, tmp_path):
    world = World()
    code, text = said(capsys, tmp_path, renoted(world, FOUR[:3]), world.trust())
    assert code == 1
    assert "expected cosignatures of more than two thirds of weight" in text
    assert "before 20" not in text


def test_a_cosigner_after_its_keys_term_is_refused_and_its_term_is_said(capsys, tmp_path):
    """A key that was stolen after its end signs with the date of the theft."""
    world = World()
    key = next(k for m in world.kit.genesis.members if m.id == "south" for k in m.keys if k.purpose == Purpose.COSIGN)
    evidence = renoted(world, FOUR[:3])
    note = parse_note(evidence.note)
    late = Note(note.checkpoint, (*note.lines, world.cosigned(note.checkpoint, "south", key.ends + 1_000)))
    code, text = said(capsys, tmp_path, replace(evidence, note=late.to_bytes()), world.trust())
    assert code == 1
    assert "south signed that checkpoint at" in text and "outside its term" in text

    in_time = Note(note.checkpoint, (*note.lines, world.cosigned(note.checkpoint, "south", key.ends - 2_000)))
    assert said(capsys, tmp_path, replace(evidence, note=in_time.to_bytes()), world.trust())[0] == 0


def test_a_line_outside_its_term_is_refused_even_where_the_others_suffice(capsys, tmp_path):
    world = World()
    evidence = renoted(world, FOUR)
    note = parse_note(evidence.note)
    early = Note(note.checkpoint, (*note.lines, world.cosigned(note.checkpoint, "shield", 1_000)))
    code, text = said(capsys, tmp_path, replace(evidence, note=early.to_bytes()), world.trust())
    assert code == 1
    assert "shield signed that checkpoint at 1970-01-01 00:00:01 UTC" in text


def test_a_member_that_was_suspended_before_counts_nothing_and_that_is_said(capsys, tmp_path):
    world = World()
    step = world.decided_step(Suspend(MemberId("south")))
    evidence = renoted(world, ("clinic", "health", "south"))
    code, text = said(capsys, tmp_path, evidence, world.trust(step))
    assert code == 1
    assert "south signed that checkpoint, but had no weight then" in text
    without = renoted(world, ("clinic", "health", "north"))
    assert said(capsys, tmp_path, without, world.trust(step))[0] == 0, "three of the four that are left are enough"


def test_a_replaced_key_is_refused_by_the_name_of_its_member(capsys, tmp_path):
    world = World()
    fresh, old = SoftKey("south fresh"), world.kit.key("south", Purpose.COSIGN)
    steps = [world.authority_step(fresh.add(world.kit.ledger, "south", Purpose.COSIGN), "south")]
    steps.append(world.authority_step(RevokeKey(old.id, salt("why")), "south"))
    code, text = said(capsys, tmp_path, renoted(world, FOUR), world.trust(*steps))
    assert code == 1
    assert "south signed that checkpoint with a key that the authority in force for it does not name" in text


def test_a_signature_that_does_not_hold_is_blamed_on_nobody(capsys, tmp_path):
    """Whoever writes south's name under a note may not make south look as if it had signed out of its term."""
    world = World()
    evidence = renoted(world, FOUR[:3])
    note = parse_note(evidence.note)
    good = world.cosigned(note.checkpoint, "south", 1_000)
    forged = replace(good, signature=good.signature[:8] + bytes(64))
    bad = Note(note.checkpoint, (*note.lines, forged))
    code, text = said(capsys, tmp_path, replace(evidence, note=bad.to_bytes()), world.trust())
    assert code == 1
    assert "A signature under the name south is by no key" in text and "outside its term" not in text


def test_a_time_that_no_calendar_has_is_said_in_milliseconds(capsys, tmp_path):
    world = World()
    evidence = renoted(world, FOUR[:3])
    note = parse_note(evidence.note)
    far = Note(note.checkpoint, (*note.lines, world.cosigned(note.checkpoint, "south", (1 << 62) * 1000)))
    code, text = said(capsys, tmp_path, replace(evidence, note=far.to_bytes()), world.trust())
    assert code == 1 and "ms after 1970" in text


# ---------------------------------------------------------------------------------------------------------- engines


@pytest.fixture(scope="module")
def agreed() -> World:
    return World(Kit(genesis=world_genesis(consensus=True)))


def test_under_consensus_no_sequencer_signs_and_none_is_claimed(capsys, tmp_path, agreed):
    code, text = said(capsys, tmp_path, agreed.record(), agreed.trust())
    assert code == 0
    assert "nobody orders alone. It holds as long as less than a third of the weight is false" in text
    assert "sequencer" not in text and "orders this ledger" not in text


def test_under_consensus_a_sequencers_line_is_a_strangers(capsys, tmp_path, agreed):
    evidence = agreed.record()
    note = parse_note(evidence.note)
    operator = agreed.kit.key("health", Purpose.SEQUENCE)
    posing = Note(note.checkpoint, (sign_note(note.checkpoint, operator.public, operator.sign), *note.lines))
    code, text = said(capsys, tmp_path, replace(evidence, note=posing.to_bytes()), agreed.trust())
    assert code == 1 and "is by no key that the trust file knows" in text


def test_under_an_operator_its_name_and_what_it_could_hide_are_said(capsys, tmp_path):
    world = World()
    code, text = said(capsys, tmp_path, world.record(), world.trust())
    assert code == 0
    assert "health orders this ledger" in text and "What health left out or delayed does not show here" in text


def test_a_pilot_promises_no_third(capsys, tmp_path):
    world = World(Kit(genesis=world_genesis(pilot=True)))
    code, text = said(capsys, tmp_path, world.record(), world.trust())
    assert code == 0 and "one party could rewrite" in text and "less than a third" not in text


def test_chinese_says_what_the_engine_asks_to_trust(agreed):
    report = verify_file(agreed.record().to_bytes(), agreed.trust(), lang="zh")
    assert any("没有任何一方单独排序" in note for note in report.notes)
