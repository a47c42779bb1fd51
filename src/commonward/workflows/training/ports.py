"""What learning needs of the world: a learner, hosted where it can do no harm to the node.

A learner is a program that a hospital installed and approved by its digest. It sees the rows of the hospital's own
consented patients and gives back changes of weights, or sums. It is trusted with those rows and with nothing else: it
runs in a process of its own, without the node's keys, and what it answers is judged as if it came from a stranger.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from commonward.ledger.encoding import Digest
from commonward.ledger.rounds.words import Rule
from commonward.records.model import Model, Tensor
from commonward.records.table import Table
from commonward.records.updates import Kind

Setting: TypeAlias = int | str | bytes | tuple[int, ...]
"""A constant of a study's protocol. Fractions come as integers in a unit that the learner's description names."""


class LearnerError(Exception):
    """A learner gave no answer that can be used. The site sends nothing for this attempt; its next task starts anew."""


class LearnerNotApproved(LearnerError):
    """What is installed is not what the site's people approved."""


class LearnerFailed(LearnerError):
    """Its code raised, its process died (of memory, too), or its answer is no update."""


class LearnerTimedOut(LearnerError):
    """No answer in the time allowed. Its process has been ended."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a learner says of itself, for the people who approve it.

    Attributes:
        name: of the folder that it was installed in.
        digest: over its files: what a study names and a site approves.
        about: one sentence.
        columns: the columns that it reads of a cohort's table.
        settings: the settings that it reads, each with what it means and its unit.
        classes: the names of what it tells apart, in the order of its confusion matrix; () where it does not say.
    """

    name: str
    digest: Digest
    about: str
    columns: tuple[str, ...]
    settings: Mapping[str, str]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """One attempt at one round, as a learner is told of it.

    Attributes:
        study: 16 bytes.
        round: from 1.
        attempt: from 1.
        rule: what will be made of the answers.
        settings: of the study's protocol: what is not there is the learner's default.
    """

    study: bytes
    round: int
    attempt: int
    rule: Rule
    settings: Mapping[str, Setting] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """A site's part of a round, before it is bound to its place (`records.updates.Update`).

    Attributes:
        kind: `sum` under the rule SUM, else `delta`.
        rows: how many rows it was made of: the weight of a delta. 1 for a sum.
        tensors: q24 for a delta, i64 for a sum; sorted by name.
    """

    kind: Kind
    rows: int
    tensors: tuple[Tensor, ...]


class Learner(Protocol):
    """One installed learner with one site's rows. Synchronous, and called from one thread.

    Every call but `close` may raise LearnerError, and then may be made again: whatever the process held is given to it
    anew. Two calls with the same arguments need not give the same answer: a private learner draws fresh noise, which
    is charged again.
    """

    def describe(self) -> Description:
        """What is installed. Starts no process where it can be known without."""
        ...

    def load(self, train: Table, test: Table) -> None:
        """The rows to learn from and the rows to be judged by, until the next `load`. No patient is in both."""
        ...

    def first_model(self, settings: Mapping[str, Setting]) -> Model:
        """The model that a study with these settings starts from: the same at every site. Needs no rows."""
        ...

    def train(self, base: Model, task: Task) -> Trained:
        """Learn from the rows to learn from; under the rule SUM, add them up."""
        ...

    def evaluate(self, model: Model, task: Task) -> tuple[Tensor, ...]:
        """Judge a model by the rows to be judged by: counts and histograms (i64), which can be summed over sites."""
        ...

    def close(self) -> None:
        """End the process. Any number of times."""
        ...
