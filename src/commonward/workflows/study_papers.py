"""A study on paper: what its proposer wrote down, which the ledger commits to and every member can read.

The ledger shows what its rules need (`ProposeStudy`). The papers say the rest: the title, the learner's name and
constants, the constants of the rule, who is in the cohort, who may see what. Their salts travel with them, so whoever
has the papers holds them against the ledger, and a stranger who has neither learns nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Encodable, decode, encode
from commonward.ledger.ids import Digest, MemberId, StudyId
from commonward.ledger.rounds import Mode, ProposeStudy, Rule
from commonward.records.evidence import label_of
from commonward.records.openings import Opening, OpeningError
from commonward.records.privacy import RATE_UNIT, charge
from commonward.records.rule_parameters import AggregationError, Parameters
from commonward.records.statistics import StatisticsError, described
from commonward.workflows.training.ports import Setting
from commonward.workflows.wire import Message, MessageError

__all__ = ["MAX_COHORT", "Noise", "Protocol", "StudyPapers", "WrongPapers", "settings_bytes"]

PROTOCOL: Final = label_of(ProposeStudy, "protocol")
COHORT: Final = label_of(ProposeStudy, "cohort")
VIEWERS: Final = label_of(ProposeStudy, "viewers")
MAX_COHORT: Final = 4 << 20
NOTHING: Final = encode([])


class WrongPapers(ValueError):
    """Papers that are not those which the ledger commits to, or that contradict what stands there in clear."""


@dataclass(frozen=True, slots=True)
class Noise(Message):
    """What a private learner adds: of this the charge follows (`records.privacy.charge`).

    `noise`: standard deviation over the clipping norm, in millionths. `rate`: probability that a row is in a step's
    batch, in billionths. `steps`: noisy steps in a round.
    """

    noise: int
    rate: int
    steps: int


@dataclass(frozen=True, slots=True)
class Protocol(Message):
    """The constants of a study that the ledger does not show.

    Attributes:
        title: for people.
        about: why it is done, for the ethics roles and the model card.
        learner: the name under which sites have installed it; the ledger has its digest.
        settings: of the learner, as `settings_bytes` writes them.
        parameters: of the rule, as `records.rule_parameters.Parameters` writes them.
        test_share: of a site's patients, how many of a thousand are kept apart to judge the model by.
        evaluate_every: the model is judged after every so many rounds, and after the last.
        noise: absent where the study charges no privacy.
        label: the column that is to be predicted; "" where there is none.
        label_share: of the proposer's own rows, how many of a thousand have a label above 0: sites compare theirs.
        synthetic: the records were made by a program; absent where they are patients'. Every figure then says so.
        statements: what only people know of it, for its model card ([[item, text], ...], as `settings_bytes` writes
            them): whom it is for, how the truth was found, who paid.
        label_shares: where the label is a class: [[class, how many of a thousand at the proposer], ...], as
            `settings_bytes` writes them.
        contributions: what the last model would be without each site is measured, and committed to at the end (open
            mode). It costs a site one evaluation for each of the sites.
        per_site: each site's own counts by the last model leave it, once, at the end (open mode). Exact counts are
            covered by no noise, so the ethics roles waive privacy for them.
    """

    title: str
    about: str
    learner: str
    settings: bytes
    parameters: bytes
    test_share: int
    evaluate_every: int
    noise: Noise | None = None
    label: str = ""
    label_share: int | None = None
    synthetic: bool | None = None
    statements: bytes | None = None
    contributions: bool | None = None
    per_site: bool | None = None
    label_shares: bytes | None = None

    def __post_init__(self) -> None:
        if not self.title or not self.learner:
            raise MessageError("expected a title and a learner's name, got nothing")
        if not 0 <= self.test_share <= 900:
            raise MessageError(f"expected a test share from 0 to 900 of a thousand, got {self.test_share}")
        if self.label_share is not None and not 0 <= self.label_share <= 1000:
            raise MessageError(f"expected a label share from 0 to 1000 of a thousand, got {self.label_share}")
        if self.evaluate_every < 1:
            raise MessageError(f"expected evaluate_every from 1, got {self.evaluate_every}")
        try:
            Parameters.parse(self.parameters)
        except AggregationError as cause:
            raise MessageError(f"parameters: {cause}") from cause
        read_settings(self.settings)
        shares = read_settings(self.label_shares or NOTHING)
        if not all(isinstance(each, int) and 0 <= each <= 1000 for each in shares.values()):
            raise MessageError("label_shares: expected for each class a share from 0 to 1000 of a thousand")
        if not all(isinstance(each, str) for each in read_settings(self.statements or NOTHING).values()):
            raise MessageError("statements: expected a text for each item")

    @property
    def rule_parameters(self) -> Parameters:
        return Parameters.parse(self.parameters)

    @property
    def learner_settings(self) -> dict[str, Setting]:
        return read_settings(self.settings)

    @property
    def class_shares(self) -> dict[str, int]:
        """Class -> its share at the proposer, of a thousand; empty where the label is no class, or nothing is said."""
        return {name: each for name, each in read_settings(self.label_shares or NOTHING).items() if type(each) is int}

    @property
    def card_statements(self) -> dict[str, str]:
        """Item of the model card -> what the proposer states of it."""
        return {item: str(said) for item, said in read_settings(self.statements or NOTHING).items()}


@dataclass(frozen=True, slots=True)
class PapersOf(Message):
    """Which study's papers are wanted."""

    study: StudyId


@dataclass(frozen=True, slots=True)
class StudyPapers(Message):
    """The papers of one study, with the three salts that open them.

    `cohort`: `{"key": ..., "views": [ViewDefinition, ...]}` as JSON. `viewers`: members who may see what comes out at
    the end, by id, ascending.
    """

    study: StudyId
    protocol: Protocol
    cohort: bytes
    viewers: tuple[MemberId, ...]
    salts: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if len(self.salts) != 3 or any(len(each) != 32 for each in self.salts):
            raise MessageError("expected three salts of 32 bytes")
        if len(self.cohort) > MAX_COHORT:
            raise MessageError(f"expected a cohort of at most {MAX_COHORT} bytes, got {len(self.cohort)}")

    @property
    def openings(self) -> tuple[Opening, Opening, Opening]:
        """Of `protocol`, `cohort`, `viewers`."""
        protocol, cohort, viewers = self.salts
        return (
            Opening(PROTOCOL, protocol, self.protocol.to_bytes()),
            Opening(COHORT, cohort, self.cohort),
            Opening(VIEWERS, viewers, list(self.viewers)),
        )

    @property
    def commitments(self) -> tuple[Digest, Digest, Digest]:
        """As ProposeStudy has them, in its order."""
        protocol, cohort, viewers = self.openings
        return protocol.commitment, cohort.commitment, viewers.commitment

    def check(self, terms: ProposeStudy) -> None:
        """Hold them against the ledger: the commitments, and that the charge is what the declared noise costs.

        Raises WrongPapers.
        """
        for opening, (label, stands) in zip(
            self.openings, ((PROTOCOL, terms.protocol), (COHORT, terms.cohort), (VIEWERS, terms.viewers)), strict=True
        ):
            try:
                opening.check(stands, label)
            except OpeningError as cause:
                raise WrongPapers(f"study {self.study.hex()}: {cause}") from cause
        noise = self.protocol.noise
        declared = None if noise is None else charge(noise.noise, noise.rate, noise.steps)
        if declared != terms.charge:
            raise WrongPapers(f"study {self.study.hex()}: its charge is not what its declared noise costs")
        _check_told(self.study, noise, self.protocol.learner_settings)
        self._check_shown(terms)
        self._check_counted(terms)
        if noise is not None and terms.row_cap != 1:
            # A learner sees rows and no patients: it clips each row. Who brings two moves its sums by twice the clip.
            raise WrongPapers(
                f"study {self.study.hex()}: expected row_cap = 1, since what is charged covers one row of a patient, "
                f"got {terms.row_cap}: let the cohort make one row of each patient, or ask for a waiver without noise"
            )
        if self.protocol.rule_parameters.f != terms.f:
            raise WrongPapers(
                f"study {self.study.hex()}: expected f = {terms.f} in its parameters, as the ledger has it, "
                f"got {self.protocol.rule_parameters.f}"
            )

    def _check_shown(self, terms: ProposeStudy) -> None:
        """What is shown of single sites, only where their updates are shown; their counts, only by a waiver."""
        protocol = self.protocol
        if terms.mode != Mode.OPEN and (protocol.contributions or protocol.per_site):
            raise WrongPapers(
                f"study {self.study.hex()}: expected an open one to show what single sites bring, got masked"
            )
        if protocol.per_site and not terms.waiver:
            raise WrongPapers(
                f"study {self.study.hex()}: expected privacy to be waived for each site's own counts, which are exact "
                "and charged to no budget: say waiver, or leave per_site out"
            )

    def _check_counted(self, terms: ProposeStudy) -> None:
        """A study of statistics sums once: two sums would tell of the patient who withdrew in between. With noise it
        counts one row of a patient and nothing but counts, which the noise covers."""
        protocol, told = self.protocol, self.protocol.learner_settings.get("statistics")
        if told is None:
            return
        try:
            declared = described(told)
        except StatisticsError as cause:
            raise WrongPapers(f"study {self.study.hex()}: statistics: {cause}") from cause
        once = terms.rounds == 1 and terms.rule == Rule.SUM and protocol.test_share == 0
        if not once or dict(protocol.rule_parameters.sums) != dict(declared.shapes):
            raise WrongPapers(
                f"study {self.study.hex()}: expected statistics to be one round of the rule SUM over every row, with "
                f"the sums that they declare, got {terms.rounds} rounds of {terms.rule.name} and {protocol.test_share} "
                "of 1000 patients kept apart, or other sums"
            )
        if (protocol.noise is None) != declared.sums or (protocol.noise is not None and terms.row_cap != 1):
            raise WrongPapers(
                f"study {self.study.hex()}: expected noise on counts alone, of one row for each patient, and sums only "
                f"without noise, got {terms.row_cap} rows a patient"
            )


def _check_told(study: bytes, noise: Noise | None, settings: Mapping[str, Setting]) -> None:
    """What is charged for is what the learner is told to add (by the names `noise`, `steps`, `rate`), and no less."""
    charged = {"noise": 0} if noise is None else {"noise": noise.noise, "steps": noise.steps, "rate": noise.rate}
    for name, declared in charged.items():
        usual = {"noise": 0, "rate": RATE_UNIT}.get(name)
        if settings.get(name, usual) != declared:
            raise WrongPapers(
                f"study {study.hex()}: expected the learner to be told {name} = {declared}, which the study declares, "
                f"got {settings.get(name, 'nothing')!r}"
            )


def settings_bytes(settings: Mapping[str, Setting]) -> bytes:
    """encode([[name, value], ...]), by name."""
    rows: list[Encodable] = [[name, _plain(settings[name])] for name in sorted(settings)]
    return encode(rows)


def _plain(value: Setting) -> Encodable:
    return list(value) if isinstance(value, tuple) else value


def read_settings(data: bytes) -> dict[str, Setting]:
    """Raises MessageError."""
    try:
        rows = decode(data)
    except ValueError as cause:
        raise MessageError(f"settings: expected our encoding: {cause}") from cause
    found: dict[str, Setting] = {}
    for row in rows if isinstance(rows, list) else [None]:
        match row:
            case [str(name), int() | str() | bytes() as value] if name not in found:
                found[name] = value
            case [str(name), list(numbers)] if name not in found and all(type(each) is int for each in numbers):
                found[name] = tuple(each for each in numbers if isinstance(each, int))
            case _:
                raise MessageError("settings: expected [[name, value], ...], each name once")
    return found
