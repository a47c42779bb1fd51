"""The refusals of studies: 60x proposing, 62x sites, 64x updates, 65x countersignatures, 66x ends."""

from dataclasses import dataclass
from typing import ClassVar

from commonward.ledger.refusals import Refusal

# ----------------------------------------------------------------------------------------------------------- proposing


@dataclass(eq=False)
class StudyTaken(Refusal):
    code: ClassVar[int] = 601
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} is known already, and an id never stands for two: take 16 new random bytes"


@dataclass(eq=False)
class ModeAgainstRule(Refusal):
    code: ClassVar[int] = 602
    mode: str
    rule: str

    def __str__(self) -> str:
        return f"rule {self.rule} does not work in mode {self.mode}: masked studies know sums alone, and SUM is masked"


@dataclass(eq=False)
class TooFewSitesForRule(Refusal):
    code: ClassVar[int] = 603
    rule: str
    f: int
    sites: int
    least: int

    def __str__(self) -> str:
        return f"{self.rule} with f = {self.f} needs {self.least} sites at least in this mode, got {self.sites}"


@dataclass(eq=False)
class PrivacyNotWaived(Refusal):
    code: ClassVar[int] = 604
    study: bytes

    def __str__(self) -> str:
        return f"open study {self.study.hex()} charges no privacy: charge it, or ask the ethics roles for a waiver"


@dataclass(eq=False)
class ChargeNotSound(Refusal):
    code: ClassVar[int] = 605
    what: str

    def __str__(self) -> str:
        return f"this charge is not one: {self.what}"


@dataclass(eq=False)
class StudyOutOfBounds(Refusal):
    code: ClassVar[int] = 606
    what: str

    def __str__(self) -> str:
        return f"these terms are out of bounds: {self.what}"


@dataclass(eq=False)
class TooManyStudies(Refusal):
    code: ClassVar[int] = 607
    most: int
    whose: str

    def __str__(self) -> str:
        return f"{self.most} studies of {self.whose} are open, which is the most: close one first"


@dataclass(eq=False)
class StudyUnknown(Refusal):
    code: ClassVar[int] = 608
    study: bytes

    def __str__(self) -> str:
        return f"nobody proposed a study {self.study.hex()}"


@dataclass(eq=False)
class ApprovalClosed(Refusal):
    code: ClassVar[int] = 609
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} does not wait for votes (any more)"


@dataclass(eq=False)
class AlreadyJudged(Refusal):
    code: ClassVar[int] = 610
    study: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} has voted on study {self.study.hex()}"


@dataclass(eq=False)
class WaiverNotAsked(Refusal):
    code: ClassVar[int] = 611
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} asks for no waiver, or the vote is a no: vote without one"


# --------------------------------------------------------------------------------------------------------------- sites


@dataclass(eq=False)
class StudyNotApproved(Refusal):
    code: ClassVar[int] = 621
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} is not approved: nobody takes part yet"


@dataclass(eq=False)
class StudyOver(Refusal):
    code: ClassVar[int] = 622
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} is over"


@dataclass(eq=False)
class WrongLearner(Refusal):
    code: ClassVar[int] = 623
    expected: bytes
    got: bytes

    def __str__(self) -> str:
        return f"the approved learner is {self.expected.hex()}, not {self.got.hex()}: install the approved one"


@dataclass(eq=False)
class AlreadyEnrolled(Refusal):
    code: ClassVar[int] = 624
    study: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} takes part in study {self.study.hex()} already"


@dataclass(eq=False)
class TooManySites(Refusal):
    code: ClassVar[int] = 625
    most: int

    def __str__(self) -> str:
        return f"a study has at most {self.most} sites"


@dataclass(eq=False)
class NotEnrolled(Refusal):
    code: ClassVar[int] = 626
    study: bytes
    member: str

    def __str__(self) -> str:
        return f"{self.member} is not enrolled in study {self.study.hex()}, or was not when the round opened"


@dataclass(eq=False)
class ManifestTooOld(Refusal):
    """Its author had not seen the last withdrawal at the site when it was made."""

    code: ClassVar[int] = 627
    seen: int
    withdrawn: int

    def __str__(self) -> str:
        return (
            f"the manifest's recent root is of {self.seen} ms; a consent ended at {self.withdrawn} ms: "
            "make it again without that patient"
        )


@dataclass(eq=False)
class AboveCounter(Refusal):
    code: ClassVar[int] = 628
    what: str
    least: int
    most: int

    def __str__(self) -> str:
        return f"the band says at least {self.least} {self.what}; open research consents allow {self.most}"


@dataclass(eq=False)
class HeldOutChanged(Refusal):
    code: ClassVar[int] = 629
    before: bytes
    now: bytes

    def __str__(self) -> str:
        return f"test set {self.before.hex()} cannot become {self.now.hex()}: no consent was withdrawn since"


@dataclass(eq=False)
class KeysStand(Refusal):
    code: ClassVar[int] = 630
    member: str

    def __str__(self) -> str:
        return f"keys of {self.member} wait for the next attempt already: they are used first"


@dataclass(eq=False)
class NotMasked(Refusal):
    code: ClassVar[int] = 631
    study: bytes

    def __str__(self) -> str:
        return f"study {self.study.hex()} is open: it has no masks"


# ------------------------------------------------------------------------------------------------------------- updates


@dataclass(eq=False)
class RoundNotOpen(Refusal):
    code: ClassVar[int] = 641
    round: int
    attempt: int
    why: str

    def __str__(self) -> str:
        return f"attempt {self.attempt} at round {self.round} is not open for this: {self.why}"


@dataclass(eq=False)
class UpdateRepeated(Refusal):
    code: ClassVar[int] = 642
    member: str

    def __str__(self) -> str:
        return f"{self.member} has submitted its update to this attempt"


@dataclass(eq=False)
class ManifestStale(Refusal):
    code: ClassVar[int] = 643
    member: str
    withdrawn: int

    def __str__(self) -> str:
        return f"a consent at {self.member} ended at {self.withdrawn} ms: it needs a manifest made after that"


@dataclass(eq=False)
class BudgetExceeded(Refusal):
    code: ClassVar[int] = 644
    member: str
    would: int
    cap: int

    def __str__(self) -> str:
        return (
            f"with this update the patients of {self.member} would have spent epsilon {self.would} millionths; the cap "
            f"over all studies is {self.cap}"
        )


@dataclass(eq=False)
class WrongBase(Refusal):
    code: ClassVar[int] = 645
    expected: bytes
    got: bytes

    def __str__(self) -> str:
        return f"the round starts from model {self.expected.hex()}, this update from {self.got.hex()}"


@dataclass(eq=False)
class NoMaskKeys(Refusal):
    code: ClassVar[int] = 646
    member: str

    def __str__(self) -> str:
        return f"no keys of {self.member} stood when this attempt opened: nobody masks against it"


@dataclass(eq=False)
class NotInRound(Refusal):
    code: ClassVar[int] = 647
    member: str

    def __str__(self) -> str:
        return f"{self.member} was not ready when this attempt opened: it may be in the next"


# --------------------------------------------------------------------------------------------------- countersignatures


@dataclass(eq=False)
class SetNotFixed(Refusal):
    code: ClassVar[int] = 651
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"the set of attempt {self.attempt} at round {self.round} was not fixed in a block before this one"


@dataclass(eq=False)
class AlreadyCountersigned(Refusal):
    code: ClassVar[int] = 652
    member: str

    def __str__(self) -> str:
        return f"{self.member} has countersigned this attempt"


@dataclass(eq=False)
class TooFewLeft(Refusal):
    code: ClassVar[int] = 653
    left: int
    least: int

    def __str__(self) -> str:
        return f"these exclusions leave {self.left} updates; the study needs {self.least}"


@dataclass(eq=False)
class NotToExclude(Refusal):
    code: ClassVar[int] = 654
    what: str

    def __str__(self) -> str:
        return f"these exclusions cannot be: {self.what}"


@dataclass(eq=False)
class WrongLink(Refusal):
    code: ClassVar[int] = 655
    expected: bytes
    got: bytes

    def __str__(self) -> str:
        return f"what it says of the round links to {self.expected.hex()}, not to {self.got.hex()}"


@dataclass(eq=False)
class AgainstFinal(Refusal):
    code: ClassVar[int] = 656
    round: int
    chain: bytes

    def __str__(self) -> str:
        return f"round {self.round} is final as {self.chain.hex()}: who computed otherwise disputes it"


# ---------------------------------------------------------------------------------------------------------------- ends


@dataclass(eq=False)
class RoundNotFinal(Refusal):
    code: ClassVar[int] = 661
    round: int
    last: int

    def __str__(self) -> str:
        return f"round {self.round} is not final, so there is nothing to dispute; the last final round is {self.last}"


@dataclass(eq=False)
class DisputeLate(Refusal):
    code: ClassVar[int] = 662
    until: int
    now: int

    def __str__(self) -> str:
        return f"updates were kept for disputes until {self.until} ms; now it is {self.now} ms"


@dataclass(eq=False)
class AlreadyDisputed(Refusal):
    code: ClassVar[int] = 663
    member: str
    round: int

    def __str__(self) -> str:
        return f"{self.member} disputes round {self.round} already"


@dataclass(eq=False)
class NotProposer(Refusal):
    code: ClassVar[int] = 664
    member: str
    proposer: str

    def __str__(self) -> str:
        return f"the study is closed by {self.proposer}, who proposed it, not by {self.member}"


@dataclass(eq=False)
class RoundUnderWay(Refusal):
    code: ClassVar[int] = 665
    round: int
    attempt: int

    def __str__(self) -> str:
        return f"attempt {self.attempt} at round {self.round} has updates: close the study when the round has ended"


@dataclass(eq=False)
class WrongEnd(Refusal):
    code: ClassVar[int] = 666
    what: str
    expected: bytes
    got: bytes

    def __str__(self) -> str:
        return f"the study ends with {self.what} {self.expected.hex()}, not {self.got.hex()}"
