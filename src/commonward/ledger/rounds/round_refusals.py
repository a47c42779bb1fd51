"""The refusals of a study's rounds: 64x updates, 65x countersignatures, 66x ends."""

from dataclasses import dataclass
from typing import ClassVar

from commonward.ledger.refusals import Refusal

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
