"""Erasure waits for retention and legal holds; withdrawal does not wait."""

from dataclasses import replace

import pytest

from commonward.records.jurisdiction import TableError
from commonward.records.retention import (
    Ground,
    Hold,
    Kept,
    Obstacle,
    RetentionTable,
    default_retention,
    may_erase,
    may_use_copy,
    must_expire,
    years_after,
)

TABLE = default_retention()
DAY = 86_400_000
T2000 = 946_684_800_000
OWN = Kept(frozenset({"laboratory"}), T2000, None, b"p", b"r")
COPY = replace(OWN, received_from="north", received_at=T2000)
HOLD = Hold("court 7/2015", patients=frozenset({b"p"}))


def test_the_law_keeps_a_record_also_against_the_patients_wish() -> None:
    until = years_after(T2000, 15)
    early = may_erase(OWN, Ground.PATIENT_REQUEST, [], TABLE, until - 1)
    assert (early.allowed, early.obstacle, early.not_before) == (False, Obstacle.RETENTION, until)
    assert may_erase(OWN, Ground.RETENTION_OVER, [], TABLE, until).allowed


def test_the_longest_of_its_classes_counts() -> None:
    both = replace(OWN, classes=frozenset({"laboratory", "encounter", "billing"}))
    assert TABLE.retained_until(both) == years_after(T2000, 30)
    assert TABLE.retained_until(replace(OWN, classes=frozenset({"device"}))) == years_after(T2000, 15)


def test_a_childs_records_are_kept_until_it_has_grown_up() -> None:
    billing = replace(OWN, classes=frozenset({"billing"}), born=T2000 - DAY)
    assert TABLE.retained_until(billing) == years_after(T2000 - DAY, 25)
    assert TABLE.retained_until(replace(billing, born=years_after(T2000, -40))) == years_after(T2000, 10)


def test_a_legal_hold_stands_against_every_ground() -> None:
    far = years_after(T2000, 100)
    for ground in Ground:
        for kept in (OWN, COPY):
            held = may_erase(kept, ground, [HOLD], TABLE, far)
            assert (held.allowed, held.obstacle, held.holds) == (False, Obstacle.LEGAL_HOLD, ("court 7/2015",))
    assert not must_expire(COPY, [HOLD], TABLE, far)


@pytest.mark.parametrize(
    "hold",
    [
        replace(HOLD, patients=frozenset({b"q"})),
        replace(HOLD, records=frozenset({b"s"})),
        replace(HOLD, classes=frozenset({"imaging"})),
        replace(HOLD, until=T2000),
    ],
)
def test_a_hold_on_something_else_or_that_has_ended_does_not_stand(hold: Hold) -> None:
    assert may_erase(OWN, Ground.RETENTION_OVER, [hold], TABLE, years_after(T2000, 15)).allowed


def test_a_record_of_the_wrong_patient_need_not_wait() -> None:
    assert may_erase(OWN, Ground.WRONG_PATIENT, [], TABLE, T2000).allowed
    assert may_erase(OWN, Ground.COURT_ORDER, [], TABLE, T2000).allowed


def test_a_copy_expires_and_sooner_when_the_glass_was_broken() -> None:
    assert not must_expire(COPY, [], TABLE, T2000 + 30 * DAY - 1)
    assert must_expire(COPY, [], TABLE, T2000 + 30 * DAY)
    assert must_expire(replace(COPY, emergency=True), [], TABLE, T2000 + 7 * DAY)
    assert may_erase(COPY, Ground.COPY_EXPIRED, [], TABLE, T2000).not_before == T2000 + 30 * DAY
    assert may_erase(COPY, Ground.PATIENT_REQUEST, [], TABLE, T2000).allowed


def test_what_a_clinician_relied_on_is_kept_as_long_as_own_records() -> None:
    relied = replace(COPY, relied_on=True)
    assert not must_expire(relied, [], TABLE, years_after(T2000, 100))
    kept = may_erase(relied, Ground.COPY_EXPIRED, [], TABLE, T2000 + 31 * DAY)
    assert (kept.allowed, kept.obstacle) == (False, Obstacle.RELIED_ON)
    assert may_erase(relied, Ground.RETENTION_OVER, [], TABLE, years_after(T2000, 15)).allowed


def test_withdrawal_stops_use_at_once_and_erases_nothing_by_itself() -> None:
    assert may_use_copy(COPY, True, TABLE, T2000)
    assert not may_use_copy(COPY, False, TABLE, T2000)
    assert not may_use_copy(COPY, True, TABLE, T2000 + 30 * DAY)
    assert may_use_copy(replace(COPY, relied_on=True), False, TABLE, T2000)
    assert not may_erase(OWN, Ground.RETENTION_OVER, [], TABLE, T2000).allowed


def test_years_are_calendar_years() -> None:
    leap = 951_782_400_000  # 29 February 2000
    assert years_after(leap, 1) == 983_404_800_000  # 1 March 2001
    assert years_after(leap, 4) == 1_078_012_800_000  # 29 February 2004
    assert years_after(T2000, 9_000) == years_after(T2000, 7_999)


def test_a_table_with_a_hole_is_refused() -> None:
    with pytest.raises(TableError, match="default_years"):
        RetentionTable.parse(b'{"table":"x","version":1}')
