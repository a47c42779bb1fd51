"""The chain over a study's final rounds: one digest that says how a model came to be, back to the proposal.

Each link covers the link before it and all that the ledger knows of the round. So whoever holds a model and the rounds
that led to it (its sidecar) computes the last link again, and compares it with the one that the sites countersigned.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from commonward.ledger.encoding import Digest, Encodable, digest, encode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.rounds.transactions import Manifest, ProposeStudy

__all__ = ["Link", "first_link", "link", "manifest_digest"]

_FIRST: Final = "commonward study v1"
_LINK: Final = "commonward round v1"
_MANIFEST: Final = "commonward manifest v1"


class Link(NamedTuple):
    """A final round, as the chain covers it.

    `voters`: sites enrolled when it opened, ascending: more than two thirds of them signed. `updates`: (site, update,
    manifest) of the fixed set in ascending order of site, excluded ones too. `update`: as SubmitUpdate names it.
    """

    study: StudyId
    round: int
    attempt: int
    base: Digest
    voters: Sequence[MemberId]
    updates: Sequence[tuple[MemberId, Digest, Digest]]
    exclusions: Sequence[MemberId]
    state: Digest
    model: Digest


def first_link(proposer: MemberId, terms: ProposeStudy) -> Digest:
    """Where the chain begins: the study as it was proposed."""
    return digest(_FIRST, encode([proposer, terms.to_value()]))


def link(before: Digest, of: Link) -> Digest:
    """The link of a round whose round before ended with `before`."""
    updates: list[Encodable] = [tuple(each) for each in of.updates]
    return digest(
        _LINK,
        encode(
            [
                before, of.study, of.round, of.attempt, of.base, tuple(of.voters), updates, tuple(of.exclusions),
                of.state, of.model,
            ]
        ),
    )  # fmt: skip


def manifest_digest(site: MemberId, manifest: Manifest) -> Digest:
    """How the chain, and the state, name a site's manifest."""
    return digest(_MANIFEST, encode([site, manifest.to_value()]))
