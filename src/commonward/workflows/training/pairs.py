"""Masks between pairs of sites in an open study, so that of their counts only the sum over all comes out.

Of two sites, the one whose name comes first draws the seed of the pair, and gives it to the other under the key it
enrolled with. Each place (a round, a model) has masks of its own, which cancel in the sum over the sites of that place
and in no other. There are no shares of these seeds: who is missing is missed by all. (A masked study has its deals.)

Who learns what: one site's counts come out only where all the other sites of the place join against it. Of two sites,
each finds the other's by subtraction.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from commonward.ledger.encoding import encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.records.envelope import EnvelopeError, seal_to
from commonward.records.masking import Vector, add_mask
from commonward.workflows.training.papers import SEED, Asked, Given
from commonward.workflows.training.site import NotServed, Site

__all__ = ["Pairs"]

_SEED_LABEL: Final = "commonward pair seed v1"
_MASK_LABEL: Final = "commonward pair mask v1"
_SEED_BYTES: Final = 32


class Pairs:
    """Of one site, in all its open studies."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._given: dict[tuple[StudyId, MemberId], bytes] = {}

    async def seeds(self, study: StudyId, others: Iterable[MemberId]) -> dict[MemberId, bytes] | None:
        """With each of these sites; None while one of them gives none."""
        wanted = list(others)
        got = await asyncio.gather(*(self._seed(study, each) for each in wanted))
        found = {other: seed for other, seed in zip(wanted, got, strict=True) if seed is not None}
        return found if len(found) == len(wanted) else None

    async def _seed(self, study: StudyId, other: MemberId) -> bytes | None:
        if self._site.id < other:
            return self._drawn(study, other)
        known = self._given.get((study, other))
        if known is not None:
            return known
        answer = await self._site.ask(other, SEED, Asked(study))
        if answer is None:
            return None
        try:
            seed = self._site.member.ports.keys.open_sealed(_info(study, other, self._site.id), answer.sealed)
        except EnvelopeError:
            return None
        if len(seed) != _SEED_BYTES:
            return None
        self._given[study, other] = seed
        return seed

    def _drawn(self, study: StudyId, other: MemberId) -> bytes:
        """Not by chance alone: the same again after a kill, so that what was masked by it still cancels."""
        return self._site.member.sealing.secret("study pair", study, other)

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """The seed that we drew for the pair of us and the asker. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        enrolled = self._site.rounds.site(asked.study, asker)
        if enrolled is None or self._site.enrolment(asked.study) is None:
            raise NotServed(f"seeds of study {asked.study.hex()} are for its sites, not for {asker}")
        if asker <= self._site.id:
            return Given().to_bytes()
        sealed = seal_to(enrolled.sealing, _info(asked.study, self._site.id, asker), self._drawn(asked.study, asker))
        return Given.piece(b"", 0, sealed=sealed).to_bytes()

    def mask(self, vector: Vector, place: Sequence[bytes | int | str], seeds: Mapping[MemberId, bytes]) -> None:
        """Adds this site's masks for one place, in place. `seeds`: with every other site of it."""
        for other, seed in seeds.items():
            low, high = sorted((self._site.id, other))
            key = HKDF(SHA256(), 32, salt=None, info=encode([_MASK_LABEL, *place, low, high])).derive(seed)
            add_mask(vector, key, 1 if self._site.id == low else -1)


def _info(study: bytes, drawn_by: str, given_to: str) -> bytes:
    """What a seed is bound to on its way."""
    return encode([_SEED_LABEL, study, drawn_by, given_to])
