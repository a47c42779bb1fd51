"""The member's own log: durable, chained, opened to an auditor by salts."""

from dataclasses import replace
from pathlib import Path

import pytest

from commonward.adapters.store.vault import SqlVault
from commonward.ledger.ids import BlockTime, Digest
from commonward.workflows.member_log import START, Event, MemberLog, check_entries, log_root
from commonward.workflows.memory import CountedEntropy, MemoryVault, SteppedClock
from commonward.workflows.ports import LogRow, StorageKeys
from commonward.workflows.sealing import Altered, Sealing

SALT = b"s" * 32


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


@pytest.fixture
def log(vault: MemoryVault) -> MemberLog:
    return MemberLog(vault, Sealing(StorageKeys(b"w" * 32, b"i" * 32), CountedEntropy("log")), SteppedClock())


def test_entries_come_back_as_they_were_noted(log: MemberLog) -> None:
    for n in range(5):
        assert log.note(Event.DISPLAYED, f"record {n}", who="n1") == n + 1
    assert [entry.detail for _, _, entry in log.entries()] == [f"record {n}" for n in range(5)]
    assert [number for number, _, _ in log.entries(4)] == [4, 5]


def test_a_changed_entry_shows(log: MemberLog, vault: MemoryVault) -> None:
    for n in range(3):
        log.note(Event.DISPLAYED, f"record {n}")
    vault._log[1] = replace(vault._log[1], at=BlockTime(vault._log[1].at + 1))
    with pytest.raises(Altered):
        list(log.entries())


def test_an_entry_taken_out_shows(log: MemberLog, vault: MemoryVault) -> None:
    for n in range(3):
        log.note(Event.DISPLAYED, f"record {n}")
    del vault._log[1]
    with pytest.raises(Altered):
        list(log.entries())


def test_an_auditor_checks_entries_against_an_anchored_root(log: MemberLog) -> None:
    for n in range(3):
        log.note(Event.DISPLAYED, f"record {n}")
    number, head = log.head()
    root = log_root(SALT, number, head)
    given = [(n, at, entry.to_bytes()) for n, at, entry in log.entries()]
    check_entries(given, START, number, head, SALT, root)
    with pytest.raises(Altered):
        check_entries(given[:1] + given[2:], START, number, head, SALT, root)
    with pytest.raises(Altered):
        check_entries(given, START, number, Digest(bytes(32)), SALT, root)


def test_two_processes_that_write_at_once_share_one_chain(tmp_path: Path) -> None:
    first, second = (SqlVault(tmp_path / "vault.sqlite") for _ in range(2))
    sealing = Sealing(StorageKeys(b"w" * 32, b"i" * 32), CountedEntropy("log"))
    ours, theirs = (MemberLog(vault, sealing, SteppedClock()) for vault in (first, second))
    read, between = first.last_log, [True]

    def last_log() -> LogRow | None:
        found = read()
        if between.pop() if between else False:
            theirs.note(Event.FLAGGED, "between")
        return found

    first.last_log = last_log  # type: ignore[method-assign]
    assert ours.note(Event.FLAGGED, "ours") == 2
    assert [entry.detail for _, _, entry in theirs.entries()] == ["between", "ours"]
