"""What the rules of studies read and change, and what they ask of it again and again."""

from enum import IntEnum
from typing import NamedTuple

from commonward.ledger.consent import Consents, Research, SiteCount
from commonward.ledger.dues import Dues
from commonward.ledger.ids import BlockTime, MemberId, StudyId
from commonward.ledger.members import Roll
from commonward.ledger.rounds.budget import affords
from commonward.ledger.rounds.refusals import NotEnrolled, StudyNotApproved, StudyOver, StudyUnknown
from commonward.ledger.rounds.study import Placed, Round, Rounds, Site, Study
from commonward.ledger.rounds.transactions import ProposeStudy
from commonward.ledger.rounds.words import Mode, Status, survivors
from commonward.ledger.rules import Header

__all__ = ["Lack", "Means", "cursor", "fresh", "lacks", "least_updates", "live", "takes_part", "whole_second"]


class Means(NamedTuple):
    """The slices."""

    rounds: Rounds
    consents: Consents
    roll: Roll
    dues: Dues

    def counter(self, study: StudyId, site: MemberId) -> SiteCount:
        """Open research consents for a study at a site, and when one was last withdrawn or ended."""
        return self.consents.site(Research(study, site))


class Lack(IntEnum):
    """Why a site is not ready for the next attempt: what it has to bring."""

    PART = 1  # not enrolled, or leaving
    MEMBERSHIP = 2  # suspended
    MANIFEST = 3  # none, or made before the last withdrawal
    MASK_KEYS = 4
    BUDGET = 5  # its patients' privacy is spent


def live(study: StudyId, header: Header, rounds: Rounds) -> Study:
    """A study that is approved and not over. Raises StudyUnknown, StudyNotApproved or StudyOver.

    Judged by the header's time: what is due and not swept yet counts no more.
    """
    found = rounds.study(study)
    if found is None:
        raise StudyUnknown(study)
    if found.status == Status.PROPOSED:
        raise StudyNotApproved(study)
    if found.status.over or found.terms.end <= header.time:
        raise StudyOver(study)
    return found


def takes_part(study: StudyId, member: MemberId, rounds: Rounds) -> Site:
    """Raises NotEnrolled."""
    site = rounds.site(study, member)
    if site is None or not site.enrolled:
        raise NotEnrolled(study, member)
    return site


def fresh(manifest: Placed | None, count: SiteCount) -> bool:
    """Whether a manifest was made after the last withdrawal: its author had seen the block of it."""
    return manifest is not None and manifest.seen >= count.withdrawn_at


def lacks(study: StudyId, member: MemberId, terms: ProposeStudy, means: Means) -> tuple[Lack, ...]:
    """What a site has to bring before an attempt takes it in; nothing: it is ready."""
    site, organisation = means.rounds.site(study, member), means.roll.get(member)
    if site is None or not site.enrolled or site.leaving:
        return (Lack.PART,)
    found = []
    if organisation is None or not organisation.active:
        found.append(Lack.MEMBERSHIP)
    if not fresh(site.manifest, means.counter(study, member)):
        found.append(Lack.MANIFEST)
    if terms.mode == Mode.MASKED and site.masks is None:
        found.append(Lack.MASK_KEYS)
    if not affords(means.rounds.spent(member), terms.charge, terms.delta, means.rounds.cap()):
        found.append(Lack.BUDGET)
    return tuple(found)


def least_updates(terms: ProposeStudy, sites: int) -> int:
    """The fewest updates of `sites` that make a round: masked ones need enough survivors to open their sum."""
    return max(terms.min_sites, survivors(sites)) if terms.mode == Mode.MASKED else terms.min_sites


def whole_second(time: int) -> BlockTime:
    """Rounded up: dues are swept at whole seconds, and a deadline says exactly when it is swept."""
    return BlockTime(-(-time // 1000) * 1000)


def cursor(study: StudyId, found: Round) -> bytes:
    """How a due names an attempt."""
    return study + found.round.to_bytes(4, "big") + bytes((found.attempt,))


def read_cursor(ref: bytes) -> tuple[StudyId, int, int]:
    """(study, round, attempt)."""
    return StudyId(ref[:16]), int.from_bytes(ref[16:20], "big"), ref[20]
