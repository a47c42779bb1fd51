"""A study, its sites and its rounds as the state holds them, and the slice that reads and writes them.

State: `studies` -> ids of those that are not over; `study/` id -> Study; `study-sites/` id -> members that ever
enrolled; `study-site/` id member -> Site; `study-round/` id round -> Round (the last attempt at it); `spent/` member ->
what its population's privacy has cost so far, at each order; `privacy` -> the cap, where genesis names one.

Sites and rounds leave the state when a study is settled; the study itself stays, since its id must never stand for
another.
"""

from functools import lru_cache
from typing import Final

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import BlockTime, Height, MemberId, StudyId, parse_height, parse_member_id, parse_study_id
from commonward.ledger.rounds.budget import ORDERS, USUAL, PrivacyBudget
from commonward.ledger.rounds.transactions import (
    ATTEMPT,
    MAX_MASK_KEYS,
    MAX_SEEDS,
    MEMBER,
    ROUND,
    ProposeStudy,
)
from commonward.ledger.rounds.words import BANDS, MAX_ROUNDS, MAX_SITES, Status
from commonward.ledger.rules import Cells
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Struct,
    choice,
    items,
    nested,
    number,
    octets,
    parsed,
    struct,
    wire,
)

__all__ = ["Masks", "Placed", "Round", "Rounds", "Signed", "Site", "Study", "Submitted", "Used", "study_key"]

_VOTERS: Final = items(parsed(parse_member_id), 4096)
_SITES: Final = items(MEMBER, MAX_SITES)


@struct
class Study(Struct):
    """Where a study stands.

    Attributes:
        proposer, terms: who proposed it, and all that was proposed.
        status: see `words.Status`.
        round: final rounds so far; the last final round's number.
        attempt: attempts begun at the round after that.
        model, chain: of the last final round; before round 1 the first model, and `chain.first_link`.
        ayes, noes: of the ethics roles. `waivers`: those of the ayes that waive patient-level privacy.
        approved, closed: header times (ms).
        kept_until: until when sites keep the sealed updates for disputes (ms); None before it is closed.
        report: commitment, where its proposer closed it.
        state: digest of the server optimiser's state after the last final round.
    """

    proposer: MemberId = wire(1, MEMBER)
    terms: ProposeStudy = wire(2, nested(ProposeStudy))
    status: Status = wire(3, choice(Status))
    round: int = wire(4, number(0, MAX_ROUNDS))
    attempt: int = wire(5, number(0, 255))
    model: Digest = wire(6, DIGEST)
    chain: Digest = wire(7, DIGEST)
    ayes: tuple[MemberId, ...] = wire(8, _VOTERS)
    noes: tuple[MemberId, ...] = wire(9, _VOTERS)
    waivers: tuple[MemberId, ...] = wire(10, _VOTERS)
    proposed: BlockTime = wire(11, TIME)
    approved: BlockTime | None = wire(12, TIME, default=None)
    closed: BlockTime | None = wire(13, TIME, default=None)
    kept_until: BlockTime | None = wire(14, TIME, default=None)
    report: Digest | None = wire(15, DIGEST, default=None)
    contributions: Digest | None = wire(16, DIGEST, default=None)
    state: Digest | None = wire(17, DIGEST, default=None)


@struct
class Placed(Struct):
    """A site's manifest. `root_size`, `seen`: size and header time (ms) of the checkpoint that its author had seen: it
    covers every withdrawal up to then. `digest`: `chain.manifest_digest`."""

    train: Digest = wire(1, DIGEST)
    test: Digest = wire(2, DIGEST)
    patients: int = wire(3, number(0, len(BANDS) - 1))
    rows: int = wire(4, number(0, len(BANDS) - 1))
    digest: Digest = wire(5, DIGEST)
    root_size: int = wire(6, number())
    seen: BlockTime = wire(7, TIME)


@struct
class Masks(Struct):
    """A site's keys for one attempt, as MaskKeys brought them."""

    keys: tuple[bytes, ...] = wire(1, items(octets(32), MAX_MASK_KEYS, 1))
    seeds: tuple[Digest, ...] = wire(2, items(DIGEST, MAX_SEEDS, 1))
    shares: Digest = wire(3, DIGEST)


@struct
class Used(Struct):
    """The keys that an attempt took when it opened."""

    round: int = wire(1, ROUND)
    attempt: int = wire(2, ATTEMPT)
    masks: Masks = wire(3, nested(Masks))


@struct
class Site(Struct):
    """A member in a study. `enrolled`: it takes part; `leaving`: until the attempt that is open ends. `masks`: keys
    that wait for the next attempt; `used`: those of the last one that it was in. `disputes`: rounds it disputes."""

    sealing: bytes = wire(1, octets(32))
    enrolled: bool = wire(2, FLAG)
    leaving: bool = wire(3, FLAG)
    disputes: tuple[int, ...] = wire(4, items(ROUND, MAX_ROUNDS))
    manifest: Placed | None = wire(5, nested(Placed), default=None)
    masks: Masks | None = wire(6, nested(Masks), default=None)
    used: Used | None = wire(7, nested(Used), default=None)


@struct
class Submitted(Struct):
    """An update that counts. When it was accepted: `manifest` of the site, `consents` that were open there. Its rows
    are held to these, so that every site judges them alike, whoever withdraws meanwhile."""

    site: MemberId = wire(1, MEMBER)
    update: Digest = wire(2, DIGEST)
    ciphertext: Digest = wire(3, DIGEST)
    rows: Digest = wire(4, DIGEST)
    manifest: Digest = wire(5, DIGEST)
    consents: int = wire(6, number())


@struct
class Signed(Struct):
    """A countersignature: which link of the chain this site computed."""

    site: MemberId = wire(1, MEMBER)
    chain: Digest = wire(2, DIGEST)


@struct
class Round(Struct):
    """The last attempt at a round. Sites and updates stand in ascending order of site.

    Attributes:
        base: digest of the model that the sites start from.
        opened, height: of the block that opened it.
        deadline: from this header time on (ms) no update counts.
        voters: sites enrolled when it opened; each has one countersignature.
        sites: those of them that were ready, and may submit.
        updates: what they submitted.
        fixed: height of the block after which the set stands; None before.
        sign_by: header time (ms) by which more than two thirds have signed alike, or the attempt is void.
        final: height of the block that made it final; `exclusions`, `state`, `model`, `chain`: as signed.
        void: 1 where the attempt came to nothing.
    """

    round: int = wire(1, ROUND)
    attempt: int = wire(2, ATTEMPT)
    base: Digest = wire(3, DIGEST)
    opened: BlockTime = wire(4, TIME)
    height: Height = wire(5, parsed(parse_height))
    deadline: BlockTime = wire(6, TIME)
    voters: tuple[MemberId, ...] = wire(7, _SITES)
    sites: tuple[MemberId, ...] = wire(8, _SITES)
    updates: tuple[Submitted, ...] = wire(9, items(nested(Submitted), MAX_SITES))
    signed: tuple[Signed, ...] = wire(10, items(nested(Signed), MAX_SITES))
    void: bool = wire(11, FLAG)
    fixed: Height | None = wire(12, parsed(parse_height), default=None)
    sign_by: BlockTime | None = wire(13, TIME, default=None)
    final: Height | None = wire(14, parsed(parse_height), default=None)
    exclusions: tuple[MemberId, ...] | None = wire(15, _SITES, default=None)
    state: Digest | None = wire(16, DIGEST, default=None)
    model: Digest | None = wire(17, DIGEST, default=None)
    chain: Digest | None = wire(18, DIGEST, default=None)

    def update_of(self, site: str) -> Submitted | None:
        return next((each for each in self.updates if each.site == site), None)

    @property
    def open(self) -> bool:
        """Neither final nor void."""
        return self.final is None and not self.void


# Parsing is a function of the bytes, so what it made may be kept: each of a round's transactions reads the same few.
_study = lru_cache(maxsize=256)(Study.parse)
_site = lru_cache(maxsize=1024)(Site.parse)
_round = lru_cache(maxsize=256)(Round.parse)

STUDIES_KEY: Final = b"studies"
PRIVACY_KEY: Final = b"privacy"


def study_key(study: bytes) -> bytes:
    return b"study/" + study


def _sites_key(study: bytes) -> bytes:
    return b"study-sites/" + study


def site_key(study: bytes, site: str) -> bytes:
    return b"study-site/" + study + site.encode()


def round_key(study: bytes, number: int) -> bytes:
    return b"study-round/" + study + number.to_bytes(4, "big")


def spent_key(member: str) -> bytes:
    return b"spent/" + member.encode()


NOTHING_SPENT: Final[tuple[int, ...]] = (0,) * len(ORDERS)


class Rounds:
    """The slice."""

    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    # --------------------------------------------------------------------------------------------------------- reading

    def studies(self) -> tuple[StudyId, ...]:
        """Those that are not over, in the order in which they were proposed."""
        value = decode(self._cells.get(STUDIES_KEY) or b"\x80")
        assert isinstance(value, list)
        return tuple(parse_study_id(each) for each in value)

    def study(self, study: bytes) -> Study | None:
        data = self._cells.get(study_key(study))
        return None if data is None else _study(data)

    def sites(self, study: bytes) -> tuple[MemberId, ...]:
        """Members that ever enrolled, ascending. Those that take part now: `site(...).enrolled`."""
        value = decode(self._cells.get(_sites_key(study)) or b"\x80")
        assert isinstance(value, list)
        return tuple(parse_member_id(each) for each in value)

    def site(self, study: bytes, member: str) -> Site | None:
        data = self._cells.get(site_key(study, member))
        return None if data is None else _site(data)

    def round(self, study: bytes, number: int) -> Round | None:
        """The last attempt at a round; the one that made it final, if it is."""
        data = self._cells.get(round_key(study, number))
        return None if data is None else _round(data)

    def spent(self, member: str) -> tuple[int, ...]:
        """Micro-RDP at each order, over all studies."""
        value = decode(self._cells.get(spent_key(member)) or encode(NOTHING_SPENT))
        assert isinstance(value, list)
        return tuple(each for each in value if isinstance(each, int))

    def cap(self) -> PrivacyBudget:
        """What each member may spend, over all studies."""
        data = self._cells.get(PRIVACY_KEY)
        return USUAL if data is None else PrivacyBudget.parse(data)

    # --------------------------------------------------------------------------------------------------------- writing

    def put_cap(self, value: PrivacyBudget) -> None:
        self._cells.put(PRIVACY_KEY, value.to_bytes())

    def put(self, value: Study) -> None:
        """Lists it among `studies` as long as it is not over."""
        study, listed = value.terms.study, self.studies()
        if value.status.over and study in listed:
            self._cells.put(STUDIES_KEY, encode([each for each in listed if each != study]))
        elif not value.status.over and study not in listed:
            self._cells.put(STUDIES_KEY, encode([*listed, study]))
        self._cells.put(study_key(study), value.to_bytes())

    def put_site(self, study: StudyId, member: MemberId, value: Site) -> None:
        listed = self.sites(study)
        if member not in listed:
            self._cells.put(_sites_key(study), encode(sorted((*listed, member))))
        self._cells.put(site_key(study, member), value.to_bytes())

    def put_round(self, study: StudyId, value: Round) -> None:
        self._cells.put(round_key(study, value.round), value.to_bytes())

    def put_spent(self, member: MemberId, spent: tuple[int, ...]) -> None:
        self._cells.put(spent_key(member), encode(spent))

    def forget(self, study: StudyId, rounds: int) -> None:
        """Drops the sites and `rounds` rounds of a study."""
        for member in self.sites(study):
            self._cells.delete(site_key(study, member))
        self._cells.delete(_sites_key(study))
        for which in range(1, rounds + 1):
            self._cells.delete(round_key(study, which))
