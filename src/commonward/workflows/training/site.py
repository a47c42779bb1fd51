"""What all parts of the loop share: one member as a site, its ports, and the roads to the ledger and to other sites."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Final, NamedTuple, ParamSpec, TypeVar

from commonward.ledger.encoding import Encodable
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds.study import Round, Study
from commonward.ledger.rounds.study import Site as Enrolment
from commonward.ledger.wire import Payload
from commonward.workflows.member_log import Event
from commonward.workflows.office import Office
from commonward.workflows.ports import Committed, WorldError
from commonward.workflows.training.papers import PART_BYTES, Asked, Given
from commonward.workflows.training.store import Store
from commonward.workflows.wire import MessageError

__all__ = ["LARGEST", "Answered", "NotServed", "Site", "Waits"]

P = ParamSpec("P")
T = TypeVar("T")
LARGEST: Final = 1 << 30
"""Bytes of any answer: a model of a hundred million weights has 0.8 of it. Whoever asks for less says so, so that no
site fills another's memory, nor several together what one alone could not."""


class Waits(Exception):
    """The study cannot go on here now; the sentence says what it waits for. The next pass looks again."""


class NotServed(ValueError):
    """A question that is not answered to this asker."""


class Answered(NamedTuple):
    """A whole answer: what all its parts make together, what was sealed for us, what stood beside."""

    data: bytes
    sealed: bytes
    beside: bytes


class Site:
    """One member in all its studies."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.member = office.member
        self.id: MemberId = office.member.id
        self.ledger = office.member.ports.ledger
        self.rounds = office.studying.rounds
        self.store = Store(office.member)
        self._threads: dict[StudyId, ThreadPoolExecutor] = {}

    def close(self) -> None:
        """Waits for what is under way in the threads."""
        for each in self._threads.values():
            each.shutdown(wait=True)
        self._threads.clear()

    def reach(self, step: str) -> None:
        self.member.ports.steps.reach(step)

    def entropy(self, count: int) -> bytes:
        return self.member.ports.entropy.bytes(count)

    async def off_loop(self, study: StudyId, call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        """In the one thread that this study's learner is called from."""
        thread = self._threads.get(study)
        if thread is None:
            thread = self._threads[study] = ThreadPoolExecutor(1, thread_name_prefix=f"learner-{study.hex()[:8]}")
        return await asyncio.get_running_loop().run_in_executor(thread, lambda: call(*args, **more))

    def end_thread(self, study: StudyId) -> None:
        """The study is over here."""
        thread = self._threads.pop(study, None)
        if thread is not None:
            thread.shutdown(wait=False)

    # the ledger

    def enrolment(self, study: StudyId) -> Enrolment | None:
        """This site's; None where it never took part."""
        return self.rounds.site(study, self.id)

    def current(self, study: Study) -> Round | None:
        """The attempt under way, or the last one at the round that is to come."""
        return self.rounds.round(study.terms.study, study.round + 1)

    async def land(
        self,
        name: str,
        payload: Payload,
        *parts: Encodable,
        beside: Callable[[], None] | None = None,
        still: Callable[[], None] | None = None,
    ) -> Committed:
        """Once, under a name that follows from `name` and `parts`; forget it by `landed` when its outcome is kept.
        `beside`: what is kept in one transaction with the signed bytes, before they are sent. `still`: called before
        each signing; raises where the payload is true no more.

        Raises LedgerAway, LedgerRefused.
        """
        key, step = self._key(name, *parts), f"study.{name}"
        return await self.member.submitter.land(key, payload, step=step, beside=beside, still=still)

    def landed(self, name: str, *parts: Encodable) -> None:
        self.member.submitter.done(self._key(name, *parts))

    def _key(self, name: str, *parts: Encodable) -> bytes:
        return b"study" + self.member.sealing.name(f"study {name}", *parts)

    def flag(self, words: str) -> None:
        """For the member's own log: something is not as it should be, and people should look."""
        self.member.log.note(Event.FLAGGED, words)

    # other sites

    async def ask(self, other: MemberId, path: str, wanted: Asked, *, most: int = PART_BYTES) -> Answered | None:
        """A whole answer, however many parts it comes in; None where that member has none for us, or is away, or would
        send more than `most` bytes."""
        parts: list[bytes] = []
        sealed = beside = b""
        left = most
        while True:
            question = replace(wanted, part=len(parts)).to_bytes()
            try:
                answer = Given.parse(await self.member.ports.peers.ask(other, path, question))
            except (WorldError, MessageError, NotServed):
                return None
            left -= len(answer.data)
            if not 0 < answer.parts <= -(-most // PART_BYTES) or len(answer.data) > PART_BYTES or left < 0:
                return None
            if not parts:
                sealed, beside = answer.sealed, answer.beside
            parts.append(answer.data)
            if len(parts) >= answer.parts:
                return Answered(b"".join(parts), sealed, beside)
