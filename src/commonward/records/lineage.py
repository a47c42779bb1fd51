"""The lineage of a model: how it came to be, from the proposal of its study on, in one file beside it.

    encode(["commonward lineage v1", proposer, terms, [round ...], [[site, manifest] ...], [evidence ...]])
    round = [round, attempt, base, [voter ...], [[site, update, manifest digest] ...], [excluded ...], state, model]

It names no patient and holds no update: commitments to them, as the ledger has them. Whoever has the file, the model
and a trust file recomputes the chain over all rounds (`ledger.rounds.chain`) and finds its last link in the
countersignatures of more than two thirds of the sites, each an evidence file of its own (`records.evidence`): accepted
by the ledger, under a checkpoint that the members cosigned. The ledger holds a countersignature to the round's voters,
updates and manifests; so what the chain says of them is what stood there. That the aggregation was right, two thirds of
the sites vouch for; who holds the sealed updates can compute it again (`workflows.training.replaying`), and this file
alone cannot show it.
"""

from dataclasses import dataclass
from typing import Final

from commonward.ledger.encoding import Digest, Encodable, Value, decode, encode
from commonward.ledger.ids import MemberId, StudyId, parse_member_id
from commonward.ledger.rounds import (
    Countersign,
    Link,
    Manifest,
    ProposeStudy,
    first_link,
    link,
    manifest_digest,
    quorum,
)
from commonward.records.evidence import Evidence, EvidenceUnreadable
from commonward.records.findings import Finding, State
from commonward.records.judging import judge
from commonward.records.model import Model
from commonward.records.trust import Trust

__all__ = ["Lineage", "LineageJudgement", "LineageRound", "LineageUnreadable", "judge_lineage"]

LABEL: Final = "commonward lineage v1"
MAX_BYTES: Final = 64 << 20

_CONVINCING: Final = frozenset({"ledger", "checkpoint", "cosigners", "logged", "accepted", "signature", "author"})
"""Of an evidence file, what must have passed: its openings are nobody's but the site's."""


class LineageUnreadable(ValueError):
    """Not a lineage file. Says what was expected, and what came."""


@dataclass(frozen=True, slots=True)
class LineageRound:
    """One final round. Digests are of 32 bytes; `updates`: (site, commitment, manifest digest), by site."""

    round: int
    attempt: int
    base: Digest
    voters: tuple[MemberId, ...]
    updates: tuple[tuple[MemberId, Digest, Digest], ...]
    exclusions: tuple[MemberId, ...]
    state: Digest
    model: Digest

    def to_value(self) -> list[Encodable]:
        updates: list[Encodable] = [list(each) for each in self.updates]
        return [
            self.round, self.attempt, self.base, list(self.voters), updates, list(self.exclusions), self.state,
            self.model,
        ]  # fmt: skip

    @classmethod
    def from_value(cls, value: Value) -> "LineageRound":
        match value:
            case [
                int(number),
                int(attempt),
                bytes(base),
                list(voters),
                list(updates),
                list(out),
                bytes(state),
                bytes(model),
            ]:
                made = []
                for each in updates:
                    match each:
                        case [str(site), bytes(update), bytes(manifest)]:
                            made.append((parse_member_id(site), _digest(update), _digest(manifest)))
                        case _:
                            raise LineageUnreadable("expected updates as [site, commitment, manifest digest]")
                return cls(
                    number, attempt, _digest(base), tuple(map(parse_member_id, voters)), tuple(made),
                    tuple(map(parse_member_id, out)), _digest(state), _digest(model),
                )  # fmt: skip
        raise LineageUnreadable("expected a round [round, attempt, base, voters, updates, exclusions, state, model]")


@dataclass(frozen=True, slots=True)
class Lineage:
    """A lineage file, read and not believed.

    Attributes:
        proposer, terms: of the study.
        rounds: final ones, from the first on.
        manifests: payloads of the sites' manifests that were at hand where the file was made.
        countersignatures: evidence files of Countersign transactions over the last round.
    """

    proposer: MemberId
    terms: ProposeStudy
    rounds: tuple[LineageRound, ...]
    manifests: tuple[tuple[MemberId, Manifest], ...]
    countersignatures: tuple[bytes, ...]

    @property
    def chain(self) -> tuple[Digest, ...]:
        """The links, recomputed: that before round 1, and each round's."""
        links = [first_link(self.proposer, self.terms)]
        for each in self.rounds:
            of = Link(
                self.terms.study, each.round, each.attempt, each.base, each.voters, each.updates, each.exclusions,
                each.state, each.model,
            )  # fmt: skip
            links.append(link(links[-1], of))
        return tuple(links)

    def to_bytes(self) -> bytes:
        rounds: list[Encodable] = [each.to_value() for each in self.rounds]
        manifests: list[Encodable] = [[site, manifest.to_bytes()] for site, manifest in self.manifests]
        return encode([LABEL, self.proposer, self.terms.to_bytes(), rounds, manifests, list(self.countersignatures)])

    @classmethod
    def parse(cls, data: bytes) -> "Lineage":
        """Raises LineageUnreadable."""
        if len(data) > MAX_BYTES:
            raise LineageUnreadable(f"expected a lineage of at most {MAX_BYTES} bytes, got {len(data)}")
        try:
            match decode(data):
                case [str(label), str(proposer), bytes(terms), list(rounds), list(manifests), list(signed)] if (
                    label == LABEL
                ):
                    return cls(
                        parse_member_id(proposer), ProposeStudy.parse(terms),
                        tuple(map(LineageRound.from_value, rounds)), tuple(map(_manifest, manifests)),
                        tuple(map(_bytes, signed)),
                    )  # fmt: skip
        except LineageUnreadable:
            raise
        except ValueError as cause:
            raise LineageUnreadable(f"expected a lineage file ({cause})") from cause
        raise LineageUnreadable(f"expected [{LABEL!r}, proposer, terms, rounds, manifests, countersignatures]")


def _digest(value: bytes) -> Digest:
    if len(value) != 32:
        raise LineageUnreadable(f"expected a digest of 32 bytes, got {len(value)}")
    return Digest(value)


def _bytes(value: Value) -> bytes:
    if type(value) is not bytes:
        raise LineageUnreadable("expected evidence files as bytes")
    return value


def _manifest(value: Value) -> tuple[MemberId, Manifest]:
    match value:
        case [str(site), bytes(payload)]:
            return parse_member_id(site), Manifest.parse(payload)
    raise LineageUnreadable("expected manifests as [site, payload]")


# ------------------------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True, slots=True)
class LineageJudgement:
    """What the steps found, in order.

    Attributes:
        findings: rules `chain`, `manifests`, `countersigned`, `model`.
        study: its id. `complete`: all rounds that were proposed are final.
        signers: sites whose countersignature over the last round convinces.
        pilot: the ledger calls itself a pilot.
    """

    findings: tuple[Finding, ...]
    study: StudyId
    complete: bool
    signers: tuple[MemberId, ...]
    pilot: bool

    @property
    def convinces(self) -> bool:
        """The chain holds, two thirds signed its end, and the model is the one at its end; and nothing failed."""
        passed = {each.rule for each in self.findings if each.state is State.PASSED}
        failed = any(each.state is State.FAILED for each in self.findings)
        return not failed and passed >= {"chain", "countersigned", "model"}


def judge_lineage(lineage: Lineage, trust: Trust, model: Model | None) -> LineageJudgement:
    """Walks the numbered steps.

    Args:
        model: what the lineage is said to be of; None: not checked.
    """
    chain = _judge_chain(lineage)  # 1. each round starts where the one before ended, the first as proposed
    manifests = _judge_manifests(lineage)  # 2. the manifests at hand are those that the chain names
    signed, signers, pilot = _judge_signatures(lineage, trust)  # 3. more than two thirds signed the end of the chain
    found = _judge_model(lineage, model)  # 4. and the model is what they signed
    complete = len(lineage.rounds) == lineage.terms.rounds
    return LineageJudgement((chain, manifests, signed, found), lineage.terms.study, complete, signers, pilot)


def _find(rule: str, good: bool | None, **facts: str | int | bytes | tuple[str, ...]) -> Finding:
    state = State.NOT_CHECKED if good is None else State.PASSED if good else State.FAILED
    return Finding(rule, state, facts)


def _judge_chain(lineage: Lineage) -> Finding:
    base, why = lineage.terms.model, ""
    for at, each in enumerate(lineage.rounds, start=1):
        if each.round != at:
            why = f"expected round {at}, got round {each.round}"
        elif each.base != base:
            why = f"round {at} starts from the model {each.base.hex()}, round {at - 1} ended with {base.hex()}"
        base = each.model
        if why:
            break
    if not lineage.rounds:
        why = "no round is final"
    last = lineage.chain[-1]
    return _find("chain", not why, why=why, rounds=len(lineage.rounds), link=last, study=lineage.terms.study)


def _judge_manifests(lineage: Lineage) -> Finding:
    named = {(site, manifest) for each in lineage.rounds for site, _, manifest in each.updates}
    shown = {(site, manifest_digest(site, manifest)) for site, manifest in lineage.manifests}
    strange = sorted({str(site) for site, _ in shown - named})
    strange += sorted({str(site) for site, manifest in lineage.manifests if manifest.study != lineage.terms.study})
    missing = tuple(sorted({str(site) for site, _ in named - shown}))
    if strange:
        return _find("manifests", False, why=f"not named by any round: {', '.join(strange)}", missing=missing)
    return _find("manifests", None if missing else True, shown=len(shown), missing=missing)


def _judge_signatures(lineage: Lineage, trust: Trust) -> tuple[Finding, tuple[MemberId, ...], bool]:
    if not lineage.rounds:
        return _find("countersigned", False, why="no round is final"), (), trust.genesis.pilot
    last, link_ = lineage.rounds[-1], lineage.chain[-1]
    signers: set[MemberId] = set()
    whys: list[str] = []
    pilot = trust.genesis.pilot
    for data in lineage.countersignatures:
        why, member, told_pilot = _signer(data, trust, last, link_, lineage.terms.study)
        pilot = pilot or told_pilot
        if member is None:
            whys.append(why)
        else:
            signers.add(member)
    wanted = quorum(len(last.voters))
    good = len(signers) >= wanted and not whys
    if not whys and not good:
        whys.append(f"expected {wanted} of {len(last.voters)} sites, got {len(signers)}")
    found = _find(
        "countersigned", good, why="; ".join(whys), signers=tuple(sorted(signers)), wanted=wanted,
        voters=tuple(last.voters),
    )  # fmt: skip
    return found, tuple(sorted(signers)), pilot


def _signer(
    data: bytes, trust: Trust, last: LineageRound, link_: Digest, study: StudyId
) -> tuple[str, MemberId | None, bool]:
    """(why not, or "", the site that signed, whether its ledger is a pilot)."""
    try:
        evidence = Evidence.parse(data)
    except EvidenceUnreadable as cause:
        return str(cause), None, False
    payload = evidence.transaction.payload
    if not isinstance(payload, Countersign):
        return f"expected evidence of a countersignature, got a {type(payload).__name__}", None, False
    judgement = judge(evidence, trust)
    passed = {each.rule for each in judgement.findings if each.state is State.PASSED}
    failed = [each.rule for each in judgement.findings if each.state is State.FAILED]
    if failed or not passed >= _CONVINCING or judgement.member is None:
        lacking = failed or sorted(_CONVINCING - passed)
        return f"a countersignature does not convince: {', '.join(lacking)}", None, judgement.pilot
    if (payload.study, payload.round, payload.attempt) != (study, last.round, last.attempt):
        return f"{judgement.member} signed round {payload.round}, attempt {payload.attempt}", None, judgement.pilot
    if payload.chain != link_ or (payload.model, payload.state) != (last.model, last.state):
        return f"{judgement.member} signed another chain or model", None, judgement.pilot
    if judgement.member not in last.voters:
        return f"{judgement.member} had no vote in the last round", None, judgement.pilot
    return "", judgement.member, judgement.pilot


def _judge_model(lineage: Lineage, model: Model | None) -> Finding:
    if model is None or not lineage.rounds:
        return _find("model", None)
    wanted, got = lineage.rounds[-1].model, model.digest
    return _find("model", wanted == got, expected=wanted, digest=got)
