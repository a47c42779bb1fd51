"""A manifest says exactly which rows a site has, shows nothing of them, and lets no site claim more."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.records.manifest import DEPTH, Manifest, ManifestError, Membership, Row, Split, opened_rows

SEED, OTHER = b"m" * 32, b"o" * 32


def _rows(first: int, count: int, per_patient: int = 1) -> list[Row]:
    return [
        Row(sha256(b"record %d" % at).digest(), sha256(b"consent %d" % (at // per_patient)).digest()[:16])
        for at in range(first, first + count)
    ]


def _manifest(train: int = 12, test: int = 5, seed: bytes = SEED) -> Manifest:
    return Manifest(_rows(0, train), _rows(1000, test), 3, seed)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 70), st.integers(0, 40), st.binary(min_size=32, max_size=32))
def test_every_row_is_proven_under_its_own_root_and_no_other(train: int, test: int, seed: bytes) -> None:
    made = Manifest(_rows(0, train), _rows(1000, test), 1, seed)
    for part, other in ((made.train, made.test), (made.test, made.train)):
        for row in part.rows:
            proof = Membership.parse(part.prove(row.record).to_bytes())
            proof.check(part.root)
            assert (proof.row, proof.split) == (row, part.split)
            with pytest.raises(ManifestError, match="does not lead"):
                proof.check(other.root)


def test_a_proof_tells_little_of_how_many_rows_there_are() -> None:
    for train in (1, 2, 63):
        made = _manifest(train)
        proof = made.train.prove(made.train.rows[0].record)
        assert len(proof.path) == DEPTH
        assert len(proof.to_bytes()) < 1_000


def test_roots_follow_from_the_rows_whatever_their_order_and_from_the_seed() -> None:
    rows = _rows(0, 9)
    one, other = Manifest(rows, (), 1, SEED), Manifest(reversed(rows), (), 1, SEED)
    assert (one.train.root, one.test.root) == (other.train.root, other.test.root)
    assert Manifest(rows, (), 1, OTHER).train.root != one.train.root
    assert Manifest(rows[:-1], (), 1, SEED).train.root != one.train.root


def test_a_row_used_under_another_consent_or_split_has_another_root() -> None:
    made = _manifest()
    proof = made.train.prove(made.train.rows[0].record)
    for false in (
        Membership(Row(proof.row.record, bytes(16)), proof.split, proof.salt, proof.index, proof.path),
        Membership(proof.row, Split.TEST, proof.salt, proof.index, proof.path),
        Membership(proof.row, proof.split, bytes(32), proof.index, proof.path),
        Membership(proof.row, proof.split, proof.salt, proof.index ^ 1, proof.path),
        Membership(proof.row, proof.split, proof.salt, proof.index, proof.path[1:]),
    ):
        with pytest.raises(ManifestError, match="does not lead"):
            false.check(made.train.root)


def test_the_test_root_stays_when_only_the_training_rows_change() -> None:
    before = Manifest(_rows(0, 9), _rows(1000, 5), 1, SEED)
    after = Manifest(_rows(0, 8), _rows(1000, 5), 1, OTHER, test_seed=SEED)
    assert after.test.root == before.test.root
    assert after.train.root != before.train.root
    assert after.rows_opening.commitment != before.rows_opening.commitment


def test_no_patient_is_in_both_splits() -> None:
    with pytest.raises(ManifestError, match="both splits"):
        Manifest(_rows(0, 3, per_patient=9), _rows(3, 2, per_patient=9), 9, SEED)


def test_no_record_is_used_twice() -> None:
    for train, test in ((_rows(0, 3) + _rows(2, 1), []), (_rows(0, 3), _rows(1, 1))):
        with pytest.raises(ManifestError, match="each record once"):
            Manifest(train, test, 5, SEED)


def test_no_patient_brings_more_rows_than_the_cap() -> None:
    assert Manifest(_rows(0, 6, per_patient=3), (), 3, SEED).patients == 2
    with pytest.raises(ManifestError, match="at most 2 rows of one patient, got 3"):
        Manifest(_rows(0, 6, per_patient=3), (), 2, SEED)


def test_nor_does_one_by_whom_a_model_is_judged() -> None:
    """One patient of many pictures would be most of what it is judged by, and the ledger refuses the manifest."""
    Manifest(_rows(0, 3), _rows(1000, 4, per_patient=2), 2, SEED)
    with pytest.raises(ManifestError, match="at most 1 rows of one patient"):
        Manifest(_rows(0, 3), _rows(1000, 4, per_patient=2), 1, SEED)


def test_a_site_with_nothing_to_train_on_has_no_manifest() -> None:
    with pytest.raises(ManifestError, match="got none"):
        Manifest((), _rows(0, 3), 1, SEED)


def test_the_ledger_sees_bands_and_commitments_only() -> None:
    made = _manifest(160, 30)
    assert made.bands == (3, 3)  # 100 to 199 of each
    assert made.rows == 160
    assert made.patients_opening.value == 190


def test_inflated_rows_are_refused_by_the_count_of_open_consents() -> None:
    made = _manifest(12, 5)
    opening, commitment = made.rows_opening.to_bytes(), made.rows_opening.commitment
    assert opened_rows(opening, commitment, consents=17, row_cap=1) == 12
    assert opened_rows(opening, commitment, consents=6, row_cap=2) == 12
    with pytest.raises(ManifestError, match="at most 11 x 1 rows by the open consents, got 12"):
        opened_rows(opening, commitment, consents=11, row_cap=1)


def test_rows_are_opened_to_what_was_committed_to_and_nothing_else() -> None:
    made, other = _manifest(12), _manifest(13)
    with pytest.raises(ManifestError, match="commits to"):
        opened_rows(other.rows_opening.to_bytes(), made.rows_opening.commitment, 100, 1)
    with pytest.raises(ManifestError, match="commits to"):
        opened_rows(made.patients_opening.to_bytes(), made.patients_opening.commitment, 100, 1)
    with pytest.raises(ManifestError, match="commits to"):
        opened_rows(b"\x80\x05N.", made.rows_opening.commitment, 100, 1)


@pytest.mark.parametrize("data", [b"", b"\x80", bytes(40), b"\x80\x04N."])
def test_bytes_that_are_no_membership_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        Membership.parse(data)


def test_fingerprints_and_consents_have_their_lengths() -> None:
    for record, consent in ((bytes(31), bytes(16)), (bytes(32), bytes(17))):
        with pytest.raises(ManifestError, match="fingerprint of 32"):
            Row(record, consent)
