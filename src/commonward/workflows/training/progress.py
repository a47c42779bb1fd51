"""Where a study stands at this site, for the people who watch it: numbers of rounds, and what is waited for."""

from dataclasses import dataclass

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
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
    """A study, its rounds so far, and what this site waits for ("" when it waits for nothing)."""

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
    return StudyProgress(study, standing, tuple(sites), tuple(views), waits_for, site.store.updates_kept(study))


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
