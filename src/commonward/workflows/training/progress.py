"""Where a study stands at this site, for the people who watch it: numbers of rounds, and what is waited for."""

from dataclasses import dataclass

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Status
from commonward.ledger.rounds.study import Round, Study
from commonward.records.model import Tensor
from commonward.workflows.training.papers import RoundPaper, read_tensors
from commonward.workflows.training.site import Site

__all__ = ["RoundView", "StudyProgress", "progress_of"]


@dataclass(frozen=True, slots=True)
class RoundView:
    """One round, as this site saw it.

    Attributes:
        opened, deadline: header times (ms). `fixed`, `final`: heights; None before.
        sites, submitted, signed: who may submit, who did, who countersigned.
        excluded: whose updates were left out, once final.
        model: its digest, once final.
        agrees: whether this site computed the same; None where it did not compute.
        own: counts of this site's test rows. `all_sites`: of all together, once added up.
    """

    round: int
    attempt: int
    opened: int
    deadline: int
    fixed: int | None
    final: int | None
    void: bool
    sites: tuple[MemberId, ...]
    submitted: tuple[MemberId, ...]
    signed: tuple[MemberId, ...]
    excluded: tuple[MemberId, ...]
    model: Digest | None
    agrees: bool | None
    own: tuple[Tensor, ...]
    all_sites: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class StudyProgress:
    """A study, its rounds so far, and what it waits for here ("": nothing)."""

    study: StudyId
    standing: Study
    sites: tuple[MemberId, ...]
    rounds: tuple[RoundView, ...]
    waits_for: str
    updates_kept: int


def progress_of(site: Site, study: StudyId, waits_for: str) -> StudyProgress | None:
    """None for a study that does not stand on the ledger."""
    standing = site.rounds.study(study)
    if standing is None:
        return None
    views = []
    for number in range(1, standing.round + 2):
        paper = site.store.final(study, number)
        found = site.rounds.round(study, number)
        if found is None and paper is not None:
            found = Round.parse(paper.final)
        if found is not None:
            views.append(_view(found, paper or site.store.round(study, number, found.attempt)))
    sites = []
    for each in site.rounds.sites(study):
        enrolment = site.rounds.site(study, each)
        if enrolment is not None and enrolment.enrolled:
            sites.append(each)
    waits_for = waits_for or _others(standing, site.current(standing))
    return StudyProgress(study, standing, tuple(sites), tuple(views), waits_for, site.store.updates_kept(study))


def _others(standing: Study, current: Round | None) -> str:
    """What a study waits for that is not ours to bring, by the ledger; "" for one that waits for nothing."""
    match standing.status:
        case Status.PROPOSED:
            return "votes of the members' ethics roles"
        case Status.APPROVED | Status.WAITING:
            return "sites that are ready: enrolled, with a manifest made after the last withdrawal and budget left"
        case Status.STALLED:
            return "its proposer: three attempts at a round failed, and no other opens"
        case Status.COMPLETE:
            return "its proposer to close it"
    if standing.status != Status.RUNNING or current is None:
        return ""
    if current.fixed is None:
        missing = [each for each in current.sites if current.update_of(each) is None]
        return f"the updates of {', '.join(missing)}"
    signed = {each.site for each in current.signed}
    return f"the countersignatures of {', '.join(each for each in current.voters if each not in signed)}"


def _view(found: Round, paper: RoundPaper | None) -> RoundView:
    agrees = None
    if paper is not None and paper.metrics_salt and found.model is not None:
        agrees = (paper.model, paper.state) == (found.model, found.state)
    return RoundView(
        found.round, found.attempt, found.opened, found.deadline, found.fixed, found.final, found.void, found.sites,
        tuple(each.site for each in found.updates), tuple(each.site for each in found.signed), found.exclusions or (),
        found.model, agrees, read_tensors(paper.metrics) if paper is not None and paper.metrics else (),
        read_tensors(paper.sums) if paper is not None and paper.sums else (),
    )  # fmt: skip
