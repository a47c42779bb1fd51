"""Recalls: who received a record that was corrected, was wrong, moved, or was erased, is told, and says that it knows.

A recall is durable in the same transaction as its cause, is sent until every recipient acknowledged it by signature,
and marks the copies there before the acknowledgement leaves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from commonward.ledger.encoding import digest
from commonward.ledger.ids import Digest, Handle, LedgerId, MemberId, Purpose
from commonward.ledger.proofs import verify
from commonward.records.record import Standing
from commonward.workflows.ingest import Ingest
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.messages import RECALL, Fault, RecallAck, RecallNotice
from commonward.workflows.ports import PeerAway
from commonward.workflows.release import Releases
from commonward.workflows.requests import Requests
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message, MessageError


@dataclass(frozen=True, slots=True)
class Recall(Message):
    """One notice to one recipient, until it is acknowledged."""

    to: MemberId
    notice: RecallNotice
    ack: bytes = b""


def recall_ack_message(ledger: LedgerId, notice: bytes) -> Digest:
    return digest("commonward recall ack v1", ledger, notice)


class Recalls:
    """Both sides, for one member."""

    def __init__(self, member: Member, releases: Releases, requests: Requests, ingest: Ingest | None = None) -> None:
        self._member = member
        self._releases = releases
        self._requests = requests
        self._ingest = ingest
        self.recalls = Drawer(member.ports.vault, member.sealing, "recalls", Recall)

    # as custodian

    def raise_for_corrections(self) -> int:
        """Turns every replaced version into notices to who received it; returns how many. Part of each tick."""
        if self._ingest is None:
            return 0
        count = 0
        for key, replaced in list(self._ingest.replaced.every()):
            found = self._member.ports.vault.records([replaced.old, replaced.new])
            row = found[replaced.old][1]
            if found[replaced.new][1].patient not in self._member.identity.everyone(row.patient):
                fault = Fault.MOVED
            elif replaced.standing == Standing.ENTERED_IN_ERROR:
                fault = Fault.ERRONEOUS
            else:
                fault = Fault.CORRECTED
            with self._member.ports.vault.transaction():
                # Only a correction names what takes its place: the other's record is nothing to this one's recipients.
                new = replaced.new if fault is Fault.CORRECTED else None
                count += self.file([replaced.old], row.patient, fault, new)
                self._ingest.replaced.remove(key)
            self._member.ports.steps.reach("recall.filed")
        return count

    def file(self, records: Sequence[bytes], patient: bytes, fault: Fault, replaced_by: bytes | None = None) -> int:
        """Files a notice for each recipient of each record. Joins the caller's vault transaction."""
        handles = self._member.identity.handles_of(patient)
        told: dict[MemberId, list[bytes]] = {}
        for record in records:
            for recipient in self._releases.recipients(handles, record):
                told.setdefault(recipient, []).append(record)
        for recipient, theirs in told.items():
            recall_id = self._member.sealing.name("recall", recipient, int(fault), *theirs)
            at = self._member.now()
            notice = RecallNotice(recall_id, self._member.id, tuple(theirs), fault, at, replaced_by)
            if self.recalls.get(recall_id) is None:
                self.recalls.put(recall_id, Recall(recipient, notice))
        return len(told)

    def forget(self, record: bytes, patient: bytes) -> None:
        """No bundle of ours brings this record again. Joins the caller's vault transaction."""
        self._releases.forget(self._member.identity.handles_of(patient), record)

    def moved(self, handle: Handle, before: frozenset[bytes]) -> int:
        """After an unmerge: what left this handle's patient is recalled from everyone who got it under the handle."""
        gone = before - self._member.identity.patients_of(handle)
        records = [row.id for _, row in self._member.ports.vault.current_records(sorted(gone))]
        recipients: dict[MemberId, list[bytes]] = {}
        for record in records:
            for recipient in self._releases.recipients(frozenset({handle}), record):
                recipients.setdefault(recipient, []).append(record)
        with self._member.ports.vault.transaction():
            for recipient, theirs in recipients.items():
                recall_id = self._member.sealing.name("recall", recipient, int(Fault.MOVED), *theirs)
                notice = RecallNotice(recall_id, self._member.id, tuple(theirs), Fault.MOVED, self._member.now())
                self.recalls.put(recall_id, Recall(recipient, notice))
        return len(recipients)

    async def send(self) -> list[RecallNotice]:
        """Sends every notice that is not acknowledged; returns those that still are not."""
        waiting = []
        for key, recall in list(self.recalls.every()):
            if recall.ack:
                continue
            try:
                answer = await self._member.ports.peers.ask(recall.to, RECALL, recall.notice.to_bytes())
                ack = RecallAck.parse(answer)
            except (PeerAway, MessageError):
                waiting.append(recall.notice)
                continue
            if not self._holds(recall, ack):
                waiting.append(recall.notice)
                continue
            self.recalls.put(key, replace(recall, ack=answer))
            self._member.ports.steps.reach("recall.acknowledged")
        return waiting

    def _holds(self, recall: Recall, ack: RecallAck) -> bool:
        key = self._member.reading.operate_key(recall.to, ack.key)
        if key is None or ack.member != recall.to or ack.id != recall.notice.id:
            return False
        message = recall_ack_message(self._member.ports.ledger.line, recall.notice.to_bytes())
        return verify(key[0], key[1], message, ack.signature)

    # as recipient

    def take(self, asker: MemberId, notice: RecallNotice) -> RecallAck:
        """Marks every copy that holds one of the records, durably, then acknowledges. Only its custodian recalls."""
        member, known = self._member, False
        with member.ports.vault.transaction():
            for copy in self._requests.sound_copies():
                if copy.custodian != asker:
                    continue
                held = {sent.id for sent in self._requests.bundle(copy).records}
                new = [each for each in notice.records if each in held and each not in copy.recalled]
                known = known or any(each in held for each in notice.records)
                if new:
                    self._requests.recall(copy, new, notice.fault)
                    member.log.note(
                        Event.RECALLED, f"{asker} recalled {len(new)} records: {notice.fault.name}", handle=copy.handle
                    )
            member.ports.steps.reach("recall.before-marked")
        algorithm, _, key = member.ports.keys.public(Purpose.OPERATE)
        message = recall_ack_message(member.ports.ledger.line, notice.to_bytes())
        signature = member.ports.keys.sign(Purpose.OPERATE, message)
        return RecallAck(notice.id, member.id, known, key, int(algorithm), signature)
