"""`commonward verify`: says each step, says no more than was checked, and its exit status can be relied on."""

import ast
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from commonward.apps.verify import main, verify_file
from commonward.apps.verify_text import CATALOGUES
from commonward.apps.verify_words import WORDS
from commonward.ledger.checkpoint import Note, parse_note, sign_note
from commonward.ledger.ids import Purpose
from commonward.records import judging, judging_history
from commonward.records.evidence import RecordStatement
from tests.evidence_world import World, salt, world_genesis
from tests.ledgerkit import Kit

STORED = b'{"resourceType":"Observation","value":7.40}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as an auditor gets it: evidence, the record, and a trust file."""
    root = tmp_path_factory.mktemp("auditor")
    world = World()
    evidence = world.record(STORED)
    (root / "ledger.trust").write_bytes(world.trust())
    (root / "record.tlog-proof").write_bytes(evidence.to_bytes())
    assert isinstance(evidence.statement, RecordStatement)
    bare = replace(evidence, statement=replace(evidence.statement, stored=None))
    (root / "bare.tlog-proof").write_bytes(bare.to_bytes())
    (root / "release.tlog-proof").write_bytes(world.release().to_bytes())
    (root / "record.json").write_bytes(STORED)
    (root / "altered.json").write_bytes(STORED.replace(b"7.40", b"7.04"))
    return root


def run(capsys, *argv: object) -> tuple[int, str]:
    code = main([str(each) for each in argv])
    return code, capsys.readouterr().out


def test_a_good_file_convinces_with_the_trust_file_found_beside_it(folder, capsys):
    code, said = run(capsys, folder / "record.tlog-proof")
    assert code == 0
    assert "unchanged since 2026-" in said
    assert "Genesis fingerprint: " in said
    assert "Step 1 [passed]" in said
    assert "FAILED" not in said
    assert "pilot" not in said


def test_an_altered_record_does_not_convince(folder, capsys):
    assert run(capsys, folder / "bare.tlog-proof", "--record", folder / "record.json")[0] == 0
    code, said = run(capsys, folder / "bare.tlog-proof", "--record", folder / "altered.json")
    assert code == 1
    assert "unchanged" not in said
    assert "does NOT convince" in said


def test_without_the_record_it_asks_for_it(folder, capsys):
    code, said = run(capsys, folder / "bare.tlog-proof")
    assert code == 1
    assert "[not checked] No record was given" in said


def test_a_release_says_who_asked_and_what_it_could_not_check(folder, capsys):
    code, said = run(capsys, folder / "release.tlog-proof")
    assert code == 0
    assert "signed by a clinician of south" in said
    assert "[not checked] Whether a consent was open" in said
    assert "unchanged" not in said


@pytest.mark.parametrize("content", [b"", b"hello", b"c2sp.org/tlog-proof@v1\nindex 0\n\n", bytes(range(256))])
def test_what_cannot_be_read_says_why(folder, capsys, tmp_path, content):
    path = tmp_path / "junk.tlog-proof"
    path.write_bytes(content)
    code, said = run(capsys, path, "--trust", folder / "ledger.trust")
    assert code == 2
    assert "cannot be read: expected" in said


def test_a_missing_file_or_trust_file_cannot_be_read(folder, capsys, tmp_path):
    assert run(capsys, folder / "nothing", "--trust", folder / "ledger.trust")[0] == 2
    lonely = tmp_path / "record.tlog-proof"
    lonely.write_bytes((folder / "record.tlog-proof").read_bytes())
    code, said = run(capsys, lonely)
    assert code == 2
    assert "--trust" in said
    (tmp_path / "a.trust").write_bytes(b"not one")
    assert run(capsys, lonely)[0] == 2


def test_the_trust_file_of_another_ledger_does_not_convince(folder, capsys, tmp_path):
    other = World(Kit(genesis=world_genesis(tables={"other": salt("t")})))
    (tmp_path / "other.trust").write_bytes(other.trust())
    code, said = run(capsys, folder / "record.tlog-proof", "--trust", tmp_path / "other.trust")
    assert code == 1
    assert "another ledger" in said


def test_a_machine_reads_one_object_a_file(folder, capsys):
    code, said = run(capsys, folder / "record.tlog-proof", folder / "bare.tlog-proof", "--json")
    first, second = map(json.loads, said.splitlines())
    assert code == 1
    assert (first["exit"], first["convinces"], second["exit"]) == (0, True, 1)
    assert [step["number"] for step in first["steps"]] == list(range(1, len(first["steps"]) + 1))
    assert {step["state"] for step in first["steps"]} == {"passed"}


def test_a_pilot_says_that_one_party_could_rewrite(capsys, tmp_path):
    world = World(Kit(genesis=world_genesis(pilot=True)))
    (tmp_path / "p.trust").write_bytes(world.trust())
    (tmp_path / "r").write_bytes(world.record(STORED).to_bytes())
    code, said = run(capsys, tmp_path / "r")
    assert code == 0
    assert "one party could rewrite" in said


def test_two_histories_of_one_length_are_a_fork_that_names_who_signed_both(capsys, tmp_path):
    """More than two thirds would have to lie; if they do, two files side by side tell who."""
    world, twin = World(), World()
    (tmp_path / "t.trust").write_bytes(world.trust())
    first, second = world.record(b'{"n":1}'), twin.record(b'{"n":2}')
    assert parse_note(first.note).checkpoint.size == parse_note(second.note).checkpoint.size
    (tmp_path / "a").write_bytes(first.to_bytes())
    (tmp_path / "b").write_bytes(second.to_bytes())
    code, said = run(capsys, tmp_path / "a", tmp_path / "b", "--trust", tmp_path / "t.trust")
    assert code == 1
    assert "two histories of one length" in said
    assert "clinic, health, health (sequencer), north, shield" in said


def test_a_fork_of_the_sequencer_alone_names_nobody_else(tmp_path):
    world = World()
    evidence = world.record(STORED)
    note = parse_note(evidence.note)
    false = replace(note.checkpoint, root=salt("false"))
    operator = world.kit.key("health", Purpose.SEQUENCE)
    forged = Note(false, (sign_note(false, operator.public, operator.sign),))
    report = verify_file(replace(evidence, note=forged.to_bytes()).to_bytes(), world.trust())
    assert report.exit_code == 1
    assert "two thirds" in " ".join(step.text for step in report.steps)


def test_chinese_says_the_same_steps(folder, capsys):
    english = verify_file((folder / "record.tlog-proof").read_bytes(), (folder / "ledger.trust").read_bytes())
    chinese = verify_file(
        (folder / "record.tlog-proof").read_bytes(), (folder / "ledger.trust").read_bytes(), lang="zh"
    )
    assert [(s.number, s.rule, s.state) for s in english.steps] == [(s.number, s.rule, s.state) for s in chinese.steps]
    assert "未被改动" in chinese.verdict
    code, said = run(capsys, folder / "record.tlog-proof", "--lang", "zh")
    assert code == 0
    assert "第 1 步 [通过]" in said


def test_both_languages_have_a_sentence_for_every_rule():
    assert CATALOGUES["en"].keys() == CATALOGUES["zh"].keys()
    assert WORDS["en"].keys() == WORDS["zh"].keys()
    sources = [ast.parse(inspect.getsource(each)) for each in (judging, judging_history)]
    rules = {
        call.args[0].value
        for source in sources
        for call in ast.walk(source)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "find"
        and call.args
        and isinstance(call.args[0], ast.Constant)
    }
    assert rules == CATALOGUES["en"].keys()


def test_text_of_others_cannot_move_the_terminals_cursor(folder):
    evidence = (folder / "record.tlog-proof").read_bytes().replace(b"c2sp.org", b"\x1b[2Jsp.org", 1)
    report = verify_file(evidence, (folder / "ledger.trust").read_bytes())
    assert "\x1b" not in report.verdict


def test_it_runs_by_itself_with_neither_workflows_nor_adapters(folder):
    program = (
        "import sys; from commonward.apps.verify import main; code = main(sys.argv[1:]); "
        "loaded = [m for m in sys.modules if m.startswith(('commonward.workflows', 'commonward.adapters'))]; "
        "assert not loaded, loaded; "
        "assert not {'aiohttp', 'fastapi', 'httpx', 'rocksdict', 'sqlalchemy', 'typer', 'uvicorn'} & set(sys.modules); "
        "sys.exit(code)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(folder / "record.tlog-proof")], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    asked = [sys.executable, "-m", "commonward.apps.verify", str(folder / "record.tlog-proof")]
    assert subprocess.run(asked, capture_output=True, check=False).returncode == 0


VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "evidence.json").read_text())


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case["name"])
def test_the_vectors_are_judged_as_they_say(case):
    record = None if case["record"] is None else case["record"].encode()
    report = verify_file(case["evidence"].encode(), VECTORS["trust_files"][case["trust"]].encode(), record)
    assert report.exit_code == case["exit"]
    assert [[step.rule, step.state] for step in report.steps] == case["steps"]
    assert report.genesis in ("", VECTORS["ledger"])
