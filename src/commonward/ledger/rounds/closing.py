"""The end of a study: closed by its proposer, or by itself at its end; disputed for a while; then settled.

From the closing on, sites keep the sealed updates until `kept_until`; a dispute makes that longer, once for each site.
After it they destroy them, and the ledger forgets sites and rounds: what happened stands in the log.
"""

from dataclasses import replace

from commonward.ledger.dues import DueKind
from commonward.ledger.ids import Digest, StudyId
from commonward.ledger.rounds.means import Means, whole_second
from commonward.ledger.rounds.opening import let_go
from commonward.ledger.rounds.refusals import NotEnrolled, StudyNotApproved, StudyOver, StudyUnknown
from commonward.ledger.rounds.round_refusals import (
    AlreadyDisputed,
    DisputeLate,
    NotProposer,
    RoundNotFinal,
    RoundUnderWay,
    WrongEnd,
)
from commonward.ledger.rounds.study import Rounds, Study
from commonward.ledger.rounds.transactions import CloseStudy, Dispute
from commonward.ledger.rounds.words import Status
from commonward.ledger.rules import Header, MemberSigner

__all__ = ["close_study", "dispute", "keeps_updates", "settles", "study_ends"]


def close_study(asked: CloseStudy, signer: MemberSigner, header: Header, *, means: Means) -> None:
    study = means.rounds.study(asked.study)
    if study is None:
        raise StudyUnknown(asked.study)
    if signer.member != study.proposer:
        raise NotProposer(signer.member, study.proposer)
    if study.status.over:
        raise StudyOver(asked.study)
    current = means.rounds.round(asked.study, study.round + 1)
    if study.status == Status.RUNNING and current is not None and current.updates:
        raise RoundUnderWay(current.round, current.attempt)
    if asked.model != study.model:
        raise WrongEnd("model", study.model, asked.model)
    if asked.chain != study.chain:
        raise WrongEnd("chain", study.chain, asked.chain)
    _close(study, header, means, asked.report, asked.contributions)


def study_ends(study: StudyId, header: Header, *, means: Means) -> None:
    """Due: its time is over. An attempt that is open comes to nothing."""
    found = means.rounds.study(study)
    if found is not None and not found.status.over:
        _close(found, header, means, None, None)


def _close(study: Study, header: Header, means: Means, report: Digest | None, contributions: Digest | None) -> None:
    name = study.terms.study
    if study.status == Status.PROPOSED:  # taken back, or never decided: nobody took part
        means.rounds.put(replace(study, status=Status.REJECTED, closed=header.time))
        return
    current = means.rounds.round(name, study.round + 1)
    if current is not None and current.open:
        means.rounds.put_round(name, replace(current, void=True))
    let_go(name, means)
    kept_until = whole_second(header.time + study.terms.waits.disputes)
    means.rounds.put(
        replace(
            study, status=Status.CLOSED, closed=header.time, kept_until=kept_until, report=report,
            contributions=contributions,
        )
    )  # fmt: skip
    means.dues.add(kept_until, DueKind.STUDY_SETTLES, name)


def dispute(asked: Dispute, signer: MemberSigner, header: Header, *, means: Means) -> None:
    """Also by a site that has left: what it submitted is in the model."""
    study = means.rounds.study(asked.study)
    if study is None:
        raise StudyUnknown(asked.study)
    if study.status in (Status.PROPOSED, Status.REJECTED):
        raise StudyNotApproved(asked.study)
    if study.kept_until is not None and study.kept_until <= header.time:
        raise DisputeLate(study.kept_until, header.time)
    site = means.rounds.site(asked.study, signer.member)
    if site is None:
        raise NotEnrolled(asked.study, signer.member)
    if asked.round > study.round:
        raise RoundNotFinal(asked.round, study.round)
    if asked.round in site.disputes:
        raise AlreadyDisputed(signer.member, asked.round)
    means.rounds.put_site(asked.study, signer.member, replace(site, disputes=(*site.disputes, asked.round)))
    if study.kept_until is not None and not site.disputes:
        kept_until = whole_second(header.time + study.terms.waits.disputes)
        means.rounds.put(replace(study, kept_until=kept_until))
        means.dues.add(kept_until, DueKind.STUDY_SETTLES, asked.study)


def keeps_updates(study: StudyId, at: int, rounds: Rounds) -> bool:
    """Whether sites still have to keep the sealed updates of a study at a header time (ms)."""
    found = rounds.study(study)
    if found is None or found.status in (Status.PROPOSED, Status.SETTLED, Status.REJECTED):
        return False
    return found.kept_until is None or at < found.kept_until


def settles(study: StudyId, header: Header, *, means: Means) -> None:
    """Due: the time for disputes is over, unless one made it longer."""
    found = means.rounds.study(study)
    if found is None or found.status != Status.CLOSED or found.kept_until is None or found.kept_until > header.time:
        return
    means.rounds.forget(study, found.round + 1)
    means.rounds.put(replace(found, status=Status.SETTLED))
