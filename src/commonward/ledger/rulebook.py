"""Which rule answers which transaction, and what the ledger does by itself when its time has come.

One table, no registration: a capability joins the ledger by its lines here. Each line hands a rule the slices that it
reads and changes, and no more. A `Rulebook` is such a table under the number of a version; `versions` has all of them.
"""

import hashlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from commonward.ledger import audit, registry
from commonward.ledger.consent import consents, enrolment
from commonward.ledger.consent.enrolment import SigningPages
from commonward.ledger.dues import Due, DueKind
from commonward.ledger.encoding import decode
from commonward.ledger.genesis import Genesis
from commonward.ledger.ids import ConsentId, Digest, Handle, LedgerId, MemberId, MemberKind, StudyId
from commonward.ledger.members import ChangeKind, equivocation, governance, keys
from commonward.ledger.members.enacting import Chamber
from commonward.ledger.members.majorities import Constitution
from commonward.ledger.members.weights import ORIGINS_KEY
from commonward.ledger.refusals import Refusal
from commonward.ledger.registry import PublicType
from commonward.ledger.rounds import closing, countersigning, opening, proposing, sites, updating
from commonward.ledger.rounds.means import Means
from commonward.ledger.rounds.transactions import (
    ApproveStudy,
    CloseStudy,
    Countersign,
    Dispute,
    EnrolSite,
    LeaveStudy,
    Manifest,
    MaskKeys,
    ProposeStudy,
    SubmitUpdate,
)
from commonward.ledger.rules import Header, MemberSigner, PasskeySigner
from commonward.ledger.state import State
from commonward.ledger.transactions import KINDS, Transaction, parse_transaction
from commonward.ledger.wire import Payload


@dataclass(eq=False)
class NotYourRole(Refusal):
    """Roles are bounded by the kind of member."""

    code: ClassVar[int] = 119
    member: str
    transaction: str

    def __str__(self) -> str:
        return f"genesis does not let {self.member}'s kind of member sign a {self.transaction}"


_CUSTODIANS: Final = (MemberKind.HOSPITAL, MemberKind.AUTHORITY, MemberKind.RESEARCH)

STUDY_ROLES: Final[Mapping[int, tuple[MemberKind, ...]]] = {
    kind.KIND: _CUSTODIANS
    for kind in (ProposeStudy, ApproveStudy, EnrolSite, Manifest, MaskKeys, SubmitUpdate, Countersign, Dispute)
}
"""Who takes part in studies, where genesis does not say: whoever may have an ethics role, and holds patients' records
for their care or for research. Kinds that approve are also those whose votes an approval is counted by."""


class Fixed(NamedTuple):
    """What genesis fixed, as the rules need it."""

    ledger: LedgerId
    constitution: Constitution
    roles: dict[int, tuple[MemberKind, ...]]
    publishers: dict[PublicType, tuple[MemberKind, ...]]
    rp_id_hash: bytes

    @property
    def operator(self) -> MemberId:
        return self.constitution.operator

    @property
    def consensus(self) -> bool:
        """Whether nobody orders alone (`Genesis.consensus`)."""
        return self.constitution.consensus

    @classmethod
    def of(cls, genesis: Genesis) -> "Fixed":
        return cls(
            genesis.ledger_id,
            genesis.constitution,
            {**STUDY_ROLES, **genesis.roles},
            dict(genesis.publishers),
            hashlib.sha256(genesis.rp_id.encode()).digest(),  # as WebAuthn hashes it: no label of ours
        )


@lru_cache(maxsize=16)
def _origins(data: bytes) -> tuple[str, ...]:
    value = decode(data)
    assert isinstance(value, list)
    return tuple(each for each in value if isinstance(each, str))


def signing_pages(fixed: Fixed, state: State) -> SigningPages:
    return SigningPages(fixed.ledger, fixed.rp_id_hash, _origins(state.get(ORIGINS_KEY) or b"\x80"))


def chamber_of(state: State, fixed: Fixed) -> Chamber:
    return Chamber(
        fixed.ledger, fixed.constitution, state.majorities, state.adopted, state.authorities, state.roll,
        state.weights, state.dues, state.parameters,
    )  # fmt: skip


def means_of(state: State) -> Means:
    return Means(state.rounds, state.consents, state.roll, state.dues)


Who: TypeAlias = MemberSigner | PasskeySigner
Rule: TypeAlias = Callable[[Any, Any, Header, State, Fixed], None]
"""(payload, signer, header, state, fixed): raises a Refusal or changes the state. The signer is of the kind that the
payload's `SIGNED_BY` asks for, and of a member that `roles` allows."""

RULES: Final[dict[int, Rule]] = {
    governance.Propose.KIND: lambda tx, who, at, s, f: governance.propose(
        tx, who, at, governance=s.governance, chamber=chamber_of(s, f)
    ),
    governance.Vote.KIND: lambda tx, who, at, s, f: governance.vote(
        tx, who, at, governance=s.governance, chamber=chamber_of(s, f)
    ),
    keys.AddKey.KIND: lambda tx, who, at, s, f: keys.add_key(
        tx, who, at, ledger=f.ledger, roll=s.roll, dues=s.dues, parameters=s.parameters, operator=f.operator
    ),
    keys.RevokeKey.KIND: lambda tx, who, at, s, f: keys.revoke_key(tx, who, at, roll=s.roll),
    keys.RevokeStaff.KIND: lambda tx, who, at, s, f: keys.revoke_staff(
        tx, who, at, staff=s.staff, dues=s.dues, parameters=s.parameters
    ),
    equivocation.Equivocation.KIND: lambda tx, who, at, s, f: equivocation.equivocation(
        tx, ledger=f.ledger, roll=s.roll
    ),
    registry.AnchorBatch.KIND: lambda tx, who, at, s, f: registry.anchor_batch(
        tx, who, at, registry=s.registry, parameters=s.parameters
    ),
    registry.AnchorPublic.KIND: lambda tx, who, at, s, f: registry.anchor_public(tx, who, publishers=f.publishers),
    enrolment.Enrol.KIND: lambda tx, who, at, s, f: enrolment.enrol(
        tx, who, handles=s.handles, pages=signing_pages(f, s)
    ),
    enrolment.RotatePasskey.KIND: lambda tx, who, at, s, f: enrolment.rotate_passkey(
        tx, who, handles=s.handles, dues=s.dues, pages=signing_pages(f, s)
    ),
    enrolment.StartRecovery.KIND: lambda tx, who, at, s, f: enrolment.start_recovery(
        tx, who, at, handles=s.handles, roll=s.roll, dues=s.dues, parameters=s.parameters, pages=signing_pages(f, s),
        pilot=f.constitution.pilot,
    ),
    enrolment.StopRecovery.KIND: lambda tx, who, at, s, f: enrolment.stop_recovery(tx, who, handles=s.handles),
    enrolment.Mandate.KIND: lambda tx, who, at, s, f: enrolment.mandate(
        tx, who, at, handles=s.handles, dues=s.dues, parameters=s.parameters, pages=signing_pages(f, s)
    ),
    enrolment.EndMandate.KIND: lambda tx, who, at, s, f: enrolment.end_mandate(tx, who, handles=s.handles),
    consents.Consent.KIND: lambda tx, who, at, s, f: consents.consent(
        tx, who, at, consents=s.consents, handles=s.handles, roll=s.roll, dues=s.dues, parameters=s.parameters
    ),
    consents.Withdraw.KIND: lambda tx, who, at, s, f: consents.withdraw(
        tx, who, at, consents=s.consents, handles=s.handles
    ),
    audit.Release.KIND: lambda tx, who, at, s, f: audit.release(tx, at, parameters=s.parameters),
    audit.Receipt.KIND: lambda tx, who, at, s, f: None,  # the log is all it is for
    audit.BreakGlass.KIND: lambda tx, who, at, s, f: audit.break_glass(
        tx, who, at, glasses=s.glasses, dues=s.dues, parameters=s.parameters
    ),
    audit.Review.KIND: lambda tx, who, at, s, f: audit.review(tx, who, glasses=s.glasses),
    audit.Erased.KIND: lambda tx, who, at, s, f: None,  # the log is all it is for
    audit.LogRoot.KIND: lambda tx, who, at, s, f: audit.log_root(
        tx, who, at, registry=s.registry, parameters=s.parameters
    ),
    ProposeStudy.KIND: lambda tx, who, at, s, f: proposing.propose_study(tx, who, at, means=means_of(s)),
    ApproveStudy.KIND: lambda tx, who, at, s, f: proposing.approve_study(
        tx, who, at, means=means_of(s), majority=s.majorities.majority(ChangeKind.PROTOCOL, f.constitution),
        voters=f.roles[ApproveStudy.KIND],
    ),
    EnrolSite.KIND: lambda tx, who, at, s, f: sites.enrol_site(tx, who, at, means=means_of(s)),
    Manifest.KIND: lambda tx, who, at, s, f: sites.manifest(tx, who, at, means=means_of(s)),
    MaskKeys.KIND: lambda tx, who, at, s, f: sites.mask_keys(tx, who, at, means=means_of(s)),
    SubmitUpdate.KIND: lambda tx, who, at, s, f: updating.submit_update(tx, who, at, means=means_of(s)),
    Countersign.KIND: lambda tx, who, at, s, f: countersigning.countersign(tx, who, at, means=means_of(s)),
    Dispute.KIND: lambda tx, who, at, s, f: closing.dispute(tx, who, at, means=means_of(s)),
    LeaveStudy.KIND: lambda tx, who, at, s, f: sites.leave_study(tx, who, at, means=means_of(s)),
    CloseStudy.KIND: lambda tx, who, at, s, f: closing.close_study(tx, who, at, means=means_of(s)),
}  # fmt: skip

DueRule: TypeAlias = Callable[[bytes, Header, State], None]

DUES: Final[dict[DueKind, DueRule]] = {
    DueKind.KEY_ENDS: lambda ref, at, s: keys.key_ends(ref, at.time, roll=s.roll),
    DueKind.STAFF_REVOCATION_ENDS: lambda ref, at, s: s.staff.drop(ref),
    DueKind.PROPOSAL_CLOSES: lambda ref, at, s: governance.proposal_closes(ref, at.time, governance=s.governance),
    DueKind.RECOVERY_TAKES_EFFECT: lambda ref, at, s: enrolment.recovery_takes_effect(
        Handle(ref), at.time, handles=s.handles
    ),
    DueKind.MANDATE_ENDS: lambda ref, at, s: enrolment.mandate_ends(Digest(ref), at.time, handles=s.handles),
    DueKind.CONSENT_ENDS: lambda ref, at, s: consents.consent_ends(
        ConsentId(ref), at, consents=s.consents, handles=s.handles
    ),
    DueKind.REVIEW_OVERDUE: lambda ref, at, s: audit.review_overdue(ref, at.time, glasses=s.glasses),
    DueKind.STUDY_VOTES_CLOSE: lambda ref, at, s: proposing.votes_close(StudyId(ref), at, means=means_of(s)),
    DueKind.STUDY_SITES_AWAITED: lambda ref, at, s: opening.sites_awaited(StudyId(ref), at, means=means_of(s)),
    DueKind.ROUND_DEADLINE: lambda ref, at, s: updating.deadline(ref, at, means=means_of(s)),
    DueKind.ROUND_SIGN_BY: lambda ref, at, s: countersigning.sign_by(ref, at, means=means_of(s)),
    DueKind.STUDY_ENDS: lambda ref, at, s: closing.study_ends(StudyId(ref), at, means=means_of(s)),
    DueKind.STUDY_SETTLES: lambda ref, at, s: closing.settles(StudyId(ref), at, means=means_of(s)),
}


class Rulebook(NamedTuple):
    """One version of the rules: which kinds of transaction there are, what each does, and what falls due."""

    version: int
    kinds: Mapping[int, type[Payload]]
    rules: Mapping[int, Rule]
    dues: Mapping[DueKind, DueRule]

    def read(self, raw: bytes) -> Transaction:
        """What this version cannot read is as unreadable to it as it was to the programs of its time."""
        return parse_transaction(raw, self.kinds)

    def apply(self, payload: Payload, signer: Who, header: Header, state: State, fixed: Fixed) -> None:
        """Runs the rule of one authentic transaction. Raises its Refusal; the caller undoes what it had changed."""
        if isinstance(signer, MemberSigner):
            roles = fixed.roles.get(payload.KIND)
            if roles is not None and signer.kind not in roles:
                raise NotYourRole(signer.member, type(payload).__name__)
        self.rules[payload.KIND](payload, signer, header, state, fixed)

    def apply_due(self, due: Due, header: Header, state: State) -> None:
        self.dues[due.kind](due.ref, header, state)

    def but(
        self,
        version: int,
        *,
        kinds: Mapping[int, type[Payload]] | None = None,
        rules: Mapping[int, Rule] | None = None,
        dues: Mapping[DueKind, DueRule] | None = None,
        without: Collection[int] = (),
    ) -> "Rulebook":
        """The next version: this one with some lines changed, and some kinds of transaction gone."""
        stay = {kind: each for kind, each in {**self.kinds, **(kinds or {})}.items() if kind not in without}
        then = {kind: rule for kind, rule in {**self.rules, **(rules or {})}.items() if kind in stay}
        return Rulebook(version, stay, then, {**self.dues, **(dues or {})})


VERSION_1: Final = Rulebook(1, KINDS, RULES, DUES)
