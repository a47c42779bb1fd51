"""What a site would have without the others: the study's own learner, rule and rounds, on this site's rows alone.

A federated model is worth its trouble where it does better than this. The rows to learn from and to be judged by are
those of the site's manifest, so both models are judged by the same patients. Nothing of it leaves the site, and it is
not kept: neither what is learnt here nor how it does is an update. So the study's noise, which protects patients from
those who see updates, is left out: this is the best that the site could do by itself, not the best it could publish.
"""

from typing import Final

from commonward.ledger.rounds import Rule, least_sites
from commonward.ledger.rounds.study import Study
from commonward.ledger.rounds.words import Mode
from commonward.records.aggregation import AggregationError, aggregate, kind_of
from commonward.records.model import Model, Tensor
from commonward.records.updates import Kind, Update, UpdateError
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.models import Learners, Models
from commonward.workflows.training.ports import LearnerError, Task
from commonward.workflows.training.site import Site, Waits

__all__ = ["alone"]

_OF_PRIVACY: Final = "noise"
"""The setting by which every private learner is told its noise (`study_papers.Noise`)."""


async def alone(
    site: Site, learners: Learners, models: Models, study: Study, papers: StudyPapers
) -> tuple[Tensor, ...]:
    """Counts of this site's test rows (`Learner.evaluate`) by a model of its training rows alone.

    Raises Waits: this site has no manifest, its learner fails, or the study makes no model.
    """
    name, terms, protocol = study.terms.study, study.terms, papers.protocol
    if kind_of(terms.rule) is Kind.SUM:
        raise Waits("a study that makes a model: this one adds up")
    manifest = site.store.manifest(name)
    if manifest is None:
        raise Waits("a manifest: this site takes no part in the study")
    # Rules for several sites, some of them false, say nothing of one: it averages with itself.
    rule = terms.rule if least_sites(Mode.OPEN, terms.rule, 0) == 1 else Rule.FEDAVG
    settings = {key: value for key, value in protocol.learner_settings.items() if key != _OF_PRIVACY}
    running = not study.status.over
    model: Model = await models.first(study, papers)
    learner = await learners.with_rows(name, manifest)
    try:
        for number in range(1, terms.rounds + 1):
            task = Task(name, number, 1, rule, settings)
            made = await site.off_loop(name, learner.train, model.artefact(), task)
            update = Update(name, number, 1, site.id, model.digest, made.kind, made.rows, made.tensors)
            model = aggregate(rule, protocol.rule_parameters, model, [update]).model
        task = Task(name, terms.rounds, 1, rule, settings)
        return await site.off_loop(name, learner.evaluate, model.artefact(), task)
    except (LearnerError, UpdateError, AggregationError) as cause:
        raise Waits(f"its learner, by itself: {cause}") from cause
    finally:
        if not running:
            await learners.release(name)
