"""What a study's transactions say. Who may make them, and when, is in the modules beside this one.

All are signed with a member's operate key. Commitments (`DIGEST` fields that are called so) are salted: 32 bytes that
say nothing to a stranger.
"""

from typing import ClassVar

from commonward.ledger.ids import BlockTime, Digest, MemberId, StudyId, parse_member_id, parse_study_id
from commonward.ledger.rounds.budget import MAX_DELTA, MIN_DELTA, ORDERS
from commonward.ledger.rounds.words import (
    BANDS,
    LONGEST_DISPUTE,
    LONGEST_ROUND,
    LONGEST_VOTE,
    MAX_ROUNDS,
    MAX_ROW_CAP,
    MAX_SITES,
    SHORTEST_WAIT,
    Mode,
    Rule,
)
from commonward.ledger.wire import (
    DIGEST,
    FLAG,
    TIME,
    Payload,
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

STUDY = parsed(parse_study_id)
MEMBER = parsed(parse_member_id)
ROUND = number(1, MAX_ROUNDS)
ATTEMPT = number(1, 255)
MAX_MASK_KEYS = 4
MAX_SEEDS = 64
MAX_CHARGE = 1 << 40


@struct
class Waits(Struct):
    """How long a study waits for others, in ms.

    `votes`: for its approval. `sites`: from then on for the awaited sites; `min_sites` are enough afterwards.
    `updates`: from the opening of an attempt. `signatures`: from the block that fixed its set. `disputes`: from the
    study's closing, during which sites keep the sealed updates.
    """

    votes: int = wire(1, number(SHORTEST_WAIT, LONGEST_VOTE))
    sites: int = wire(2, number(0, LONGEST_VOTE))
    updates: int = wire(3, number(SHORTEST_WAIT, LONGEST_ROUND))
    signatures: int = wire(4, number(SHORTEST_WAIT, LONGEST_ROUND))
    disputes: int = wire(5, number(SHORTEST_WAIT, LONGEST_DISPUTE))


@struct
class ProposeStudy(Payload):
    """Puts a study to the ethics roles of the members.

    Attributes:
        study: 16 random bytes, never used before.
        mode, rule, f: how updates meet, what becomes of them, how many false sites the rule withstands (0 for rules
            that know no such number).
        learner: digest of the learner that every site has installed.
        model: digest of the model that round 1 starts from.
        min_sites: fewer do not make a round.
        row_cap: the most rows that one patient may bring.
        rounds: after so many the study is complete.
        end: header time (ms) at which it closes by itself.
        protocol, cohort, viewers: commitments.
        waiver: 1 asks the ethics roles to waive patient-level privacy.
        awaited: round 1 opens as soon as so many sites are ready; absent: `min_sites`.
        charge: what one update costs the site's privacy budget: micro-RDP at each of the 16 orders of `budget`.
            Absent where the study takes none.
        delta: the charge is for a delta of 10^-delta; absent without a charge.
    """

    KIND: ClassVar[int] = 64
    study: StudyId = wire(1, STUDY)
    mode: Mode = wire(2, choice(Mode))
    rule: Rule = wire(3, choice(Rule))
    f: int = wire(4, number(0, MAX_SITES))
    learner: Digest = wire(5, DIGEST)
    model: Digest = wire(6, DIGEST)
    min_sites: int = wire(7, number(1, MAX_SITES))
    row_cap: int = wire(8, number(1, MAX_ROW_CAP))
    rounds: int = wire(9, ROUND)
    waits: Waits = wire(10, nested(Waits))
    end: BlockTime = wire(11, TIME)
    protocol: Digest = wire(12, DIGEST)
    cohort: Digest = wire(13, DIGEST)
    viewers: Digest = wire(14, DIGEST)
    waiver: bool = wire(15, FLAG)
    awaited: int | None = wire(16, number(1, MAX_SITES), default=None)
    charge: tuple[int, ...] | None = wire(17, items(number(1, MAX_CHARGE), len(ORDERS), len(ORDERS)), default=None)
    delta: int | None = wire(18, number(MIN_DELTA, MAX_DELTA), default=None)


@struct
class ApproveStudy(Payload):
    """A member's vote, by its ethics role. `waiver`: it also waives patient-level privacy, where that was asked.

    `opinion`, `ethics` (the ethics officer's signature): commitments.
    """

    KIND: ClassVar[int] = 65
    study: StudyId = wire(1, STUDY)
    choice: bool = wire(2, FLAG)
    waiver: bool = wire(3, FLAG)
    opinion: Digest = wire(4, DIGEST)
    ethics: Digest = wire(5, DIGEST)


@struct
class EnrolSite(Payload):
    """The signer takes part. `learner`: digest of the one it installed and approved. `sealing`: X25519 (HPKE) key, to
    which updates are sealed for it. `approval`: commitment."""

    KIND: ClassVar[int] = 66
    study: StudyId = wire(1, STUDY)
    learner: Digest = wire(2, DIGEST)
    sealing: bytes = wire(3, octets(32))
    approval: Digest = wire(4, DIGEST)


@struct
class Manifest(Payload):
    """The exact data that a site trains and tests on, by two Merkle roots over salted (record, consent, split).

    `patients`, `rows`: bands of their numbers, train and test together (`words.BANDS`). `exact_patients`,
    `exact_rows`: commitments; the rows are opened with each update.
    """

    KIND: ClassVar[int] = 67
    study: StudyId = wire(1, STUDY)
    train: Digest = wire(2, DIGEST)
    test: Digest = wire(3, DIGEST)
    patients: int = wire(4, number(0, len(BANDS) - 1))
    rows: int = wire(5, number(0, len(BANDS) - 1))
    exact_patients: Digest = wire(6, DIGEST)
    exact_rows: Digest = wire(7, DIGEST)


@struct
class MaskKeys(Payload):
    """A site's keys for the next attempt that opens: used once, posted ahead. Masked mode only.

    `keys`: X25519, fresh. `seeds`: commitments to its secrets of this attempt. `shares`: commitment to the shares of
    them that the other sites hold.
    """

    KIND: ClassVar[int] = 68
    study: StudyId = wire(1, STUDY)
    keys: tuple[bytes, ...] = wire(2, items(octets(32), MAX_MASK_KEYS, 1))
    seeds: tuple[Digest, ...] = wire(3, items(DIGEST, MAX_SEEDS, 1))
    shares: Digest = wire(4, DIGEST)


@struct
class SubmitUpdate(Payload):
    """A site commits to its update; the bytes leave once the set is fixed. `base`: digest of the model it was trained
    from. `update`, `ciphertext`, `rows`: commitments."""

    KIND: ClassVar[int] = 69
    study: StudyId = wire(1, STUDY)
    round: int = wire(2, ROUND)
    attempt: int = wire(3, ATTEMPT)
    base: Digest = wire(4, DIGEST)
    update: Digest = wire(5, DIGEST)
    ciphertext: Digest = wire(6, DIGEST)
    rows: Digest = wire(7, DIGEST)


@struct
class Countersign(Payload):
    """A site has computed the round's model from the fixed set.

    `exclusions`: sites whose committed update it did not get, or found unfit; ascending. `state`, `model`: digests of
    the server optimiser's state and of the model. `chain`: `chain.link` of this round. `metrics`: commitment.
    """

    KIND: ClassVar[int] = 70
    study: StudyId = wire(1, STUDY)
    round: int = wire(2, ROUND)
    attempt: int = wire(3, ATTEMPT)
    exclusions: tuple[MemberId, ...] = wire(4, items(MEMBER, MAX_SITES))
    state: Digest = wire(5, DIGEST)
    model: Digest = wire(6, DIGEST)
    chain: Digest = wire(7, DIGEST)
    metrics: Digest = wire(8, DIGEST)


@struct
class Dispute(Payload):
    """A site holds that a final round is false: the sites keep the updates longer. `claim`: commitment."""

    KIND: ClassVar[int] = 71
    study: StudyId = wire(1, STUDY)
    round: int = wire(2, ROUND)
    claim: Digest = wire(3, DIGEST)


@struct
class LeaveStudy(Payload):
    """The signer takes part no more, from the end of the attempt that is open. `reason`: commitment."""

    KIND: ClassVar[int] = 72
    study: StudyId = wire(1, STUDY)
    reason: Digest = wire(2, DIGEST)


@struct
class CloseStudy(Payload):
    """Its proposer ends a study. `model`, `chain`: of its last final round. `report`, `contributions`: commitments."""

    KIND: ClassVar[int] = 73
    study: StudyId = wire(1, STUDY)
    model: Digest = wire(2, DIGEST)
    chain: Digest = wire(3, DIGEST)
    report: Digest = wire(4, DIGEST)
    contributions: Digest = wire(5, DIGEST)
