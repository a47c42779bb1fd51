"""A hospital that did not learn judges a study's model by its own rows: the figure that a buyer should ask for first.

A model that does well where it learnt may have learnt the hospital: its camera, its coding, whom it treats. So one site
is held out: its patients consent to the study at this site like any other's (the same form, the same purpose,
research), it never enrols, and when the model is final it is judged here. The rows are read under those consents alone,
and what is found stays here; to tell others is the hospital's own decision, outside the study.

Who took part may not: its rows were learnt from, and what it kept apart is judged by the rounds themselves. Nor is any
other model judged under these consents: patients agreed to this study. A hospital that tries models in its own care,
without this study, does so under its own law and not by this road.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import StudyId
from commonward.ledger.rounds import Rule
from commonward.records.model import Model, Tensor
from commonward.workflows.studying import Studying
from commonward.workflows.training.cohorts import Cohorts, Rows
from commonward.workflows.training.ports import Learner, Task

__all__ = ["HeldOut", "NotHeldOut", "judge"]


class NotHeldOut(Exception):
    """This member may not judge this model by this road; the sentence says why, and what it can do instead."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What was found: the rows judged (with their copies, if any), and the learner's counts."""

    rows: Rows
    counts: tuple[Tensor, ...]


async def judge(
    studying: Studying, member: str, cohorts: Cohorts, learners: Callable[[str, Digest], Learner], study: StudyId,
    model: Model,
) -> HeldOut:  # fmt: skip
    """Judge a study's last model by every row of this member whose patient consented to the study here.

    Args:
        learners: as `Training` is given: (name, digest approved) -> the learner in a process of its own.
        model: as published; it must be the one that the ledger has for the study.

    Raises:
        NotHeldOut: this member took part, the study makes no model or has none yet, or this is another model; or no
            row of a patient who consented is here.
        CohortFailed, LearnerError, NoSuchStudy, PapersMissing.
    """
    stands, papers = studying.study(study), await studying.papers(study)
    site = studying.rounds.site(study, member)
    # Of a study that is settled the ledger knows no sites any more; what this member's people decided rests here.
    part = studying.took_part(study) if site is None else site.enrolled or site.manifest is not None
    if part:
        raise NotHeldOut(
            "expected a member that took no part in the study; this one did, so the model has learnt from its rows: "
            "`commonward study report` has what its test rows say"
        )
    if stands.terms.rule is Rule.SUM or not stands.round:
        raise NotHeldOut(
            f"expected a study with a model, got one of rule {stands.terms.rule.name.lower()} at round {stands.round}"
        )
    if model.digest != stands.model:
        raise NotHeldOut(
            f"expected the model that the ledger has after round {stands.round}, {stands.model.hex()}, got "
            f"{model.digest.hex()}: patients agreed to this study's"
        )
    rows = await cohorts.rows(study, papers)
    if not len(rows.table):
        raise NotHeldOut(
            "no row of a patient who consented to this study at this site is here: `commonward study forms` brings "
            "their forms, as at a site that learns"
        )
    task = Task(study, stands.round, 1, stands.terms.rule, papers.protocol.learner_settings)

    def judged() -> tuple[Tensor, ...]:
        learner = learners(papers.protocol.learner, stands.terms.learner)
        try:
            learner.load(rows.table.take(()), rows.table)  # nothing to learn from: no home intercept either
            return learner.evaluate(model.artefact(), task)
        finally:
            learner.close()

    return HeldOut(rows, await asyncio.to_thread(judged))
