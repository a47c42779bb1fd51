"""When a study calls for a pass at this site: what a pass acts upon, read from the ledger after each block.

Two looks that give the same stage have nothing new to do between them. What this site did itself is no part of it (a
pass knows what it did), nor are the updates and signatures of others before they are enough: of a round that all goes
well with, a site sees two stages, its set fixed and the next one opened.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from commonward.ledger.ids import StudyId
from commonward.ledger.rounds import Mode, Status
from commonward.ledger.rounds.means import fresh
from commonward.ledger.rounds.study import Study
from commonward.workflows.training.site import Site

__all__ = ["Stages"]


@dataclass
class Stages:
    """Of one site: the stage of each study at the last look."""

    site: Site
    seen: dict[StudyId, Hashable] = field(default_factory=dict)
    listed: Hashable = None

    def moved(self, name: StudyId) -> bool:
        """Whether a study is at another stage than at the last call."""
        now = self._stage(name)
        before = self.seen.get(name)
        self.seen[name] = now
        return now != before

    def others(self) -> bool:
        """Whether this member has a part in other studies than at the last call."""
        rounds = self.site.rounds
        live = rounds.studies()
        now = (live, tuple(rounds.site(each, self.site.id) is not None for each in live))
        before, self.listed = self.listed, now
        return now != before

    def _stage(self, name: StudyId) -> Hashable:
        study = self.site.rounds.study(name)
        if study is None:
            return None
        current = self.site.current(study)
        attempt = None if current is None else (current.attempt, current.fixed is not None, current.open)
        return (
            study.status,
            study.round,
            study.attempt,
            attempt,
            self._own(study),
            self._ends(study),
            self._masks(study),
        )

    def _own(self, study: Study) -> Hashable:
        """Whether we take part, and whether our manifest stands, or could now be made."""
        name = study.terms.study
        mine = self.site.enrolment(name)
        if mine is None:
            return None
        count = self.site.office.research.count(name)
        stands = fresh(mine.manifest, count)
        return mine.enrolled, mine.leaving, stands, None if stands else count

    def _ends(self, study: Study) -> Hashable:
        """Who signed the last round, for what hangs on it; until when updates are kept."""
        if study.status not in (Status.COMPLETE, Status.CLOSED):
            return study.kept_until
        last = self.site.rounds.round(study.terms.study, study.round)
        return study.kept_until, None if last is None else len(last.signed)

    def _masks(self, study: Study) -> Hashable:
        """Whose keys stand for the next attempt: their deals are fetched ahead."""
        if study.terms.mode != Mode.MASKED:
            return None
        name, rounds = study.terms.study, self.site.rounds
        found = [rounds.site(name, each) for each in rounds.sites(name)]
        return tuple(None if each is None else each.masks for each in found)
