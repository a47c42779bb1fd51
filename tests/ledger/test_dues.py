"""What falls due comes out in order of time, each once, however it was put in."""

from hypothesis import given, settings
from hypothesis import strategies as st

from commonward.ledger.dues import DueKind, Dues
from commonward.ledger.state import MemoryStore, State


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.one_of(st.tuples(st.just("add"), st.integers(0, 9_000)), st.tuples(st.just("take"), st.integers(0, 9_000)))
    )
)
def test_as_a_sorted_list_would(steps):
    dues, n = Dues(State(MemoryStore().get)), 0
    expected: list[tuple[int, bytes]] = []
    for what, time in steps:
        if what == "add":
            n += 1
            dues.add(time, DueKind.KEY_ENDS, n.to_bytes(4, "big"))
            expected.append((-(-time // 1000) * 1000, n.to_bytes(4, "big")))
        else:
            taken = dues.take(time, 5)
            due = sorted(each[0] for each in expected if each[0] <= time)[:5]
            times = {ref: at for at, ref in expected}
            assert [times[each.ref] for each in taken] == due
            gone = {each.ref for each in taken}
            assert len(gone) == len(taken)
            expected = [each for each in expected if each[1] not in gone]
        assert dues.next_due() == min((at for at, _ in expected), default=None)


def test_a_thousand_at_one_time_come_out_once_each_and_leave_nothing_behind():
    state = State(MemoryStore().get)
    for n in range(1000):
        state.dues.add(5_000, DueKind.CONSENT_ENDS, n.to_bytes(4, "big"))
    out = []
    while taken := state.dues.take(5_000, 256):
        assert len(taken) <= 256
        out += [int.from_bytes(each.ref, "big") for each in taken]
    assert sorted(out) == list(range(1000))
    assert state.changes() == {} and state.dues.next_due() is None
