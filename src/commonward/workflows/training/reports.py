"""What comes out of a study beside its model, as messages, and what several members say of it held together.

Counts of every judged round, each site's own where approved, and what the last model would be without each site.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from commonward.ledger.encoding import Digest
from commonward.ledger.ids import MemberId, StudyId
from commonward.workflows.wire import Message

__all__ = [
    "Contributions",
    "LeftOut",
    "Outcome",
    "Pieces",
    "Place",
    "Report",
    "RoundCounts",
    "SiteCounts",
    "filled",
    "parsed",
    "pieces_of",
    "rows_alone",
]


@dataclass(frozen=True, slots=True)
class RoundCounts(Message):
    """Counts (`papers.tensors_bytes`) of a round's model over all sites' test rows."""

    round: int
    model: Digest
    counts: bytes


@dataclass(frozen=True, slots=True)
class SiteCounts(Message):
    """Counts of the last model over one site's test rows."""

    site: MemberId
    counts: bytes


@dataclass(frozen=True, slots=True)
class Report(Message):
    """What `CloseStudy.report` commits to. `words`: of the proposer's people, where they closed it."""

    study: StudyId
    model: Digest
    chain: Digest
    rounds: tuple[RoundCounts, ...]
    per_site: tuple[SiteCounts, ...]
    words: str = ""


@dataclass(frozen=True, slots=True)
class LeftOut(Message):
    """One site's part. `rows`: n that it brought to the last round. `model`, `counts`: of the last model without it,
    over all sites' test rows; empty where that is not asked for, or not defined (`why`)."""

    site: MemberId
    rows: int
    model: bytes = b""
    counts: bytes = b""
    why: str = ""


@dataclass(frozen=True, slots=True)
class Contributions(Message):
    """What `CloseStudy.contributions` commits to. `whole`: counts of the last model itself."""

    study: StudyId
    whole: bytes
    sites: tuple[LeftOut, ...]


@dataclass(frozen=True, slots=True)
class Outcome(Message):
    """Both, with the salts of their commitments once the study is closed."""

    report: bytes
    contributions: bytes
    report_salt: bytes = b""
    contributions_salt: bytes = b""


Place = tuple[str, str | int]
Pieces = dict[Place, bytes]


def pieces_of(report: Report, contributions: Contributions | None) -> Pieces:
    """By place: what different members can hold against each other."""
    found: Pieces = {("round", each.round): each.to_bytes() for each in report.rounds}
    found.update({("per site", each.site): each.to_bytes() for each in report.per_site})
    for each in () if contributions is None else contributions.sites:
        found["left out", each.site] = each.to_bytes()
    return found


def rows_alone(kind: str, said: bytes) -> bool:
    """A contribution of which this site knows the rows alone."""
    if kind != "left out":
        return False
    found = LeftOut.parse(said)
    return not found.counts and not found.why


def parsed(outcome: Outcome) -> tuple[Report, Contributions | None]:
    """Raises MessageError."""
    contributions = Contributions.parse(outcome.contributions) if outcome.contributions else None
    return Report.parse(outcome.report), contributions


def filled(
    report: Report,
    contributions: Contributions | None,
    lacks: Mapping[Place, list[MemberId]],
    said: Mapping[MemberId, tuple[Report, Contributions | None]],
) -> tuple[Report, Contributions | None]:
    rounds = {each.round: each for each in report.rounds}
    for (kind, which), sites in lacks.items():
        there = [said[site] for site in sites if site in said]
        if kind == "round":
            alike = _alike(
                len(sites), (each.to_bytes() for one, _ in there for each in one.rounds if each.round == which)
            )
            if alike is not None:
                rounds[int(which)] = RoundCounts.parse(alike)
        elif kind == "per site":
            given = [{each.site: each.to_bytes() for each in one.per_site} for one, _ in there]
            shown = [_alike(len(sites), (one[site] for one in given if site in one)) for site in sites]
            report = replace(report, per_site=tuple(SiteCounts.parse(each) for each in shown if each is not None))
        else:
            alike = _alike(len(sites), (one.to_bytes() for _, one in there if one is not None))
            if alike is not None:
                contributions = Contributions.parse(alike)
    return replace(report, rounds=tuple(rounds[each] for each in sorted(rounds))), contributions


def _alike(sites: int, said: Iterable[bytes]) -> bytes | None:
    """What more than half of so many sites say."""
    counted = Counter(said).most_common(1)
    return counted[0][0] if counted and 2 * counted[0][1] > sites else None
