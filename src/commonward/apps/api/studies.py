"""Studies at one member: proposing, voting, the page before enrolment, forms of patients, joining and leaving."""

from __future__ import annotations

import asyncio
import base64
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from commonward.apps.api.evidence import trust_of
from commonward.apps.api.status import node_of
from commonward.apps.api.study_statistics import tables_told
from commonward.apps.api.words import BadWord, to_bytes
from commonward.apps.studies.file import read
from commonward.apps.studies.hosting import columns_of
from commonward.apps.studies.look import look
from commonward.apps.studies.look_pictures import pictures_of
from commonward.apps.studies.outcome import contributions_told, per_site_told
from commonward.apps.studies.telling import local_told, shares, told, told_briefly
from commonward.apps.wiring import Node
from commonward.ledger.ids import StudyId, parse_study_id
from commonward.ledger.rounds import Rule
from commonward.records.model import EMPTY_MODEL, Model
from commonward.records.model_file import write_model
from commonward.workflows.study_papers import StudyPapers
from commonward.workflows.studying import Proposal
from commonward.workflows.training.distinct import Distinct
from commonward.workflows.training.ports import LearnerError

router = APIRouter()


class NoResult(LookupError):
    """There is no model with its lineage yet, or not here; the sentence says how it stands."""


_AT_ONCE = 32
"""Forms that are on their way to the ledger together."""


class Proposed(BaseModel):
    """`study`: the study file's text, called `name`. `cohort`: base64 of the JSON that it names."""

    study: str = Field(max_length=200_000)
    name: str = Field(default="study", max_length=300)
    cohort: str = Field(max_length=6_000_000)


class Vote(BaseModel):
    choice: bool
    waiver: bool = False
    opinion: str = Field(max_length=4000)
    staff: str


class Enrolment(BaseModel):
    """`seen`: digest of the page that the officer had before them, as `/studies/{study}/look` gave it."""

    words: str = Field(max_length=2000)
    staff: str
    seen: str = Field(min_length=64, max_length=64)


class Named(BaseModel):
    """A patient as a source system calls them."""

    system: str = Field(max_length=200)
    patient: str = Field(max_length=200)


class Forms(BaseModel):
    """Forms that patients signed before two people of this member."""

    patients: list[Named] = Field(max_length=10_000)
    text: str = Field(max_length=20_000)
    staff: list[str] = Field(min_length=2, max_length=2)
    days: int = Field(default=365, ge=1, le=3660)


class Withdrawn(Named):
    reason: str = Field(default="", max_length=500)


class Words(BaseModel):
    words: str = Field(default="", max_length=4000)


class Claim(Words):
    round: int = Field(ge=1)


@router.get("/learners")
async def learners(request: Request) -> list[dict[str, Any]]:
    """What is installed here, with the digests that people approve."""
    return [
        {"name": each.name, "digest": each.digest.hex(), "about": each.about, "columns": list(each.columns),
         "settings": dict(each.settings)}
        for each in node_of(request).learners.known()
    ]  # fmt: skip


@router.get("/studies")
async def studies(request: Request) -> list[dict[str, Any]]:
    """Every study that is not over, and those that are whose papers are here."""
    node = node_of(request)
    return [told_briefly(node.office, each) for each in node.office.studying.known()]


@router.get("/studies/{study}")
async def study(request: Request, study: str) -> dict[str, Any]:
    """One study, whole: terms, papers, sites, the rounds so far. The papers are fetched where they are not here."""
    node, wanted = node_of(request), _study(study)
    papers = await node.office.studying.papers(wanted)
    found = told(node.office, wanted, papers)
    with suppress(LearnerError):
        described = node.learners.describe(papers.protocol.learner)
        if described.digest == node.office.studying.study(wanted).terms.learner:
            said = {"about": described.about, "columns": list(described.columns), "classes": list(described.classes)}
            found["learner"] |= said
    progress = node.training.progress(wanted)
    local = {} if progress is None else local_told(progress)
    local["consents"] = node.office.research.count(wanted).open
    local |= await _came_out(node, wanted)
    local |= await tables_told(node, wanted, papers)
    return {**found, "member": node.member.id, "now": node.member.now(), "local": local}


async def _came_out(node: Node, wanted: StudyId) -> dict[str, Any]:
    """Contributions, each site's results, and whether what the proposer committed to is what this site made."""
    outcome, contributions, per_site = await node.training.outcome(wanted), shares(node.office, wanted), {}
    if outcome is not None:
        report, measured = outcome
        per_site = per_site_told(report)
        contributions = contributions if measured is None else contributions_told(measured)
    committed = await node.training.committed(wanted)
    return {
        "contributions": contributions,
        "per_site": per_site,
        "committed": {"report": committed.report, "contributions": committed.contributions, "why": committed.why},
    }


@router.post("/studies")
async def propose(request: Request, body: Proposed) -> dict[str, Any]:
    """Put a study to the ethics roles. The learner's digest and the first model are taken from what is installed."""
    node = node_of(request)
    wanted = read(body.study, body.name)
    cohort = _cohort(body.cohort)
    described = node.learners.describe(wanted.protocol.learner)
    try:
        given = columns_of(cohort)
    except ValueError as cause:
        raise BadWord(f"cohort {wanted.cohort}: {cause}") from cause
    wanted.check(given, {each for each in wanted.viewers if node.member.reading.kind_of(each) is not None})
    lacking = sorted(set(described.columns) - set(given))
    if lacking:
        raise BadWord(f"the learner {described.name} reads {', '.join(lacking)}; the cohort's views do not give that")
    unknown = sorted(set(wanted.protocol.learner_settings) - set(described.settings))
    if unknown:
        known = ", ".join(sorted(described.settings)) or "none"
        raise BadWord(f"learner.settings.{unknown[0]}: the learner {described.name} knows no such setting, but {known}")
    first = await _first_model(node, wanted.rule, described.name, described.digest, wanted.protocol.learner_settings)
    terms = wanted.terms(described.digest, first.digest, node.member.ledger_now())
    proposal = Proposal(wanted.protocol, cohort, wanted.viewers, terms)
    made, landed = await node.office.studying.propose(proposal)
    return {"study": made.hex(), "title": wanted.protocol.title, "index": landed.index, "at": landed.time,
            "learner": described.digest.hex(), "model": first.digest.hex()}  # fmt: skip


async def _first_model(node: Node, rule: Rule, name: str, approved: Any, settings: Any) -> Model:
    """Under SUM there is none; else the learner says it, in its own process."""
    if rule is Rule.SUM:
        return EMPTY_MODEL

    def asked() -> Model:
        learner = node.learners(name, approved)
        try:
            return learner.first_model(settings)
        finally:
            learner.close()

    return await asyncio.to_thread(asked)


@router.post("/studies/{study}/vote")
async def vote(request: Request, study: str, body: Vote) -> dict[str, Any]:
    """This member's vote, by its ethics officer."""
    node, wanted = node_of(request), _study(study)
    landed = await node.office.studying.vote(
        wanted, body.choice, body.waiver, body.opinion, node.staff(body.staff)
    )  # fmt: skip
    stands = node.office.studying.study(wanted)
    return {"study": study, "choice": body.choice, "index": landed.index, "at": landed.time,
            "status": stands.status.name.lower()}  # fmt: skip


@router.get("/studies/{study}/look")
async def look_at(request: Request, study: str) -> dict[str, Any]:
    """The page before enrolment: this site's own rows, and what is odd about them."""
    node, wanted = node_of(request), _study(study)
    papers = await node.office.studying.papers(wanted)
    return await _looked(node, wanted, papers)


async def _looked(node: Node, wanted: StudyId, papers: StudyPapers) -> dict[str, Any]:
    rows = await node.cohorts.rows(wanted, papers)
    protocol = papers.protocol
    try:
        described = node.learners.describe(protocol.learner)
        columns, installed = described.columns, described.digest.hex()
    except LearnerError as why:
        columns, installed = (), str(why)
    distinct = Distinct(node.member)
    looked = {each.name: known.who for each in rows.copies if (known := distinct.known(each))}
    pictures = await asyncio.to_thread(pictures_of, rows, looked)
    page = look(
        rows.table, node.office.research.count(wanted).open, columns, protocol.label, protocol.label_share,
        protocol.class_shares, pictures,
    )  # fmt: skip
    return {
        "study": wanted.hex(), "title": protocol.title, "about": protocol.about, "learner": protocol.learner,
        "installed": installed, "synthetic": bool(protocol.synthetic), "member": node.member.id,
        "now": node.member.now(), **page,
    }  # fmt: skip


@router.post("/studies/{study}/enrol")
async def enrol(request: Request, study: str, body: Enrolment) -> dict[str, Any]:
    """This site takes part, with the learner that is installed here and has the study's digest."""
    node, wanted = node_of(request), _study(study)
    papers = await node.office.studying.papers(wanted)
    described = node.learners.describe(papers.protocol.learner)
    terms = node.office.studying.study(wanted).terms
    if described.digest != terms.learner:
        raise BadWord(
            f"the learner {described.name} installed here has the digest {described.digest.hex()}, the study's has "
            f"{terms.learner.hex()}: install what the study names, read it, and try again"
        )
    landed = await node.office.studying.enrol(
        wanted, described.name, described.digest, body.words, to_bytes(body.seen, "a page's digest"),
        node.staff(body.staff),
    )  # fmt: skip
    return {"study": study, "index": landed.index, "at": landed.time, "learner": described.digest.hex()}


@router.post("/studies/{study}/forms")
async def forms(request: Request, study: str, body: Forms) -> dict[str, Any]:
    """Bring patients' forms onto the ledger; a form brought again is the same consent."""
    node, wanted = node_of(request), _study(study)
    node.office.studying.study(wanted)
    witnesses = tuple(node.staff(each) for each in body.staff)
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(each: Named) -> str:
        async with gate:
            local = node.member.identity.patient(each.system, each.patient)
            taken = await node.office.research.take(wanted, local, body.text, witnesses, days=body.days)
            return taken.opening.consent.hex()

    taken = await asyncio.gather(*(one(each) for each in body.patients))
    return {"study": study, "consents": taken, "open": node.office.research.count(wanted).open}


@router.post("/studies/{study}/withdraw")
async def withdraw(request: Request, study: str, body: Withdrawn) -> dict[str, Any]:
    """A patient takes a consent on paper back. Says which models it had touched by then."""
    node, wanted = node_of(request), _study(study)
    node.office.studying.study(wanted)
    local = node.member.identity.patient(body.system, body.patient)
    form = await node.office.research.withdraw(wanted, local, body.reason)
    touched = node.training.touched(wanted, consent=form.opening.consent)
    return {"study": study, "consent": form.opening.consent.hex(), "open": node.office.research.count(wanted).open,
            "touched": [{"round": number, "model": model.hex()} for number, model in touched]}  # fmt: skip


@router.get("/studies/{study}/result")
async def result(request: Request, study: str) -> dict[str, Any]:
    """The last final model, its lineage, and the trust file to judge both by: base64 each."""
    node, wanted = node_of(request), _study(study)
    stands = node.office.studying.study(wanted)
    model, lineage = await node.training.model(wanted), node.training.sidecar(wanted)
    if model is None or lineage is None:
        raise NoResult(
            f"study {study[:12]} is {stands.status.name.lower()} at round {stands.round} of {stands.terms.rounds}: "
            "a model has its lineage once the last round is final and cosigned, at the sites and the proposer"
        )
    committed = await node.training.committed(wanted)
    return {"study": study, "title": _title(node, wanted), "committed": committed._asdict(),
            "model": _base64(write_model(model)),
            "lineage": _base64(lineage), "trust": _base64(trust_of(node)),
            "digest": model.digest.hex()}  # fmt: skip


@router.post("/studies/{study}/replay")
async def replay(request: Request, study: str) -> list[dict[str, Any]]:
    """Every final round computed again from the sealed updates that are still kept."""
    found = await node_of(request).training.replay(_study(study))
    return [{"round": each.round, "same": each.same, "why": each.why} for each in found]


def _title(node: Node, wanted: StudyId) -> str:
    papers = node.office.studying.held(wanted)
    return "" if papers is None else papers.protocol.title


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@router.post("/studies/{study}/leave")
async def leave(request: Request, study: str, body: Words) -> dict[str, Any]:
    """This site takes part no more, from the end of the attempt that is open."""
    landed = await node_of(request).office.studying.leave(_study(study), body.words)
    return {"study": study, "index": landed.index, "at": landed.time}


@router.post("/studies/{study}/close")
async def close(request: Request, study: str, body: Words) -> dict[str, Any]:
    """As its proposer: end a study, or take a proposal back."""
    landed = await node_of(request).training.ends(_study(study), body.words)
    return {"study": study, "index": landed.index, "at": landed.time}


@router.post("/studies/{study}/dispute")
async def dispute(request: Request, study: str, body: Claim) -> dict[str, Any]:
    """As a site of it: hold that a final round is false."""
    landed = await node_of(request).office.studying.dispute(_study(study), body.round, body.words)
    return {"study": study, "round": body.round, "index": landed.index, "at": landed.time}


def _study(text: str) -> StudyId:
    try:
        return parse_study_id(to_bytes(text, "a study's id"))
    except ValueError as cause:
        raise BadWord(str(cause)) from cause


def _cohort(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as cause:
        raise BadWord(f"expected the cohort in base64: {cause}") from cause
