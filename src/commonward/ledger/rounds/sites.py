"""What a site brings to a study: itself, its manifest, its keys for masking; and how it leaves.

The ledger sees no record of a manifest. It holds it to what is public: how many research consents for this study and
site are open, and when one was last withdrawn.
"""

from dataclasses import replace

from commonward.ledger.ids import Algorithm
from commonward.ledger.proofs import BadKey, check_public_key
from commonward.ledger.refusals import BadPossession
from commonward.ledger.rounds.chain import manifest_digest
from commonward.ledger.rounds.means import Means, fresh, live, takes_part
from commonward.ledger.rounds.opening import open_if_ready
from commonward.ledger.rounds.refusals import (
    AboveCounter,
    AlreadyEnrolled,
    HeldOutChanged,
    KeysStand,
    ManifestTooOld,
    NotEnrolled,
    NotMasked,
    StudyOver,
    TooManySites,
    WrongLearner,
)
from commonward.ledger.rounds.study import Masks, Placed, Site
from commonward.ledger.rounds.transactions import EnrolSite, LeaveStudy, Manifest, MaskKeys
from commonward.ledger.rounds.words import MAX_SITES, Mode, Status, band_floor
from commonward.ledger.rules import Header, MemberSigner

__all__ = ["enrol_site", "leave_study", "manifest", "mask_keys"]


def _check_key(public: bytes, what: str) -> None:
    try:
        check_public_key(Algorithm.X25519, public)
    except BadKey as cause:
        raise BadPossession(f"{what}: {cause}") from cause


def enrol_site(asked: EnrolSite, signer: MemberSigner, header: Header, *, means: Means) -> None:
    """Who left may come back; what it spent, disputed and held out for tests is as it was."""
    study, rounds = live(asked.study, header, means.rounds), means.rounds
    if study.status in (Status.STALLED, Status.COMPLETE):
        raise StudyOver(asked.study)
    if asked.learner != study.terms.learner:
        raise WrongLearner(study.terms.learner, asked.learner)
    before = rounds.site(asked.study, signer.member)
    if before is not None and before.enrolled:
        raise AlreadyEnrolled(asked.study, signer.member)
    if before is None and len(rounds.sites(asked.study)) >= MAX_SITES:
        raise TooManySites(MAX_SITES)
    _check_key(asked.sealing, "sealing key")
    if before is None:
        rounds.put_site(asked.study, signer.member, Site(asked.sealing, True, False, ()))
    else:
        rounds.put_site(asked.study, signer.member, replace(before, sealing=asked.sealing, enrolled=True))
        open_if_ready(asked.study, header, means=means)


def manifest(asked: Manifest, signer: MemberSigner, header: Header, *, means: Means) -> None:
    study = live(asked.study, header, means.rounds)
    site = takes_part(asked.study, signer.member, means.rounds)
    count = means.counter(asked.study, signer.member)
    if signer.seen.time < count.withdrawn_at:
        raise ManifestTooOld(signer.seen.time, count.withdrawn_at)
    for what, band, most in (
        ("patients", asked.patients, count.open),
        ("rows", asked.rows, count.open * study.terms.row_cap),
    ):
        least = max(band_floor(band), 1)  # a manifest of nobody is none
        if least > most:
            raise AboveCounter(what, least, most)
    before = site.manifest
    if before is not None and asked.test != before.test and fresh(before, count):
        raise HeldOutChanged(before.test, asked.test)
    placed = Placed(
        asked.train, asked.test, asked.patients, asked.rows, manifest_digest(signer.member, asked), signer.seen.size,
        signer.seen.time,
    )  # fmt: skip
    means.rounds.put_site(asked.study, signer.member, replace(site, manifest=placed))
    open_if_ready(asked.study, header, means=means)


def mask_keys(asked: MaskKeys, signer: MemberSigner, header: Header, *, means: Means) -> None:
    study = live(asked.study, header, means.rounds)
    site = takes_part(asked.study, signer.member, means.rounds)
    if study.terms.mode != Mode.MASKED:
        raise NotMasked(asked.study)
    if site.masks is not None:
        raise KeysStand(signer.member)
    for key in asked.keys:
        _check_key(key, "mask key")
    masks = Masks(asked.keys, asked.seeds, asked.shares)
    means.rounds.put_site(asked.study, signer.member, replace(site, masks=masks))
    open_if_ready(asked.study, header, means=means)


def leave_study(asked: LeaveStudy, signer: MemberSigner, header: Header, *, means: Means) -> None:
    """At once where no attempt is open that counts on it; else when that ends."""
    study = live(asked.study, header, means.rounds)
    site = takes_part(asked.study, signer.member, means.rounds)
    if site.leaving:
        raise NotEnrolled(asked.study, signer.member)
    current = means.rounds.round(asked.study, study.round + 1) if study.status == Status.RUNNING else None
    if current is not None and signer.member in current.voters:
        means.rounds.put_site(asked.study, signer.member, replace(site, leaving=True))
    else:
        means.rounds.put_site(asked.study, signer.member, replace(site, enrolled=False, masks=None))
