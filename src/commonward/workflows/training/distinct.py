"""Near copies that a person looked at and found to be of two patients: the one way past the search for copies.

The search errs now and then: of some hundred thousand pairs of photographs two may look nearly the same by chance, and
a manifest that may not hold both would never be made. So a member of staff looks at both, and says so of this pair, by
its name and never of all. What was said is kept with who said it and what distance had been found, in the vault and in
the member's log, in one transaction. It is said of the two pictures: another file of the same pixels is the same
picture, and a picture that was put right is another.

The same picture under two patients is no matter of opinion: nobody can say that of it.
"""

from dataclasses import dataclass

from commonward.records.images.duplicates import Pair
from commonward.workflows.member import Member
from commonward.workflows.member_log import Event
from commonward.workflows.sealing import Drawer
from commonward.workflows.wire import Message

__all__ = ["Distinct", "FoundDistinct", "NoSuchPair", "OnePicture"]


class OnePicture(ValueError):
    """It cannot be said of these two that they are of two patients: they are one picture."""


class NoSuchPair(LookupError):
    """No pictures of this name are held to be near copies in the study here."""


@dataclass(frozen=True, slots=True)
class FoundDistinct(Message):
    """Who looked (opaque number, digest of the day certificate), when (ms), and the bits of 256 that differed."""

    who: str
    staff: bytes
    at: int
    distance: int


class Distinct:
    """Of one member, in all its studies."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._found = Drawer(member.ports.vault, member.sealing, "distinct-pictures", FoundDistinct)

    def known(self, pair: Pair) -> FoundDistinct | None:
        """What a person found of a pair. None where nobody looked, and always where it is one picture."""
        return None if pair.certain or not pair.name else self._found.get(self._key(pair.name))

    def count(self) -> int:
        """Of all pairs that were looked at: it changes when one more was."""
        return self._found.count()

    def say(self, pair: Pair, patients: tuple[str, str], who: str, staff: bytes) -> FoundDistinct:
        """A person looked at both and found two patients. Said again, the first time stands.

        Args:
            patients: as the hospital's own systems call them, for its own log.
            who, staff: the number of a day certificate and its digest; the caller held it to be valid now.

        Raises:
            OnePicture: the pixels are the same, or nothing that the search looks at differs.
        """
        if pair.certain or not pair.name:
            raise OnePicture(
                f"expected two pictures that differ, got one picture under the patients {' and '.join(patients)}: "
                "correct whose it is, join the two names of one person, or withdraw the one"
            )
        known = self.known(pair)
        if known is not None:
            return known
        found = FoundDistinct(who, staff, self._member.now(), pair.distance)
        with self._member.ports.vault.transaction():
            self._found.put(self._key(pair.name), found)
            self._member.log.note(
                Event.TWO_PICTURES,
                f"held to be near copies ({pair.distance} of 256 bits differ), and found to be of two patients by a "
                f"person who looked at both: pair {pair.name.hex()}, of the patients {' and '.join(patients)}",
                who=who,
                staff=staff,
            )
        return found

    def _key(self, name: bytes) -> bytes:
        return self._member.sealing.name("distinct-pictures", name)
