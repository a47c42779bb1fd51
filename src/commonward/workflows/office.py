"""Everything one member does, put together over its ports: what `apps/wiring` makes one of."""

from collections.abc import Awaitable, Callable

from commonward.workflows.accusing import Accusing
from commonward.workflows.breakglass import BreakingGlass
from commonward.workflows.consent import Openings
from commonward.workflows.desk import Desk
from commonward.workflows.enrolment import Enrolment
from commonward.workflows.erasure import Erasures
from commonward.workflows.evidence import EvidenceDesk
from commonward.workflows.gate import Gate
from commonward.workflows.holdings import Holdings
from commonward.workflows.ingest import Ingest
from commonward.workflows.log_roots import LogRoots
from commonward.workflows.mailbox import Mailbox
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.ports import WorldError
from commonward.workflows.recall import Recalls
from commonward.workflows.release import Releases
from commonward.workflows.requests import Requests
from commonward.workflows.research_consents import ResearchConsents
from commonward.workflows.studying import Studying
from commonward.workflows.submitting import LedgerRefused
from commonward.workflows.timestamps import Stamping, TimeStamps


class Office:
    """One member at work."""

    def __init__(self, member: Member, stamping: Stamping | None = None) -> None:
        """`stamping`: the time-stamping authority, where this member has one."""
        self.member = member
        self.stamps = TimeStamps(member, stamping)
        ports = member.ports
        self.openings = Openings(member)
        self.holdings = Holdings(member)
        self.mailbox = Mailbox(member)
        self.releases = Releases(member, self.openings, self.holdings)
        self.requests = Requests(member, self.openings, self.mailbox)
        self.ingest = Ingest(ports.vault, member.sealing, member.storage, member.log, ports.clock, ports.steps)
        self.recalls = Recalls(member, self.releases, self.requests, self.ingest)
        self.erasures = Erasures(member, self.holdings, self.recalls)
        self.evidence = EvidenceDesk(member, self.holdings, self.releases, self.openings, self.stamps)
        self.glass = BreakingGlass(member, self.requests, self.mailbox)
        self.enrolment = Enrolment(member, self.mailbox)
        self.log_roots = LogRoots(member)
        self.accusing = Accusing(member)
        self.gate = Gate(member, self.openings, self.mailbox)
        self.studying = Studying(member)
        self.research = ResearchConsents(member, self.openings, self.holdings, self.enrolment)
        self.desk = Desk(member, self.openings, self.releases, self.holdings, self.recalls, self.mailbox)
        self.desk.handlers.update(self.studying.handlers)

    async def tick(self) -> list[str]:
        """One tick: anchors, then everything that was left over. What fails now is tried at the next tick.

        Returns what could not be done, in words. Call at start too: it brings a killed member back to order.
        """
        self.recalls.raise_for_corrections()
        jobs: tuple[tuple[str, Callable[[], Awaitable[object]]], ...] = (
            ("anchor", self.member.anchoring.tick),
            ("log root", self.log_roots.tick),
            ("accusations", self.accusing.tick),
            ("openings", self.openings.settle),
            ("marks", self.releases.finish),
            ("broken glass", self.glass.finish),
            ("erasures", self.erasures.finish),
            ("recalls", self.recalls.send),
            ("requests", self.requests.resume),
            ("copies", self.requests.tend),
        )
        troubles = []
        for name, job in jobs:
            try:
                await job()
            except WorldError as away:
                troubles.append(f"{name}: {away}")
            except LedgerRefused as refused:
                troubles.append(f"{name}: {refused}")
                self.member.log.note(Event.FLAGGED, f"{name}: {refused}")
        return troubles
