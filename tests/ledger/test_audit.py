"""Audit: marks on time or late within bounds; broken glass within its quota and reviewed, or shown."""

from dataclasses import replace

from commonward.ledger.audit import (
    BreakGlass,
    BreakGlassQuota,
    Erased,
    LateOutOfBounds,
    LogRoot,
    NoReviewOpen,
    Receipt,
    Release,
    Review,
    ReviewOutOfBounds,
    TagTaken,
)
from commonward.ledger.ids import BlockTime, Tag
from commonward.ledger.members import SetParameter
from commonward.ledger.parameters import Parameter
from commonward.ledger.registry import AnchorBatch, TickRepeated, TooEarly
from commonward.ledger.rulebook import NotYourRole
from tests.ledgerkit import Kit, commitment

DAY = 86_400_000
HOUR = 3_600_000


def a_release(name: object = "r", late: int | None = None) -> Release:
    late_time = None if late is None else BlockTime(late)
    request, decision, consent, running, previous, sealed = (commitment(name, i) for i in range(6))
    return Release(Tag(commitment("tag", name)), request, decision, consent, running, previous, sealed, late_time)


def a_break(kit: Kit, name: object = "b", within: int = HOUR) -> BreakGlass:
    request, reason, staff = (commitment(name, i) for i in range(3))
    review_by = BlockTime(kit.next_time() + within)
    return BreakGlass(Tag(commitment("tag", name)), review_by, request, reason, staff)


def test_a_release_its_receipt_and_an_erasure_change_no_state(kit):
    before = kit.machine.tip.state_root
    kit.accept(a_release(), by="north")
    kit.accept(Receipt(commitment("tag"), commitment("sealed"), commitment("decision")), by="south")
    kit.accept(Erased(commitment("what"), commitment("ground"), commitment("holds")), by="north")
    assert kit.machine.tip.state_root == before and kit.machine.tip.size == 7


def test_a_late_mark_is_of_the_past_and_not_of_long_ago(kit):
    kit.accept(a_release(1, kit.next_time() - 4 * HOUR), by="north")
    kit.refuse(LateOutOfBounds, a_release(2, kit.next_time() + 10), by="north")
    kit.refuse(LateOutOfBounds, a_release(3, kit.next_time() - 3 * DAY), by="north")
    kit.refuse(LateOutOfBounds, replace(a_break(kit), late=BlockTime(kit.next_time() - 3 * DAY)), by="north")


def test_broken_glass_is_closed_by_a_review_of_the_member_that_broke_it(kit):
    asked = a_break(kit)
    kit.accept(asked, by="south")
    kit.refuse(TagTaken, asked, by="south")
    found = Review(asked.tag, commitment("finding"), commitment("reviewer"))
    kit.refuse(NoReviewOpen, found, by="north")
    kit.accept(found, by="south")
    kit.refuse(NoReviewOpen, found, by="south")
    assert kit.machine.view().glasses.count("south").open == 0


def test_nobody_takes_the_tag_of_anothers_broken_glass_by_being_first(kit):
    """Health sees South's broken glass on its way and puts its own under that tag: both stand, each with its review."""
    asked = a_break(kit)
    squat = replace(a_break(kit, "squat"), tag=asked.tag)
    kit.accept(squat, by="north")
    kit.accept(asked, by="south")
    kit.accept(Review(asked.tag, commitment("finding"), commitment("reviewer")), by="south")
    kit.later(HOUR + 1000)
    kit.settle()
    glasses = kit.machine.view().glasses
    left = glasses.get("north", asked.tag)
    assert glasses.get("south", asked.tag) is None and glasses.count("south").overdue == 0
    assert left is not None and left.overdue and glasses.count("north").overdue == 1


def test_glass_that_nobody_reviewed_in_time_shows_by_itself(kit):
    asked = a_break(kit)
    kit.accept(asked, by="south")
    assert kit.machine.next_due is not None and kit.machine.next_due >= asked.review_by
    kit.later(HOUR + 1000)
    kit.settle()
    glass = kit.machine.view().glasses.get("south", asked.tag)
    assert glass is not None and glass.overdue and kit.machine.view().glasses.count("south").overdue == 1
    kit.accept(Review(asked.tag, commitment("finding"), commitment("reviewer")), by="south")
    assert kit.machine.view().glasses.count("south").overdue == 0


def test_glass_reviewed_in_time_is_not_shown_as_overdue(kit):
    asked = a_break(kit)
    kit.accept(asked, by="south")
    kit.accept(Review(asked.tag, commitment("finding"), commitment("reviewer")), by="south")
    kit.later(HOUR + 1000)
    kit.settle()
    assert kit.machine.view().glasses.count("south").overdue == 0


def test_breaking_glass_has_a_quota_a_day_for_each_member(kit):
    kit.decide(SetParameter(Parameter.BREAK_GLASS_A_DAY, 2))
    for n in range(2):
        kit.accept(a_break(kit, n), by="south")
    kit.refuse(BreakGlassQuota, a_break(kit, 3), by="south")
    kit.accept(a_break(kit, 4), by="north")
    kit.later(DAY)
    kit.accept(a_break(kit, 5), by="south")


def test_a_review_has_a_deadline_within_bounds(kit):
    kit.refuse(ReviewOutOfBounds, a_break(kit, within=0), by="south")
    kit.refuse(ReviewOutOfBounds, a_break(kit, within=8 * DAY), by="south")


def test_an_insurer_breaks_no_glass(kit):
    kit.refuse(NotYourRole, a_break(kit), by="shield")


def test_a_members_log_root_shares_the_tick_and_comes_once(kit):
    root = LogRoot(kit.tick(), commitment("root"), commitment("uses"), commitment("refusals"))
    kit.accept(AnchorBatch(kit.tick(), commitment("root")), by="north")
    kit.accept(root, by="north")
    kit.refuse(TickRepeated, root, by="north")
    kit.refuse(TooEarly, replace(root, tick=kit.tick() + 2), by="north")
