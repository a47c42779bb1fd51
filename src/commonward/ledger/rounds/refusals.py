"""The refusals of studies before a round: 60x proposing, 62x sites. Those of rounds: `round_refusals`."""

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
