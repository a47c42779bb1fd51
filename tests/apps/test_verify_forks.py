"""Two roots for one size: `commonward verify` shows them, names who signed both, and writes the proof."""

import json
from dataclasses import replace

import pytest

from commonward.apps.verify import main
from commonward.ledger.checkpoint import Note, parse_note, sign_note
from commonward.ledger.ids import Purpose
from commonward.ledger.members import Equivocation, NoConflict
from commonward.records.misbehaviour import HEADER, ProofUnreadable, parse_proofs, write_proofs
from tests.evidence_world import World, salt, world_genesis
from tests.ledgerkit import Kit, SoftKey


class Fork:
    """North's evidence, and a checkpoint of the same size with another root, signed by some."""

    def __init__(self, root) -> None:
        self.world = World()
        self.evidence = self.world.record()
        self.head = parse_note(self.evidence.note).checkpoint
        self.false = replace(self.head, root=salt("false"))
        self.file, self.trust, self.proof = root / "e.cwe", root / "t.trust", root / "proof"
        self.file.write_bytes(self.evidence.to_bytes())
        self.trust.write_bytes(self.world.trust())

    def shown(self, name, *lines):
        """A checkpoint as a member's node shows it."""
        path = self.file.parent / name
        path.write_bytes(Note(self.false, lines).to_bytes())
        return path

    def sequenced(self):
        operator = self.world.kit.key("health", Purpose.SEQUENCE)
        return sign_note(self.false, operator.public, operator.sign)


@pytest.fixture(scope="module")
def fork(tmp_path_factory):
    return Fork(tmp_path_factory.mktemp("fork"))


def run(capsys, *argv):
    code = main([str(each) for each in argv])
    return code, capsys.readouterr().out


def test_a_checkpoint_that_a_sequencer_signed_twice_names_its_operator_alone(fork, capsys):
    other = fork.shown("sequenced", fork.sequenced())
    code, said = run(capsys, fork.file, "--against", other, "--proof", fork.proof)
    assert code == 1
    assert "PROOF OF MISBEHAVIOUR" in said and "who signed both: health (sequencer)." in said
    assert fork.head.root.hex() in said and fork.false.root.hex() in said


def test_a_cosigner_of_two_roots_is_named_though_its_second_checkpoint_has_no_quorum(fork, capsys):
    other = fork.shown("cosigned", fork.world.cosigned(fork.false, "south"), fork.world.cosigned(fork.false, "north"))
    code, said = run(capsys, fork.file, "--against", other)
    assert code == 1
    assert "who signed both: north." in said, "south did not sign the true one"


def test_the_proof_is_what_the_ledger_takes(fork, capsys):
    """Written from two files by an auditor, submitted by any member: the liar's weight is gone."""
    other = fork.shown("both", fork.sequenced(), fork.world.cosigned(fork.false, "north"))
    assert run(capsys, fork.file, "--against", other, "--proof", fork.proof)[0] == 1
    proofs = parse_proofs(fork.proof.read_bytes())
    assert [(each.member, each.sequencer) for each in proofs] == [("health", True), ("north", False)]
    kit = Kit(genesis=fork.world.kit.genesis)
    for each in proofs:
        kit.accept(Equivocation(each.key, each.first, each.second), by="south")
        assert kit.machine.view().roll.must(each.member).weight == 0


def test_a_court_checks_the_proof_itself_offline(fork, capsys):
    other = fork.shown("again", fork.sequenced(), fork.world.cosigned(fork.false, "north"))
    run(capsys, fork.file, "--against", other, "--proof", fork.proof)
    code, said = run(capsys, fork.proof, "--trust", fork.trust)
    assert code == 0
    assert "=> This proves misbehaviour of health, north." in said
    assert f"signed two roots for {fork.head.size} entries" in said


@pytest.mark.parametrize("turned", [(b"signer north", b"signer south"), (b"cosigner", b"sequencer")])
def test_a_proof_that_names_somebody_else_proves_nothing_against_that_member(fork, capsys, turned, tmp_path):
    other = fork.shown("one", fork.world.cosigned(fork.false, "north"))
    run(capsys, fork.file, "--against", other, "--proof", fork.proof)
    (tmp_path / "p").write_bytes(fork.proof.read_bytes().replace(*turned))
    code, said = run(capsys, tmp_path / "p", "--trust", fork.trust)
    assert "misbehaviour of south" not in said
    assert (code, "misbehaviour of north" in said) == ((0, True) if turned[1] == b"signer south" else (1, False))


def test_a_made_up_checkpoint_speaks_against_nobody(fork, capsys):
    """Anybody can write two roots; without a member's signature under both, the good file goes on convincing."""
    line = fork.world.cosigned(fork.head, "north")  # north's signature of the true root, under the false one
    code, said = run(capsys, fork.file, "--against", fork.shown("made", line), "--proof", fork.file.parent / "none")
    assert code == 0
    assert "at least one is made up" in said and "MISBEHAVIOUR" not in said
    assert "No proof was written" in said and not (fork.file.parent / "none").exists()


def test_what_agrees_is_said_to_agree_and_what_cannot_be_compared_too(fork, capsys):
    same, longer = fork.file.parent / "same", fork.file.parent / "longer"
    same.write_bytes(fork.evidence.note)
    fork.world.pad(1)
    longer.write_bytes(fork.world.note())
    code, said = run(capsys, fork.file, "--against", same, "--against", longer)
    assert code == 0
    assert "rest on one history" in said and "was not checked" in said


def test_a_trust_file_of_another_history_is_held_against_evidence_too(capsys, tmp_path):
    """Two members' trust files may hide two histories: their steps rest on checkpoints as well."""

    def told(n):
        world = World()
        evidence = world.record(b'{"n":%d}' % n)
        step = world.authority_step(SoftKey("south fresh").add(world.kit.ledger, "south", Purpose.COSIGN), "south")
        return replace(evidence, note=step.note), world.trust(step)

    (evidence, trust), (_, other) = told(1), told(2)
    for name, data in (("e", evidence.to_bytes()), ("t.trust", trust), ("other", other), ("own", trust)):
        (tmp_path / name).write_bytes(data)
    said = run(capsys, tmp_path / "e", "--against", tmp_path / "own")[1]
    assert "rest on one history" in said
    code, said = run(capsys, tmp_path / "e", "--against", tmp_path / "other")
    assert code == 1
    assert "who signed both: clinic, health, health (sequencer), north, shield, south" in said


def test_a_checkpoint_of_another_ledger_is_no_fork(fork, capsys):
    twin = World(Kit(genesis=world_genesis(tables={"other": salt("t")})))
    other = fork.file.parent / "foreign"
    other.write_bytes(twin.note(size=1))
    code, said = run(capsys, fork.file, "--against", other)
    assert code == 0 and "MISBEHAVIOUR" not in said


def test_what_is_no_checkpoint_cannot_be_read(fork, capsys):
    junk = fork.file.parent / "junk"
    junk.write_bytes(b"hello")
    for path in (junk, fork.file.parent / "nothing"):
        code, said = run(capsys, fork.file, "--against", path)
        assert code == 2 and "cannot be read" in said


def test_a_machine_reads_who_signed_both(fork, capsys):
    other = fork.shown("json", fork.sequenced())
    code, said = run(capsys, fork.file, "--against", other, "--json")
    assert code == 1
    found = json.loads(said.splitlines()[1])
    assert [(each["member"], each["role"]) for each in found["signed_both"]] == [("health", "sequencer")]


@pytest.mark.parametrize(
    "bend",
    [
        lambda text: b"",
        lambda text: text.replace(HEADER.encode(), b"commonward/equivocation@v2"),
        lambda text: text[:-1],
        lambda text: text.replace(b"key ", b"key zz"),
        lambda text: text.replace(b"cosigner", b"judge"),
        lambda text: text + b"\n\n",
        lambda text: b"\xff" + text,
        lambda text: text * 2000,
    ],
)
def test_what_is_no_proof_is_unreadable(fork, capsys, bend):
    run(
        capsys, fork.file, "--against", fork.shown("p", fork.world.cosigned(fork.false, "north")), "--proof", fork.proof
    )
    whole = fork.proof.read_bytes()
    assert write_proofs(parse_proofs(whole)) == whole
    with pytest.raises(ProofUnreadable):
        parse_proofs(bend(whole))


def test_a_proof_of_one_root_twice_is_refused_by_the_ledger_and_by_verify(fork, capsys, tmp_path):
    other = fork.shown("q", fork.world.cosigned(fork.false, "north"))
    run(capsys, fork.file, "--against", other, "--proof", fork.proof)
    proof = parse_proofs(fork.proof.read_bytes())[0]
    twice = replace(proof, second=proof.first)
    Kit(genesis=fork.world.kit.genesis).refuse(
        NoConflict, Equivocation(twice.key, twice.first, twice.second), by="south"
    )
    (tmp_path / "p").write_bytes(write_proofs((twice,)))
    code, said = run(capsys, tmp_path / "p", "--trust", fork.trust)
    assert code == 1 and "does not prove" in said
