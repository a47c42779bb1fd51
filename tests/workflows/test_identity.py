"""Identity links: reversible, and never a rewritten record."""

import pytest

from commonward.ledger.ids import Handle
from commonward.workflows.identity import Identity, IdentityError, mark_tag
from commonward.workflows.memory import CountedEntropy, MemoryVault, SteppedClock
from commonward.workflows.ports import StorageKeys
from commonward.workflows.sealing import Altered, Sealing

HANDLE = Handle(b"h" * 16)


@pytest.fixture
def vault() -> MemoryVault:
    return MemoryVault()


@pytest.fixture
def identity(vault: MemoryVault) -> Identity:
    entropy = CountedEntropy("identity")
    return Identity(vault, Sealing(StorageKeys(b"w" * 32, b"i" * 32), entropy), SteppedClock(), entropy)


def names(identity: Identity, *ids: str) -> list[bytes]:
    return [identity.patient("his", each) for each in ids]


def test_merges_join_and_an_unmerge_takes_exactly_one_back(identity: Identity) -> None:
    a, b, c = names(identity, "a", "b", "c")
    identity.merge(a, b, "A40")
    identity.merge(b, c, "A40")
    assert identity.everyone(a) == {a, b, c}
    identity.unmerge(c, b, "two people after all")
    assert identity.everyone(a) == {a, b}
    assert identity.everyone(c) == {c}
    identity.merge(b, c, "no, one")
    assert identity.everyone(c) == {a, b, c}


def test_an_unmerge_of_what_was_not_merged_is_refused(identity: Identity) -> None:
    a, b, c = names(identity, "a", "b", "c")
    identity.merge(a, b, "A40")
    identity.merge(b, c, "A40")
    with pytest.raises(IdentityError):
        identity.unmerge(a, c, "joined through b only")
    with pytest.raises(IdentityError):
        identity.merge(a, a, "itself")


def test_a_handle_stands_for_everyone_it_was_linked_to(identity: Identity) -> None:
    a, b = names(identity, "a", "b")
    identity.link(HANDLE, a, "passport seen", "n1")
    assert identity.patients_of(HANDLE) == {a}
    identity.merge(a, b, "A40")
    assert identity.patients_of(HANDLE) == {a, b}
    assert identity.handles_of(b) == {HANDLE}


def test_a_handle_is_not_moved_to_another_patient_unseen(identity: Identity) -> None:
    a, b = names(identity, "a", "b")
    first = identity.link(HANDLE, a, "passport seen", "n1")
    assert identity.link(HANDLE, a, "passport seen", "n1") == first
    with pytest.raises(IdentityError):
        identity.link(HANDLE, b, "passport seen", "n1")
    identity.unlink(HANDLE)
    assert identity.patients_of(HANDLE) == frozenset()
    moved = identity.link(HANDLE, b, "passport seen", "n1")
    assert identity.patients_of(HANDLE) == {b}
    # The key is shared with who holds the handle, not with a local name: the same line of marks goes on.
    assert moved.tag_key == first.tag_key


def test_a_handle_linked_again_keeps_the_line_that_its_patient_can_follow(identity: Identity) -> None:
    (a,) = names(identity, "a")
    first = identity.link(HANDLE, a, "passport", "S1")
    identity.unlink(HANDLE)
    again = identity.link(HANDLE, a, "passport", "S1")
    assert again.tag_key == first.tag_key
    assert mark_tag(again.tag_key, 1) == mark_tag(first.tag_key, 1)


def test_tags_of_one_patient_look_unrelated(identity: Identity) -> None:
    link = identity.link(HANDLE, names(identity, "a")[0], "passport seen", "n1")
    tags = {mark_tag(link.tag_key, n) for n in range(100)}
    assert len(tags) == 100 and not any(tag[:8] == HANDLE[:8] for tag in tags)


def test_a_paper_moved_to_another_place_does_not_open(identity: Identity, vault: MemoryVault) -> None:
    link = identity.link(HANDLE, names(identity, "a")[0], "passport seen", "n1")
    sealed = vault.get("links", link.handle)
    assert sealed is not None
    vault.put("links", b"x" * 16, sealed)
    with pytest.raises(Altered):
        identity.linked(Handle(b"x" * 16))
