"""`commonward verify --tsa-certificate`: a time-stamping authority's word as the upper end of the bracket, offline."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from commonward.apps.verify import main
from commonward.ledger.checkpoint import parse_note
from commonward.records.evidence import Evidence, Stamp
from tests.evidence_world import World, salt
from tests.ledgerkit import START
from tests.tsa_world import Issuer, Tsa

THEN = datetime.fromtimestamp(START // 1000, UTC)


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    """Whose certificate was valid on the world's day, which is not today."""
    days = timedelta(days=3)
    return Tsa.new(tmp_path_factory.mktemp("tsa") / "a", starts=THEN - days, ends=THEN + days)


class Stamped:
    """Evidence of a record, with a token over a checkpoint that came after it and before the evidence's own."""

    def __init__(self, tsa) -> None:
        self.world = World()
        self.tsa = tsa
        self.bare = self.world.record()
        self.middle = self.world.checkpoint()
        self.world.pad(2)
        size = self.world.kit.machine.log.size
        log = self.world.kit.machine.log
        self.evidence = replace(
            self.bare,
            note=self.world.note(size=size),
            path=log.prove_inclusion(self.bare.index, size),
            blocks=tuple(replace(each, path=log.prove_inclusion(each.index, size)) for each in self.bare.blocks),
        )
        self.at = datetime.fromtimestamp(self.world.kit.machine.applied.time // 1000 + 60, UTC)

    def token(self, head=None, at=None, by=None):
        return (by or self.tsa).backdated((head or self.middle).note_body(), at or self.at)

    def stamp(self, **other):
        size = self.world.kit.machine.log.size
        path = self.world.kit.machine.log.prove_consistency(self.middle.size, size)
        given = {"token": self.token(), "size": self.middle.size, "root": self.middle.root, "path": path}
        return Stamp(**{**given, **other})


@pytest.fixture(scope="module")
def stamped(tsa):
    return Stamped(tsa)


@pytest.fixture
def run(stamped, tmp_path, capsys):
    (tmp_path / "t.trust").write_bytes(stamped.world.trust())
    (tmp_path / "root.pem").write_bytes(stamped.tsa.chain)

    def verify(stamp, *more, believe=True):
        (tmp_path / "e").write_bytes(replace(stamped.evidence, stamp=stamp).to_bytes())
        asked = ["--tsa-certificate", str(tmp_path / "root.pem")] if believe else []
        code = main([str(tmp_path / "e"), *asked, *map(str, more)])
        return code, capsys.readouterr().out

    return verify


def test_a_token_over_a_later_checkpoint_is_the_upper_end_of_the_bracket(stamped, run):
    code, said = run(stamped.stamp())
    assert code == 0
    end = (stamped.at + timedelta(seconds=1)).strftime("%Y-%m-%d %H:%M:%S UTC")
    assert f"all of it before {end}, as the time-stamping authority Stamp Office says" in said
    assert f"The time-stamping authority Stamp Office signed that this history stood before {end}" in said
    assert "as the members who cosigned say" in said


def test_a_token_over_the_evidences_own_checkpoint_needs_no_path(stamped, run):
    head = parse_note(stamped.evidence.note).checkpoint
    own = Stamp(stamped.token(head), head.size, head.root, ())
    assert run(own)[0] == 0


def test_without_the_certificate_it_says_what_it_could_not_check(stamped, run):
    code, said = run(stamped.stamp(), believe=False)
    assert code == 0
    assert "[not checked] Its time stamp says that it is by Stamp Office" in said
    assert "--tsa-certificate" in said and "authority Stamp Office says" not in said


def test_a_file_without_a_token_says_so_to_who_asks_for_one(stamped, run):
    code, said = run(None)
    assert code == 0 and "the file has no time stamp" in said
    assert "time stamp" not in run(None, believe=False)[1]


def test_a_token_of_another_checkpoint_is_refused(stamped, run):
    other = replace(stamped.middle, root=salt("other"))
    for believe in (True, False):
        code, said = run(stamped.stamp(token=stamped.token(other)), believe=believe)
        assert code == 1 and "of something else" in said


def test_a_token_over_a_history_that_ours_does_not_continue_is_refused(stamped, run):
    """Stamped years ago in secret, to be brought out when it is useful."""
    other = replace(stamped.middle, root=salt("other"))
    code, said = run(stamped.stamp(token=stamped.token(other), root=other.root))
    assert code == 1 and "of which nothing shows" in said


def test_a_token_over_a_checkpoint_before_the_transaction_dates_nothing(stamped, run):
    early = stamped.world.checkpoint(stamped.evidence.index)
    path = stamped.world.kit.machine.log.prove_consistency(early.size, stamped.world.kit.machine.log.size)
    code, said = run(Stamp(stamped.token(early), early.size, early.root, path))
    assert code == 1 and "of which nothing shows" in said


def test_a_token_of_an_authority_that_the_reader_does_not_believe_is_refused(stamped, run, tmp_path):
    other = Tsa.new(
        tmp_path / "b", issuer=Issuer.new("Their Own Root"),
        starts=THEN - timedelta(days=3), ends=THEN + timedelta(days=3),
    )  # fmt: skip
    code, said = run(stamped.stamp(token=stamped.token(by=other)))
    assert code == 1 and "Its time stamp does not hold" in said


def test_a_token_that_is_older_than_the_block_it_covers_is_refused(stamped, run):
    """The ledger's header times, or the authority's clock, are false: neither is believed."""
    code, said = run(stamped.stamp(token=stamped.token(at=THEN - timedelta(days=1))))
    assert code == 1 and "earlier time than the block" in said


def test_an_altered_token_is_refused(stamped, run):
    token = stamped.token()
    at = token.index(stamped.at.strftime("%Y%m%d").encode()) + 7  # the day that was signed
    altered = token[:at] + bytes((token[at] ^ 1,)) + token[at + 1 :]
    code, said = run(stamped.stamp(token=altered))
    assert code == 1 and "its signature does not hold" in said


def test_junk_for_a_token_is_refused_with_a_sentence(stamped, run):
    for believe in (True, False):
        code, said = run(stamped.stamp(token=b"junk"), believe=believe)
        assert code == 1 and "Its time stamp does not hold: expected" in said


def test_an_unusable_certificate_file_cannot_be_read(stamped, run, tmp_path):
    (tmp_path / "bad.pem").write_bytes(b"hello")
    for path in (tmp_path / "bad.pem", tmp_path / "nothing.pem"):
        code, said = run(stamped.stamp(), "--tsa-certificate", path, believe=False)
        assert code == 2 and "cannot be read" in said


def test_a_file_with_a_token_reads_back_as_it_was_written_and_one_without_is_as_before(stamped):
    with_token = replace(stamped.evidence, stamp=stamped.stamp())
    assert Evidence.parse(with_token.to_bytes()) == with_token
    assert Evidence.parse(stamped.bare.to_bytes()).to_bytes() == stamped.bare.to_bytes()
    assert len(with_token.to_bytes()) - len(stamped.evidence.to_bytes()) < 4096
    assert with_token.to_bytes().isascii() or with_token.to_bytes().decode()


def test_chinese_says_the_authority_and_the_time(stamped, run):
    code, said = run(stamped.stamp(), "--lang", "zh")
    assert code == 0 and "时间戳机构 Stamp Office" in said


def test_a_machine_reads_the_whole_bracket(stamped, run):
    said = json.loads(run(stamped.stamp(), "--json")[1])["bracket"]
    assert said["after"] <= said["ordered"] < said["before"] <= said["stamped_before"]
    assert said["stamped_before"] == (int(stamped.at.timestamp()) + 1) * 1000
    assert said["stamped_by"] == "Stamp Office"
    assert json.loads(run(stamped.stamp(), "--json", believe=False)[1])["bracket"]["stamped_by"] is None
