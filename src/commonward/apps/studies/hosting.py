"""What a node lends to learning: the views that make a cohort of records, and the learners that are installed here.

A learner is looked for in `DATA/learners/NAME`, where a hospital's people put what they approved, then among those that
come with Commonward. Neither the views' language nor Flower is loaded before a study needs them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from commonward.adapters.flower import BUNDLED, FlowerLearner, installed
from commonward.adapters.flower.installed import describe
from commonward.ledger.encoding import Digest
from commonward.records.table import Type
from commonward.workflows.training.cohorts import Gathered, Source
from commonward.workflows.training.ports import Description, Learner, LearnerFailed

__all__ = ["InstalledLearners", "columns_of", "gather"]


def gather(cohort: bytes, records: Iterable[tuple[Source, bytes]]) -> Gathered:
    """`workflows.training.cohorts.Gather` by SQL on FHIR views. Raises ValueError, which says where."""
    import orjson

    from commonward.adapters.fhir.cohort import Cohort

    trees: Iterable[tuple[Source, Any]] = ((source, orjson.loads(stored)) for source, stored in records)
    return Cohort.parse(cohort).gather(trees)


def columns_of(cohort: bytes) -> dict[str, Type]:
    """The columns that a cohort's views give, and what each holds. Raises ValueError for what cannot be read."""
    from commonward.adapters.fhir.cohort import Cohort

    return {each.name: each.type for each in Cohort.parse(cohort).columns}


class InstalledLearners:
    """The learners of one member's data directory, and the bundled ones."""

    def __init__(self, data: Path) -> None:
        self._own = data / "learners"

    def root(self, name: str) -> Path:
        """The folder that holds a learner of this name. Raises LearnerFailed."""
        if not name.isidentifier():
            raise LearnerFailed(f"expected a learner's name of letters, digits and _, got {name[:40]!r}")
        for root in (self._own, BUNDLED):
            if (root / name / "learner.json").is_file():
                return root
        known = ", ".join(each.name for each in self.known()) or "none"
        raise LearnerFailed(f"no learner {name} is installed here; installed are: {known}; put it into {self._own}")

    def known(self) -> list[Description]:
        """All that are installed, by name. Raises LearnerFailed for one that cannot be read."""
        found = {each.name: each for root in (BUNDLED, self._own) if root.is_dir() for each in installed(root)}
        return [found[name] for name in sorted(found)]

    def describe(self, name: str) -> Description:
        """What is installed under this name now. Raises LearnerFailed."""
        return describe(self.root(name), name)

    def __call__(self, name: str, approved: Digest) -> Learner:
        """The learner in a process of its own. Raises LearnerNotApproved where what is installed was not approved."""
        return FlowerLearner(name, approved, root=self.root(name))
