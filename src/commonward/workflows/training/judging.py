"""A model held against a site's own test rows: when it is, and what comes out."""

from commonward.ledger.rounds.study import Study
from commonward.records.aggregation import kind_of
from commonward.records.model import DType, Model
from commonward.records.updates import Kind
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.models import Learners
from commonward.workflows.training.papers import ManifestPaper, tensors_bytes
from commonward.workflows.training.ports import LearnerError, Task
from commonward.workflows.training.site import Site

__all__ = ["is_judged", "judged"]

REGRESSION = "regression"
"""A setting of learners whose counts are of the training rows (an information matrix): no test row is needed."""


def is_judged(study: Study, papers: StudyPapers, number: int) -> bool:
    """Whether the model of a round is judged: every so many rounds, and after the last. Sums are not."""
    protocol = papers.protocol
    due = number % protocol.evaluate_every == 0 or number == study.terms.rounds
    rows = protocol.test_share > 0 or REGRESSION in protocol.learner_settings
    return due and rows and kind_of(study.terms.rule) is Kind.DELTA


async def judged(
    site: Site,
    learners: Learners,
    study: Study,
    papers: StudyPapers,
    manifest: ManifestPaper,
    model: Model,
    place: tuple[int, int],
) -> bytes:
    """Counts of our test rows (`tensors_bytes`), by name. `place`: round and attempt.

    A site that happens to hold no test row counts zeros: a sum is of all sites, or there is none.

    Raises LearnerError, Waits.
    """  # fmt: skip
    name = study.terms.study
    learner = await learners.with_rows(name, manifest)
    task = Task(name, *place, study.terms.rule, papers.protocol.learner_settings)
    counts = await site.off_loop(name, learner.evaluate, model.artefact(), task)
    if any(each.dtype is not DType.I64 for each in counts):
        raise LearnerError("expected counts (i64) by which a model is judged, got other numbers")
    return tensors_bytes(sorted(counts, key=lambda each: each.name))
