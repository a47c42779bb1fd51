"""Studies on the kit's ledger: four sites (clinic, health, north, south), everything made from names.

study = proposed(kit); approve(kit, study); enrol(kit, study); ready(kit, study)     round 1 is open
submit_all(kit, study); sign_all(kit, study)                                         round 1 is final, 2 is open
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from commonward.ledger.consent import Assurance, Consent, Research
from commonward.ledger.ids import Algorithm, BlockTime, ConsentId, MemberId, StudyId
from commonward.ledger.refusals import Refusal
from commonward.ledger.rounds import (
    ApproveStudy,
    CloseStudy,
    Countersign,
    EnrolSite,
    Manifest,
    MaskKeys,
    Mode,
    ProposeStudy,
    Rule,
    SubmitUpdate,
    Waits,
)
from commonward.ledger.rounds.countersigning import link_of
from commonward.ledger.rounds.study import Round, Study
from commonward.ledger.wire import Payload
from tests.ledgerkit import Kit, SoftKey, commitment, handle_of

DAY = 86_400_000
HOUR = 3_600_000
SITES = ("clinic", "health", "north", "south")
WAITS = Waits(HOUR, 10 * 60_000, 5 * 60_000, 4 * 60_000, DAY)
CHARGE = (400_000,) * 16
"""At delta 10^-5 and the usual cap of epsilon 10, a member affords 24 of these (9.6 + 0.045 at the last order)."""


def study_id(name: str) -> StudyId:
    return StudyId(commitment("study", name)[:16])


def terms(kit: Kit, name: str = "s", **bent: Any) -> ProposeStudy:
    """Open FedAvg of three sites at least, four awaited, three rounds, with a charge."""
    asked = ProposeStudy(
        study_id(name), Mode.OPEN, Rule.FEDAVG, 0, commitment("learner"), commitment("model"), 3, 10, 3, WAITS,
        BlockTime(kit.next_time() + 30 * DAY), commitment("protocol"), commitment("cohort"), commitment("viewers"),
        False, 4, CHARGE, 5,
    )  # fmt: skip
    return replace(asked, **bent)


def masked(kit: Kit, name: str = "s", **bent: Any) -> ProposeStudy:
    return replace(terms(kit, name, mode=Mode.MASKED, charge=None, delta=None), **bent)


def together(kit: Kit, *asked: tuple[Payload, str]) -> list[Refusal | None]:
    """One block of these, each by its member. Returns their refusals."""
    return list(kit.block([kit.sign(payload, by=by) for payload, by in asked]).refusals)


def accept_all(kit: Kit, *asked: tuple[Payload, str]) -> None:
    refusals = together(kit, *asked)
    assert refusals == [None] * len(asked), [str(each) for each in refusals]


def proposed(kit: Kit, asked: ProposeStudy | None = None, by: str = "north") -> ProposeStudy:
    asked = asked or terms(kit)
    kit.accept(asked, by=by)
    return asked


def vote(asked: ProposeStudy, choice: bool = True, waiver: bool = False) -> ApproveStudy:
    return ApproveStudy(asked.study, choice, waiver, commitment("opinion"), commitment("ethics"))


def approve(kit: Kit, asked: ProposeStudy, voters: Sequence[str] = SITES[:3]) -> None:
    accept_all(kit, *((vote(asked, waiver=asked.waiver), each) for each in voters))


def enrolment(asked: ProposeStudy, site: str) -> EnrolSite:
    sealing = SoftKey(f"study {site}", Algorithm.X25519).public
    return EnrolSite(asked.study, asked.learner, sealing, commitment("approval", site))


def research(kit: Kit, asked: ProposeStudy, site: str, name: object = 0) -> Consent:
    """A patient's witnessed consent to this study at this site, by a handle of its own."""
    words = f"{asked.study.hex()} {site} {name}"
    end = BlockTime((kit.next_time() // DAY + 90) * DAY)
    return Consent(
        ConsentId(commitment("research", words)[:16]), handle_of(words), Assurance.WITNESSED, end, commitment("rules"),
        commitment("recipients"), commitment("form"), False, Research(asked.study, MemberId(site)),
    )  # fmt: skip


def manifest(asked: ProposeStudy, version: object = 0, **bent: Any) -> Manifest:
    words = "train", "test", "patients", "rows"
    train, _, patients, rows = (commitment(word, version) for word in words)
    return replace(Manifest(asked.study, train, commitment("test"), 0, 0, patients, rows), **bent)


def mask_keys(asked: ProposeStudy, site: str, version: object = 0) -> MaskKeys:
    keys = tuple(SoftKey(f"mask {site} {version} {n}", Algorithm.X25519).public for n in range(2))
    return MaskKeys(asked.study, keys, (commitment("seed", site, version),), commitment("shares", site, version))


def enrol(kit: Kit, asked: ProposeStudy, sites: Sequence[str] = SITES) -> None:
    """With one consent each."""
    accept_all(
        kit,
        *((enrolment(asked, site), site) for site in sites),
        *((research(kit, asked, site), site) for site in sites),
    )


def ready(kit: Kit, asked: ProposeStudy, sites: Sequence[str] = SITES, version: object = 0) -> None:
    accept_all(kit, *((manifest(asked, version), site) for site in sites))
    if asked.mode == Mode.MASKED:
        accept_all(kit, *((mask_keys(asked, site, version), site) for site in sites))


def begun(kit: Kit, asked: ProposeStudy | None = None, sites: Sequence[str] = SITES) -> ProposeStudy:
    """A study whose round 1 is open."""
    asked = proposed(kit, asked)
    approve(kit, asked)
    enrol(kit, asked, sites)
    ready(kit, asked, sites)
    return asked


def study_of(kit: Kit, asked: ProposeStudy) -> Study:
    found = kit.machine.view().rounds.study(asked.study)
    assert found is not None
    return found


def round_of(kit: Kit, asked: ProposeStudy, number: int | None = None) -> Round:
    """The round that is under way, or this one."""
    rounds = kit.machine.view().rounds
    found = rounds.round(asked.study, study_of(kit, asked).round + 1 if number is None else number)
    assert found is not None
    return found


def update(kit: Kit, asked: ProposeStudy, site: str, **bent: Any) -> SubmitUpdate:
    now = round_of(kit, asked)
    words = commitment("update", site, now.round, now.attempt), commitment("cipher", site), commitment("n", site)
    return replace(SubmitUpdate(asked.study, now.round, now.attempt, now.base, *words), **bent)


def signature(kit: Kit, asked: ProposeStudy, model: object = 0, **bent: Any) -> Countersign:
    """What an honest site signs over the round under way: all that is not bent follows from the state."""
    now, nothing = round_of(kit, asked), commitment("no chain yet")
    model, state = commitment("model", now.round, model), commitment("state", now.round, model)
    said = Countersign(asked.study, now.round, now.attempt, (), state, model, nothing, commitment("metrics"))
    said = replace(said, **{key: value for key, value in bent.items() if key != "chain"})
    return replace(said, chain=bent.get("chain") or link_of(study_of(kit, asked).chain, said, now))


def submit_all(kit: Kit, asked: ProposeStudy, sites: Sequence[str] = SITES) -> None:
    accept_all(kit, *((update(kit, asked, site), site) for site in sites))


def sign_all(kit: Kit, asked: ProposeStudy, sites: Sequence[str] = SITES, **bent: Any) -> None:
    said = signature(kit, asked, **bent)
    accept_all(kit, *((said, site) for site in sites))


def a_round(kit: Kit, asked: ProposeStudy, sites: Sequence[str] = SITES) -> None:
    submit_all(kit, asked, sites)
    sign_all(kit, asked, sites)


def closing(kit: Kit, asked: ProposeStudy, **bent: Any) -> CloseStudy:
    found = study_of(kit, asked)
    return replace(
        CloseStudy(asked.study, found.model, found.chain, commitment("report"), commitment("contributions")), **bent
    )
