"""Consent, where it is obeyed: openings arrive, are held against the ledger, acknowledged, and stand for rules.

An opening that never arrives must not fail open: while any consent or withdrawal of a linked handle is unopened
here, releases for that handle stop. Withdrawn consents count no more; a deny outlives the end of its consent.
The patient's side is `patient`.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from commonward.ledger.consent import Assurance, Consent, Withdraw
from commonward.ledger.encoding import decode
from commonward.ledger.ids import ConsentId, Digest, Handle, MemberId, Purpose
from commonward.ledger.rules import Role
from commonward.records.certificates import CertificateRefused
from commonward.records.decide import Given
from commonward.records.envelope import EnvelopeError, unpad
from commonward.records.openings import OpenedRule, Opening, OpeningError, open_all_rules
from commonward.records.rules import Effect, Rule, RuleError, check_numbers
from commonward.workflows import commitments
from commonward.workflows.deposits import DepositRefused, Deposits
from commonward.workflows.enrolment import WitnessedForm
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import (
    OPENING,
    ConsentOpening,
    Extent,
    Opened,
    OpeningAck,
    OpeningDeposit,
    PermitsOpening,
    ack_message,
    acknowledges,
    opening_info,
)
from commonward.workflows.ports import Entry, PeerAway
from commonward.workflows.reading import transaction_of
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message, MessageError

_LOOKS: Final = 50
_LOOK_S: Final = 0.01

_EARLY_LASTS_MS: Final = 24 * 3_600_000
"""A patient's transaction lands within minutes or never; a node may be behind for longer."""

_ONWARD_LASTS_MS: Final = 7 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Kept(Message):
    """An opening that reached this member, opened and checked: of a consent in full, of permits, or a withdrawal."""

    entry: Digest
    opened: Opened
    own: bool = False  # of a withdrawal: signed by the handle's own key, as the state said when this came


class Openings:
    """The openings of one member, as custodian and as requester, and those it passes on."""

    def __init__(self, member: Member) -> None:
        self._member = member
        vault = member.ports.vault
        self._kept = Drawer(vault, member.sealing, "openings", Kept)
        self._early = Deposits(member, "deposits-early", _EARLY_LASTS_MS)
        self._onward = Deposits(member, "deposits-onward", _ONWARD_LASTS_MS)

    # arriving

    async def deposit(self, deposit: OpeningDeposit) -> OpeningAck:
        """Takes in what is for this member and passes on what is for another, keeping it until that one has it.

        The answer carries the addressee's signature, or none while it could not be reached or does not yet see the
        transaction: ask again. Raises DepositRefused when it cannot be kept.
        """
        if deposit.to == self._member.id:
            return await self.arrive(deposit, self._member.id)
        if self._member.reading.kind_of(deposit.to) is None:
            raise DepositRefused(f"{deposit.to} is not an active member")
        key = self._onward.keep(deposit, deposit.to)
        try:
            return await self._pass_on(key, deposit)
        except PeerAway:
            return OpeningAck.waits(deposit)

    async def _pass_on(self, key: bytes, deposit: OpeningDeposit) -> OpeningAck:
        """Raises PeerAway."""
        answer = await self._member.ports.peers.ask(deposit.to, OPENING, deposit.to_bytes())
        try:
            ack = OpeningAck.parse(answer)
        except MessageError:
            return OpeningAck.waits(deposit)
        operate = self._member.reading.operate_key(deposit.to, ack.key)
        if not acknowledges(ack, self._member.ports.ledger.line, deposit, operate):
            return OpeningAck.waits(deposit)
        self._onward.forget(key)
        return ack

    async def arrive(self, deposit: OpeningDeposit, by: MemberId) -> OpeningAck:
        """As `take`, but gives this node a moment to see the transaction: an opening often runs ahead of its block.

        What is still ahead of it then is kept, in the share of the member that brought it. Raises OpeningError when
        it does not fit, DepositRefused when that share is taken.
        """
        for _ in range(_LOOKS):
            if self._sees(deposit.entry):
                break
            await asyncio.sleep(_LOOK_S)
        ack = self.take(deposit)
        if not ack.signature:
            self._early.keep(deposit, by)
        return ack

    def _sees(self, entry: Digest) -> bool:
        return self._member.reading.payload(entry) is not None

    def take_early(self, handle: Handle | None = None) -> None:
        """Takes what came before its transaction: all, or what is of one handle. Cheap when there is nothing."""
        waiting = self._early.entries()
        if waiting and handle is not None:
            waiting = [entry.digest for entry, _ in self._member.reading.history(handle)]
        for entry in waiting:
            if self._sees(entry):
                for key, deposit in self._early.of(entry):
                    with suppress(OpeningError):
                        self.take(deposit)
                    self._early.forget(key)

    async def settle(self) -> None:
        """Tries again what could not be delivered, and what came before its transaction. Called at each tick."""
        self._onward.let_go()
        away: set[MemberId] = set()
        for key, deposit in self._onward.every():
            if deposit.to in away:
                continue
            try:
                await self._pass_on(key, deposit)
            except PeerAway:  # asked once a tick, and next time with another
                away.add(deposit.to)
                self._onward.later(key)
        self._early.let_go()
        self.take_early()

    def take(self, deposit: OpeningDeposit) -> OpeningAck:
        """An opening for this member. Acknowledged by signature once it fits the ledger's commitment; not while its
        transaction has not reached this node.

        Raises OpeningError when it does not open or does not fit: it is not kept.
        """
        member = self._member
        ledger = member.ports.ledger.line
        stands = member.reading.payload(deposit.entry)
        if stands is None:
            return OpeningAck.waits(deposit)
        try:
            plain = unpad(member.ports.keys.open_sealed(opening_info(ledger, member.id, deposit.entry), deposit.sealed))
            opened = Opened.parse(plain)
        except (EnvelopeError, MessageError) as cause:
            raise OpeningError(f"an opening for {member.id} does not open: {cause}") from cause
        entry, payload = stands
        self._check(opened, payload, entry)
        # Full and in part are kept apart: a requester that is a custodian too gets both, and neither hides the other.
        key = member.sealing.name("opening", deposit.entry, 1 if opened.permits else 0)
        if opened.permits is not None:
            opened = Opened(permits=self._joined(opened.permits, deposit.entry))
        self._kept.put(key, Kept(entry.digest, opened, self._is_own(entry)))
        extent = Extent.PERMITS if opened.permits is not None else Extent.ALL
        _, _, key_id = member.ports.keys.public(Purpose.OPERATE)
        signature = member.ports.keys.sign(Purpose.OPERATE, ack_message(ledger, deposit, extent))
        return OpeningAck(member.id, deposit.entry, key_id, signature, extent)

    def _is_own(self, entry: Entry) -> bool:
        if entry.member is not None:
            return False
        found = self._member.reading.handles().credential(transaction_of(entry).author)
        return found is not None and found.role == Role.OWN

    def _joined(self, permits: PermitsOpening, entry: Digest) -> PermitsOpening:
        """With what was opened before: anyone can seal to us, and fewer permits must not take the place of more."""
        held = self._get(entry, full=False)
        before = held.permits.permits if held is not None and held.permits is not None else ()
        return PermitsOpening(permits.consent, tuple(dict.fromkeys((*before, *permits.permits))))

    def _check(self, opened: Opened, payload: Consent | Withdraw, entry: Entry) -> None:
        """Raises OpeningError unless what was opened is what the transaction committed to."""
        if isinstance(payload, Withdraw):
            if opened.withdraw is None or opened.withdraw.consent != payload.id:
                raise OpeningError("expected the opening of a withdrawal")
            Opening(commitments.REASON, opened.withdraw.salt, opened.withdraw.reason).check(
                payload.reason, commitments.REASON
            )
        elif opened.consent is not None:
            rules = check_consent(opened.consent, payload)
            if payload.assurance == Assurance.WITNESSED and any(rule.effect is Effect.PERMIT for rule in rules):
                self._check_form(opened.consent.form, entry)
        elif opened.permits is not None:
            if not read_permits(opened.permits, payload):
                raise OpeningError("expected at least one permit")
        else:
            raise OpeningError("expected the opening of a consent")

    def _check_form(self, form: bytes, entry: Entry) -> None:
        """A consent in person permits something only by a form that two people of the member signed."""
        try:
            WitnessedForm.parse(form).check(self._member, entry.member, entry.time)
        except (MessageError, CertificateRefused, ValueError) as cause:
            raise OpeningError(f"a witnessed consent without the form that two people signed: {cause}") from cause

    # what is known

    def unopened(self, handle: Handle) -> list[Entry]:
        """Transactions of the patient that stand on the ledger and have not been opened here: releases wait."""
        history = self._member.reading.history(handle)
        withdrawn = self._withdrawn(history)
        missing = []
        for entry, payload in history:
            if isinstance(payload, Consent) and withdrawn.get(payload.id):
                continue  # whatever it said, it says no more
            if self._get(entry.digest, full=True) is None:
                missing.append(entry)
        return missing

    def _get(self, entry: Digest, *, full: bool) -> Opened | None:
        kept = self._kept.get(self._member.sealing.name("opening", entry, 0 if full else 1))
        return None if kept is None else kept.opened

    def known(self, entry: Digest) -> tuple[ConsentOpening | None, PermitsOpening | None]:
        """What was opened of a consent here: all of it, and the permits that name this member."""
        full, permits = self._get(entry, full=True), self._get(entry, full=False)
        return (full.consent if full else None), (permits.permits if permits else None)

    def _withdrawn(self, history: list[tuple[Entry, Consent | Withdraw]]) -> dict[ConsentId, bool]:
        """Consent -> whether its denies fell with its permits.

        Any live key of the handle, and any member that says the patient stood before it, ends all permits. But what
        was forbidden is allowed again only by who forbade it or by the handle's own key: of two representatives deny
        wins, and no member reads what was denied to it by saying that the patient changed her mind.
        """
        given = {payload.id: entry for entry, payload in history if isinstance(payload, Consent)}
        found: dict[ConsentId, bool] = {}
        for entry, payload in history:
            if isinstance(payload, Withdraw):
                kept = self._kept.get(self._member.sealing.name("opening", entry.digest, 0))
                lifts = (kept is not None and kept.own) or _same_author(entry, given.get(payload.id))
                found[payload.id] = lifts or found.get(payload.id, False)
        return found

    def givens(self, handle: Handle, named: ConsentId | None) -> list[Given]:
        """As custodian: every rule that stands for this handle. Permits of the named consent alone count.

        Denies of all consents stand until withdrawn by name, also beyond the end of their consent.
        """
        history = self._member.reading.history(handle)
        withdrawn = self._withdrawn(history)
        found: list[Given] = []
        for entry, payload in history:
            if not isinstance(payload, Consent) or withdrawn.get(payload.id):
                continue
            opened = self._get(entry.digest, full=True)
            if opened is None or opened.consent is None:
                continue  # `unopened` has said so
            rules = check_consent(opened.consent, payload)
            if payload.id != named or payload.id in withdrawn:
                rules = tuple(rule for rule in rules if rule.effect is Effect.DENY)
            if rules:
                found.append(Given(payload.id, rules, int(payload.assurance), payload.end))
        return found

    def permits(self, handle: Handle, consent: ConsentId) -> tuple[tuple[bytes, ...], list[Given]]:
        """As requester: the permits of a consent that were opened to this member, as bytes to present and as rules."""
        for entry, payload in self._member.reading.history(handle):
            if isinstance(payload, Consent) and payload.id == consent:
                opened = self._get(entry.digest, full=False)
                if opened is not None and opened.permits is not None:
                    rules = read_permits(opened.permits, payload)
                    return opened.permits.permits, [Given(consent, rules, int(payload.assurance), payload.end)]
        return (), []

    def permitted_consents(self, handle: Handle) -> list[ConsentId]:
        """Consents of a handle, open now, whose permits were opened to this member."""
        found = []
        for entry, payload in self._member.reading.history(handle):
            if (
                isinstance(payload, Consent)
                and self._member.reading.consent(payload.id) is not None
                and self._get(entry.digest, full=False) is not None
            ):
                found.append(payload.id)
        return found

    def watch(self) -> list[tuple[Handle, Entry]]:
        """Unopened transactions of all linked handles; each is logged once, and stays until its opening comes."""
        handles = self._member.identity.handles()
        return [(handle, entry) for handle in handles for entry in self.unopened(handle)]

    def note_unopened(self, handle: Handle) -> None:
        self._member.log.note(
            Event.OPENED_LATE, "a consent or withdrawal has not been opened here: releases wait", handle=handle
        )


def _same_author(entry: Entry, other: Entry | None) -> bool:
    if other is None or entry.member != other.member:
        return False
    return entry.member is not None or transaction_of(entry).author == transaction_of(other).author


def check_consent(opening: ConsentOpening, payload: Consent) -> tuple[Rule, ...]:
    """All rules of a consent, once shown to be what it commits to. Raises OpeningError."""
    if opening.consent != payload.id:
        raise OpeningError("this opening is of another consent")
    tree = open_all_rules(opening.rules, payload.rules)
    Opening(commitments.RECIPIENTS, opening.recipients_salt, list(opening.recipients)).check(
        payload.recipients, commitments.RECIPIENTS
    )
    Opening(commitments.FORM, opening.form_salt, opening.form).check(payload.form, commitments.FORM)
    try:
        rules = tuple(Rule.from_value(value) for value in tree.values())
        check_numbers(rules)
    except RuleError as cause:
        raise OpeningError(f"a rule of this consent cannot be read: {cause}") from cause
    return rules


def read_permits(opening: PermitsOpening, payload: Consent) -> tuple[Rule, ...]:
    """The permits that were opened, once shown to be under the consent's root. Raises OpeningError."""
    if opening.consent != payload.id:
        raise OpeningError("these permits are of another consent")
    return presented_rules(opening.permits, payload.rules)


def presented_rules(permits: tuple[bytes, ...], root: bytes) -> tuple[Rule, ...]:
    """Rules that someone shows, each under the consent's root. Raises OpeningError."""
    try:
        return tuple(Rule.from_value(OpenedRule.from_value(decode(each)).check(root)) for each in permits)
    except RuleError as cause:
        raise OpeningError(f"a permit of this consent cannot be read: {cause}") from cause
    except OpeningError:
        raise
    except ValueError as cause:
        raise OpeningError(f"a permit is not our encoding: {cause}") from cause
