"""Sealed updates, from site to site: committed to first, asked for once the set is fixed, checked, kept.

An update is sealed once, under a key of its own; that key goes to each asker sealed to the key it enrolled with. So
every site holds the same ciphertext, whose digest stands on the ledger, and whoever has an update serves it: a site
that gives others nothing, or something else, or dies, changes nothing once one honest site has its bytes.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from commonward.ledger.encoding import Digest, decode, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds import Manifest as ManifestPayload
from commonward.ledger.rounds import Mode, SubmitUpdate, manifest_digest
from commonward.ledger.rounds.study import Round, Study, Submitted
from commonward.records.aggregation import expected_shapes
from commonward.records.envelope import EnvelopeError, open_bytes, pad, seal_bytes, seal_to, size_class, unpad
from commonward.records.manifest import ROWS_LABEL
from commonward.records.model import Model
from commonward.records.openings import Opening, OpeningError, commit
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.training.papers import (
    ROWS_COMMITMENT,
    UPDATE,
    UPDATE_COMMITMENT,
    Asked,
    Given,
    KeptUpdate,
    ciphertext_digest,
    given_info,
    place_of,
    plain_digest,
)
from commonward.workflows.training.site import NotServed, Site

__all__ = ["Exchange", "Opened", "largest", "opened_as"]

_LARGE: Final = 1 << 20
_HEAD: Final = 1 << 10
"""Bytes that stand before a tensor's numbers at most (its name has 200), or around a whole update."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A site's update, opened and found to be what it committed to. `new`: received just now, and not kept yet."""

    kept: KeptUpdate
    plain: bytes
    new: bool = False


def largest(study: Study, papers: StudyPapers, base: Model) -> int:
    """Bytes that a sealed update to this model may have at most. What is longer is none, and is not fetched: of 64
    sites of a round each could else send a gigabyte at once. Raises AggregationError when the rule does not fit."""
    shapes = expected_shapes(study.terms.rule, papers.protocol.rule_parameters, base)
    plain = sum(8 * prod(shape) + _HEAD for shape in shapes.values()) + _HEAD
    return size_class(plain) + _HEAD


class Exchange:
    """Of one site, in all its studies."""

    def __init__(self, site: Site) -> None:
        self._site = site

    # ours

    def seal(
        self, study: StudyId, current: Round, plain: bytes, *, manifest: bytes, opening: bytes, rows: int, shown: bool
    ) -> KeptUpdate:
        """Our update for an attempt, sealed. `shown`: whether n is for the others to see (open mode)."""
        entropy, me = self._site.entropy, self._site.id
        key = entropy(32)
        place = place_of(study, current.round, current.attempt, me, current.base)
        ciphertext = seal_bytes(key, entropy(12), pad(plain), place)
        return KeptUpdate(
            me, current.round, current.attempt, current.base, manifest, opening if shown else b"", key, entropy(32),
            entropy(32), rows, ciphertext,
        )  # fmt: skip

    def committed(self, study: StudyId, kept: KeptUpdate) -> SubmitUpdate:
        """The transaction that commits to it."""
        plain = _plain(study, kept)
        assert plain is not None  # we sealed it
        return SubmitUpdate(
            study, kept.round, kept.attempt, kept.base, commit(UPDATE_COMMITMENT, kept.salt, plain_digest(plain)),
            ciphertext_digest(kept.ciphertext), commit(ROWS_COMMITMENT, kept.rows_salt, kept.rows),
        )  # fmt: skip

    # theirs

    async def collect(self, study: StudyId, mode: Mode, current: Round, most: int) -> dict[MemberId, Opened]:
        """What can be had now of the updates of a fixed set, kept. Each is asked of its site, then of other holders.
        `most`: bytes that one may have (`largest`)."""
        got = await self.gather(study, mode, current, most)
        new = [each.kept for each in got.values() if each.new]
        if new:
            with self._site.member.ports.vault.transaction():
                self.keep(study, new)
        return got

    async def gather(self, study: StudyId, mode: Mode, current: Round, most: int) -> dict[MemberId, Opened]:
        """The same, without keeping it: `keep` what is new before anything is said of it."""
        got = await asyncio.gather(*(self._one(study, mode, current, each, most) for each in current.updates))
        found = {each.site: opened for each, opened in zip(current.updates, got, strict=True) if opened is not None}
        if any(each.new for each in found.values()):
            self._site.reach("study.bytes.received")
        return found

    def keep(self, study: StudyId, new: Iterable[KeptUpdate]) -> None:
        """Joins the caller's vault transaction."""
        for each in new:
            self._site.store.put_update(study, each)

    async def _one(self, study: StudyId, mode: Mode, current: Round, submitted: Submitted, most: int) -> Opened | None:
        kept = self._site.store.update(study, current.round, current.attempt, submitted.site)
        if kept is not None:
            opened = await _opened(study, mode, current, submitted, kept)
            if opened is not None:
                return opened
        others = [each for each in current.voters if each not in (self._site.id, submitted.site)]
        for holder in (submitted.site, *others):
            if holder == self._site.id:
                continue
            kept = await self._from(holder, study, current, submitted, most)
            opened = None if kept is None else await _opened(study, mode, current, submitted, kept)
            if opened is not None:
                return replace(opened, new=True)
        return None

    async def _from(
        self, holder: MemberId, study: StudyId, current: Round, submitted: Submitted, most: int
    ) -> KeptUpdate | None:
        wanted = Asked(study, current.round, current.attempt, submitted.site)
        answer = await self._site.ask(holder, UPDATE, wanted, most=most)
        if answer is None:
            return None
        info = given_info(study, current.round, current.attempt, submitted.site, self._site.id)
        try:
            inside = decode(self._site.member.ports.keys.open_sealed(info, answer.sealed))
        except (EnvelopeError, ValueError):
            return None
        match inside:
            case [bytes(key), bytes(salt), bytes(rows_salt), int(rows), bytes(opening)] if {
                len(key),
                len(salt),
                len(rows_salt),
            } == {32}:
                return KeptUpdate(
                    submitted.site, current.round, current.attempt, current.base, answer.beside, opening, key, salt,
                    rows_salt, rows, answer.data,
                )  # fmt: skip
        return None

    async def give(self, asker: MemberId, body: bytes) -> bytes:
        """Where other sites ask for an update: of an attempt whose set is fixed, for who had a vote in it, and only
        what its site committed to. Raises NotServed, MessageError."""
        asked = Asked.parse(body)
        current = self._site.rounds.round(asked.study, asked.round)
        enrolled = self._site.rounds.site(asked.study, asker)
        if current is None or current.attempt != asked.attempt or current.fixed is None:
            return Given().to_bytes()
        if enrolled is None or asker not in current.voters:
            raise NotServed(f"updates of study {asked.study.hex()} are for the sites of that round, not for {asker}")
        submitted = current.update_of(asked.site)
        kept = self._site.store.update(asked.study, asked.round, asked.attempt, asked.site)
        if submitted is None or kept is None or self._site.store.ciphertext_of(kept) != submitted.ciphertext:
            return Given().to_bytes()
        if asked.part:  # who asks has read what is sealed for it in the first
            return Given.piece(kept.ciphertext, asked.part).to_bytes()
        masked = not kept.opening
        inside = encode([kept.key, kept.salt, kept.rows_salt, 0 if masked else kept.rows, kept.opening])
        info = given_info(asked.study, asked.round, asked.attempt, asked.site, asker)
        sealed = seal_to(enrolled.sealing, info, inside)
        return Given.piece(kept.ciphertext, asked.part, sealed=sealed, beside=kept.manifest).to_bytes()


async def _opened(study: bytes, mode: Mode, current: Round, submitted: Submitted, kept: KeptUpdate) -> Opened | None:
    """As `opened_as`; a large one is opened in a thread, so that the node answers others meanwhile."""
    if len(kept.ciphertext) < _LARGE:
        return opened_as(study, mode, current, submitted, kept)
    return await asyncio.to_thread(opened_as, study, mode, current, submitted, kept)


def _plain(study: bytes, kept: KeptUpdate) -> bytes | None:
    place = place_of(study, kept.round, kept.attempt, kept.site, kept.base)
    try:
        return unpad(open_bytes(kept.key, kept.ciphertext, place))
    except (EnvelopeError, ValueError):
        return None


def opened_as(study: bytes, mode: Mode, current: Round, submitted: Submitted, kept: KeptUpdate) -> Opened | None:
    """What was sealed, if it is what the site committed to: its bytes, its place, its rows, its manifest."""
    here = (submitted.site, current.round, current.attempt, current.base)
    if (kept.site, kept.round, kept.attempt, kept.base) != here:
        return None
    if ciphertext_digest(kept.ciphertext) != submitted.ciphertext:
        return None
    plain = _plain(study, kept)
    if plain is None or commit(UPDATE_COMMITMENT, kept.salt, plain_digest(plain)) != submitted.update:
        return None
    manifest = _manifest(kept, submitted.manifest)
    if manifest is None:
        return None
    if mode == Mode.OPEN:
        if commit(ROWS_COMMITMENT, kept.rows_salt, kept.rows) != submitted.rows:
            return None
        try:
            Opening.parse(kept.opening).check(manifest.exact_rows, ROWS_LABEL)
        except OpeningError:
            return None
    return Opened(kept, plain)


def _manifest(kept: KeptUpdate, named: Digest) -> ManifestPayload | None:
    try:
        payload = ManifestPayload.parse(kept.manifest)
    except ValueError:
        return None
    return payload if manifest_digest(kept.site, payload) == named else None
