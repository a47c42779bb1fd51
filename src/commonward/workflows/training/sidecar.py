"""Makes the lineage of a study's last model (`records.lineage`) from this site's papers and the ledger."""

from commonward.ledger.encoding import Digest, decode
from commonward.ledger.ids import MemberId, StudyId
from commonward.ledger.members import key_key
from commonward.ledger.rounds import Countersign, Manifest, manifest_digest, quorum
from commonward.ledger.rounds.study import Round, Study
from commonward.records.lineage import Lineage, LineageRound
from commonward.workflows.captured import capture
from commonward.workflows.evidence import NoEvidence
from commonward.workflows.ports import Entry
from commonward.workflows.reading import transaction_of
from commonward.workflows.training.site import Site, Waits

__all__ = ["metrics_signed", "sidecar"]


async def sidecar(site: Site, study: Study) -> Lineage:
    """The lineage up to the last final round. Raises Waits (not cosigned yet, or not all is here), LedgerAway."""
    rounds = [_round(site, study, number) for number in range(1, study.round + 1)]
    if not rounds:
        raise Waits("a final round: before one there is no lineage")
    last = rounds[-1]
    entries = _countersignatures(site, study, last)
    if len(entries) < quorum(len(last.voters)):
        raise Waits("the countersignatures of the last round, which this node does not hold")
    seen = [capture(site.ledger, [key_key(transaction_of(each).author)]) for each in entries]
    newest = max((each.index for each in seen if each is not None), default=entries[-1].index)
    await site.ledger.cosigned(max(newest, entries[-1].index) + 1, site.member.practice.cosign_wait_ms)
    try:
        evidence = tuple(
            site.office.evidence.of_transaction(entry.index, seen=shown)
            for entry, shown in zip(entries, seen, strict=True)
        )
    except NoEvidence as cause:
        raise Waits(str(cause)) from cause
    made = tuple(
        LineageRound(
            each.round, each.attempt, each.base, each.voters,
            tuple((one.site, one.update, one.manifest) for one in each.updates), each.exclusions or (),
            each.state or study.chain, each.model or study.model,
        )
        for each in rounds
    )  # fmt: skip
    return Lineage(study.proposer, study.terms, made, _manifests(site, study, rounds), evidence)


def _round(site: Site, study: Study, number: int) -> Round:
    paper = site.store.final(study.terms.study, number)
    found = site.rounds.round(study.terms.study, number) if paper is None else Round.parse(paper.final)
    if found is None or found.model is None or found.state is None:
        raise Waits(f"round {number}, of which nothing was kept here")
    return found


def _manifests(site: Site, study: Study, rounds: list[Round]) -> tuple[tuple[MemberId, Manifest], ...]:
    """Payloads of those that the rounds name, as far as updates brought them."""
    found: dict[tuple[MemberId, bytes], Manifest] = {}
    for each in rounds:
        for submitted in each.updates:
            kept = site.store.update(study.terms.study, each.round, each.attempt, submitted.site)
            if kept is None or (submitted.site, submitted.manifest) in found:
                continue
            payload = Manifest.parse(kept.manifest)
            if manifest_digest(submitted.site, payload) == submitted.manifest:
                found[submitted.site, submitted.manifest] = payload
    return tuple((member, found[member, named]) for member, named in sorted(found))


def _countersignatures(site: Site, study: Study, last: Round) -> list[Entry]:
    """Accepted ones over this round's link: the first that are more than two thirds of its sites."""
    assert last.fixed is not None
    found: list[Entry] = []
    at = _first_after(site, last.fixed)
    while len(found) < quorum(len(last.voters)):
        page = site.ledger.entries(at, 1, (Countersign.KIND,))
        if not page:
            break
        at = page[0].index + 1
        payload = transaction_of(page[0]).payload
        if page[0].code == 0 and isinstance(payload, Countersign):
            said = (payload.study, payload.round, payload.attempt, payload.chain)
            if said == (study.terms.study, last.round, last.attempt, last.chain):
                found.append(page[0])
    return found


def metrics_signed(site: Site, study: StudyId, ended: Round) -> dict[MemberId, Digest]:
    """What each site's accepted countersignature of a final round commits to as the counts of its own test rows."""
    assert ended.fixed is not None
    wanted, found = {each.site for each in ended.signed}, dict[MemberId, Digest]()
    at = _first_after(site, ended.fixed)
    while len(found) < len(wanted):
        page = site.ledger.entries(at, 1, (Countersign.KIND,))
        if not page:
            break
        at = page[0].index + 1
        member, payload = page[0].member, transaction_of(page[0]).payload
        if page[0].code != 0 or member not in wanted or not isinstance(payload, Countersign):
            continue
        if (payload.study, payload.round, payload.attempt) == (study, ended.round, ended.attempt):
            found[member] = payload.metrics
    return found


def _first_after(site: Site, height: int) -> int:
    """Index of the first leaf of a block above `height`, by halving: leaves say their height."""
    low, high = 0, site.ledger.recent()[0]
    while low < high:
        middle = (low + high) // 2
        if _height(site.ledger.leaf(middle)) <= height:
            low = middle + 1
        else:
            high = middle
    return low


def _height(leaf: bytes | None) -> int:
    """Of an outcome leaf [1, digest, height, ...] or a block leaf [2, height, ...]; 0 for one that is not here."""
    match None if leaf is None else decode(leaf):
        case [1, bytes(), int(height), *_]:
            return height
        case [2, int(height), *_]:
            return height
    return 0
