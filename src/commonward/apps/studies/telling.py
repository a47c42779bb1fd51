"""A study as its ledger state and its papers tell it: plain values, for the control API and whoever shows them."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any, Final

from commonward.apps.studies.metrics import variants
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.budget import epsilon
from commonward.ledger.rounds.study import Round, Rounds, Study
from commonward.ledger.rounds.words import BANDS
from commonward.records.model import Tensor
from commonward.workflows.office import Office
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.progress import StudyProgress
from commonward.workflows.training.store import Store

__all__ = ["band", "round_told", "told", "told_briefly"]


def told_briefly(office: Office, study: StudyId) -> dict[str, Any]:
    """A line of the list."""
    studying = office.studying
    stands, papers = studying.study(study), studying.held(study)
    own = studying.rounds.site(study, office.member.id)
    return {
        "study": study.hex(),
        "title": papers.protocol.title if papers is not None else "",
        "by": stands.proposer,
        "status": stands.status.name.lower(),
        "mode": stands.terms.mode.name.lower(),
        "rule": stands.terms.rule.name.lower(),
        "round": stands.round,
        "rounds": stands.terms.rounds,
        "sites": [each for each in studying.rounds.sites(study) if _enrolled(studying.rounds, study, each)],
        "enrolled": own is not None and own.enrolled,
        "voted": _own_vote(stands, office.member.id),
        "end": stands.terms.end,
    }


def _enrolled(rounds: Rounds, study: StudyId, member: MemberId) -> bool:
    site = rounds.site(study, member)
    return site is not None and site.enrolled


def _own_vote(stands: Study, member: MemberId) -> bool | None:
    return True if member in stands.ayes else False if member in stands.noes else None


def told(office: Office, study: StudyId, papers: StudyPapers) -> dict[str, Any]:
    """All of it, for `study show`, the live view and the report."""
    rounds, stands = office.studying.rounds, office.studying.study(study)
    terms, protocol = stands.terms, papers.protocol
    numbers = range(1, stands.round + 2)
    return {
        **told_briefly(office, study),
        "about": protocol.about,
        "f": terms.f,
        "min_sites": terms.min_sites,
        "awaited": terms.awaited,
        "row_cap": terms.row_cap,
        "waits": {name: getattr(terms.waits, name) for name in ("votes", "sites", "updates", "signatures", "disputes")},
        "proposed": stands.proposed,
        "approved": stands.approved,
        "closed": stands.closed,
        "kept_until": stands.kept_until,
        "ayes": list(stands.ayes),
        "noes": list(stands.noes),
        "waivers": list(stands.waivers),
        "learner": {
            "name": protocol.learner,
            "digest": terms.learner.hex(),
            "settings": {
                name: list(value) if isinstance(value, tuple) else value.hex() if isinstance(value, bytes) else value
                for name, value in protocol.learner_settings.items()
            },
        },
        "privacy": _privacy(stands, papers),
        "test_share": protocol.test_share / 1000,
        "evaluate_every": protocol.evaluate_every,
        "label": protocol.label,
        "synthetic": bool(protocol.synthetic),
        "statements": protocol.card_statements,
        "viewers": list(papers.viewers),
        "cohort": json.loads(papers.cohort),
        "model": stands.model.hex(),
        "chain": stands.chain.hex(),
        "site": [_site(rounds, study, member) for member in rounds.sites(study)],
        "attempts": stands.attempt,
        "progress": [
            round_told(found) for number in numbers if (found := rounds.round(study, number)) is not None
        ],
    }  # fmt: skip


def _privacy(stands: Study, papers: StudyPapers) -> dict[str, Any]:
    terms, noise = stands.terms, papers.protocol.noise
    if terms.charge is None or terms.delta is None or noise is None:
        return {"charged": False, "waiver": terms.waiver}
    whole = [each * terms.rounds for each in terms.charge]
    return {
        "charged": True,
        "waiver": terms.waiver,  # of each site's own counts at the end, which no noise covers
        "delta": terms.delta,
        "epsilon_a_round": epsilon(terms.charge, terms.delta) / 1e6,
        "epsilon_in_all": epsilon(whole, terms.delta) / 1e6,
        "epsilon_by_round": [
            epsilon([each * number for each in terms.charge], terms.delta) / 1e6
            for number in range(1, terms.rounds + 1)
        ],
        "noise": noise.noise / 1e6,
        "rate": noise.rate / 1e9,
        "steps": noise.steps,
    }


def _site(rounds: Rounds, study: StudyId, member: MemberId) -> dict[str, Any]:
    site, stands = rounds.site(study, member), rounds.study(study)
    assert site is not None and stands is not None  # it is listed
    delta = stands.terms.delta
    placed = site.manifest
    return {
        "member": member,
        "enrolled": site.enrolled,
        "leaving": site.leaving,
        "patients": None if placed is None else band(placed.patients),
        "rows": None if placed is None else band(placed.rows),
        "manifest": None if placed is None else placed.digest.hex(),
        "manifest_at": None if placed is None else placed.seen,
        "train": None if placed is None else placed.train.hex(),
        "test": None if placed is None else placed.test.hex(),
        "masks": site.masks is not None,
        "spent": None if delta is None else epsilon(rounds.spent(member), delta) / 1e6,
        "budget": None if delta is None else rounds.cap().epsilon / 1e6,
        "disputes": list(site.disputes),
    }


def band(number: int) -> str:
    """A band of counts, as the ledger shows them: "50 to 99"."""
    low = BANDS[number]
    return f"{low} to {BANDS[number + 1] - 1}" if number + 1 < len(BANDS) else f"{low} or more"


def round_told(found: Round) -> dict[str, Any]:
    """The last attempt at one round."""
    return {
        "round": found.round,
        "attempt": found.attempt,
        "opened": found.opened,
        "deadline": found.deadline,
        "sign_by": found.sign_by,
        "sites": list(found.sites),
        "voters": list(found.voters),
        "updates": [each.site for each in found.updates],
        "fixed": found.fixed,
        "signed": [each.site for each in found.signed],
        "exclusions": list(found.exclusions or ()),
        "final": found.final,
        "void": found.void,
        "base": found.base.hex(),
        "model": None if found.model is None else found.model.hex(),
        "chain": None if found.chain is None else found.chain.hex(),
        "stage": _stage(found),
    }


def _stage(found: Round) -> str:
    if found.final is not None:
        return "final"
    if found.void:
        return "void"
    return "signing" if found.fixed is not None else "training"


_CURVE: Final = ("accuracy", "balanced", "auroc", "brier", "ece", "rows")


@lru_cache(maxsize=4096)
def _figures(tensors: tuple[Tensor, ...]) -> tuple[float | None, ...] | None:
    """A round's point of each curve; None where nothing was judged. Kept: who follows a study asks twice a second."""
    found = variants(tensors).get("")
    return None if found is None else tuple(found.get(name) for name in _CURVE)


def local_told(progress: StudyProgress) -> dict[str, Any]:
    """What this site alone knows of a study: how the model does, by round, and what the site waits for."""
    curve, last = [], dict[str, tuple[int, tuple[Tensor, ...]]]()
    for each in progress.rounds:
        for of, tensors in (("all", each.all_sites), ("own", each.own)):
            figures = _figures(tuple(tensors))
            if figures is not None:
                curve.append({"round": each.round, "of": of, **dict(zip(_CURVE, figures, strict=True))})
                last[of] = (each.round, tensors)
    return {
        "curve": curve,
        **{of: {**variants(tensors), "round": number} for of, (number, tensors) in last.items()},
        "rounds": [{"round": each.round, "agrees": each.agrees} for each in progress.rounds],
        "waits_for": progress.waits_for,
        "updates_kept": progress.updates_kept,
    }


def shares(office: Office, study: StudyId) -> dict[str, dict[str, Any]]:
    """Open mode: each site's part of the rows behind the last final round's model, while the updates are kept here.

    {member: {"rows": share, "left_out": judged counts of the model without it, "why": of there being none}}
    """
    stands, store = office.studying.study(study), Store(office.member)
    last = office.studying.rounds.round(study, stands.round) if stands.round else None
    if last is None or stands.terms.mode is Mode.MASKED:
        return {}
    rows = {}
    for each in last.updates:
        kept = store.update(study, last.round, last.attempt, each.site)
        if kept is not None and each.site not in (last.exclusions or ()):
            rows[each.site] = kept.rows
    whole = sum(rows.values())
    if not whole:
        return {}
    return {site: {"rows": count / whole, "left_out": {}, "why": ""} for site, count in rows.items()}


OVER = frozenset(each.name.lower() for each in Status if each.over or each in (Status.COMPLETE, Status.STALLED))
"""Statuses after which no round opens any more."""
