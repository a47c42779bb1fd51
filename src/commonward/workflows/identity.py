"""Who is who at one member: an overlay of reversible links over records that are never rewritten.

A record names a patient as its source system does. `merge` says that two such names are one person, `unmerge`
takes exactly that back. A handle is linked to a local name after the member's own identity check, in the vault
alone; linking makes the key that the patient and this custodian share for the tags of marks.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from commonward.ledger.encoding import digest
from commonward.ledger.ids import Handle, Tag
from commonward.workflows.ports import Cabinet, Clock, Entropy
from commonward.workflows.sealing import Drawer, Sealing
from commonward.workflows.wire import Message


class IdentityError(ValueError):
    """A link that cannot be made or taken back, and why."""


@dataclass(frozen=True, slots=True)
class SamePerson(Message):
    """Two local names are one person, until `ended`. Filed once for each of its sides."""

    id: bytes
    left: bytes
    right: bytes
    why: str
    at: int
    ended: int | None = None
    end_why: str | None = None


@dataclass(frozen=True, slots=True)
class Link(Message):
    """A handle and the local name it was linked to. `tag_key` is shared with the patient."""

    handle: Handle
    patient: bytes
    tag_key: bytes
    evidence: str  # what was checked, in words; its salted digest goes where law asks for it
    staff: str
    at: int
    ended: int | None = None


def mark_tag(tag_key: bytes, n: int) -> Tag:
    """The one-time tag of mark `n`: a PRF under the 32-byte key of the link, so tags of one patient look unrelated."""
    if len(tag_key) != 32:
        raise ValueError(f"expected a tag key of 32 bytes, got {len(tag_key)}")
    return Tag(digest("commonward mark tag v1", tag_key, n.to_bytes(8, "big")))


class Identity:
    """The overlay of one member."""

    def __init__(self, cabinet: Cabinet, sealing: Sealing, clock: Clock, entropy: Entropy) -> None:
        self._sealing = sealing
        self._clock = clock
        self._entropy = entropy
        self._same = Drawer(cabinet, sealing, "same-person", SamePerson)
        self._links = Drawer(cabinet, sealing, "links", Link)

    def patient(self, system: str, local_id: str) -> bytes:
        """The keyed name of a patient as a source system calls them."""
        return self._sealing.name("patient", system, local_id)

    def merge(self, left: bytes, right: bytes, why: str) -> SamePerson:
        """Reversible, and repeated merges of one pair are one link."""
        if left == right:
            raise IdentityError("a patient cannot be merged with itself")
        left, right = sorted((left, right))
        link_id = self._sealing.name("same-person", left, right)
        held = self._same.get(link_id + b"\0")
        if held is not None and held.ended is None:
            return held
        link = SamePerson(link_id, left, right, why, self._clock.now())
        self._file(link)
        return link

    def unmerge(self, left: bytes, right: bytes, why: str) -> SamePerson:
        """Ends the link between exactly these two. Raises IdentityError when there is none."""
        left, right = sorted((left, right))
        held = self._same.get(self._sealing.name("same-person", left, right) + b"\0")
        if held is None or held.ended is not None:
            raise IdentityError("these two are not merged; take back the merge that joined them")
        link = replace(held, ended=self._clock.now(), end_why=why)
        self._file(link)
        return link

    def _file(self, link: SamePerson) -> None:
        # Twice, so that it is found from either side; the cabinet files a paper under one group.
        self._same.put(link.id + b"\0", link, under=link.left)
        self._same.put(link.id + b"\1", link, under=link.right)

    def everyone(self, patient: bytes) -> frozenset[bytes]:
        """All local names that are this person now."""
        found = {patient}
        edge = [patient]
        while edge:
            for _, link in self._same.under(edge.pop()):
                if link.ended is None:
                    for side in (link.left, link.right):
                        if side not in found:
                            found.add(side)
                            edge.append(side)
        return frozenset(found)

    def link(self, handle: Handle, patient: bytes, evidence: str, staff: str) -> Link:
        """After the identity check, in person. The same handle and patient again: the first link stands."""
        held = self._links.get(handle)
        if held is not None and held.ended is None:
            if held.patient in self.everyone(patient):
                return held
            raise IdentityError("this handle is linked to another patient here; end that link first")
        # The key outlives the link: the line of marks goes on where it was, and the patient can still follow it.
        tag_key = self._entropy.bytes(32) if held is None else held.tag_key
        link = Link(handle, patient, tag_key, evidence, staff, self._clock.now())
        self._links.put(handle, link, under=patient)
        return link

    def unlink(self, handle: Handle) -> None:
        held = self._links.get(handle)
        if held is None or held.ended is not None:
            raise IdentityError("this handle is not linked here")
        self._links.put(handle, replace(held, ended=self._clock.now()), under=held.patient)

    def linked(self, handle: Handle) -> Link | None:
        """The live link of a handle."""
        held = self._links.get(handle)
        return None if held is None or held.ended is not None else held

    def patients_of(self, handle: Handle) -> frozenset[bytes]:
        """All local names whose records a handle stands for; none when it is not linked."""
        held = self.linked(handle)
        return frozenset() if held is None else self.everyone(held.patient)

    def handles_of(self, patient: bytes) -> frozenset[Handle]:
        """Live handles of a person, from any of their local names."""
        found = [link for name in self.everyone(patient) for _, link in self._links.under(name)]
        return frozenset(link.handle for link in found if link.ended is None)

    def handles(self) -> list[Handle]:
        """All live handles here; what the watch over consents looks at."""
        return list(self.each_handle())

    def each_handle(self) -> Iterator[Handle]:
        """As `handles`, a page of the vault at a time."""
        return (link.handle for _, link in self._links.every() if link.ended is None)
