"""The lineage beside a model: what a stranger with a trust file can check offline, and what he catches."""

from dataclasses import replace

import pytest

from commonward.ledger.encoding import Digest
from commonward.records.findings import State
from commonward.records.lineage import Lineage, LineageUnreadable, judge_lineage
from commonward.records.trust import Trust, TrustFile, load_trust
from tests.consortium import Consortium
from tests.ledgerkit import sign_genesis
from tests.workflows.training.study_world import FIRST, Study


async def lineage_of(world: Study) -> Lineage:
    await world.works(world.over)
    await world.works(lambda: world.trainings["clinic"].sidecar(world.id) is not None)
    return Lineage.parse(world.trainings["clinic"].sidecar(world.id) or b"")


def trust_of(c: Consortium) -> Trust:
    return load_trust(TrustFile(sign_genesis(c.engine.genesis).to_bytes()).to_bytes())


def rules(judgement: object) -> dict[str, State]:
    return {each.rule: each.state for each in judgement.findings}  # type: ignore[attr-defined]


async def test_a_models_lineage_convinces_a_stranger_and_names_who_signed() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        lineage = await lineage_of(world)
        model = await world.trainings["clinic"].model(world.id)
        judged = judge_lineage(lineage, trust_of(c), model)
        assert judged.convinces and judged.complete and judged.study == world.id, judged.findings
        assert len(judged.signers) >= 3 and set(judged.signers) <= {"clinic", "health", "north", "south"}
        assert set(rules(judged).values()) == {State.PASSED}
        assert Lineage.parse(lineage.to_bytes()) == lineage
        world.close()


async def test_a_changed_model_round_manifest_or_signature_is_caught_offline() -> None:
    async with Consortium() as c:
        world = await Study.begun(c, rounds=2)
        lineage, trust = await lineage_of(world), trust_of(c)
        model = await world.trainings["clinic"].model(world.id)
        assert model is not None

        def state(of: Lineage, rule: str) -> State:
            judged = judge_lineage(of, trust, model)
            assert not judged.convinces
            return rules(judged)[rule]

        first, second = lineage.rounds
        other = Digest(bytes(32))
        assert rules(judge_lineage(lineage, trust, FIRST))["model"] is State.FAILED
        assert state(replace(lineage, rounds=(second,)), "chain") is State.FAILED
        assert state(replace(lineage, rounds=(replace(first, model=other), second)), "chain") is State.FAILED
        forged = replace(first, updates=first.updates[:3])
        assert state(replace(lineage, rounds=(forged, second)), "countersigned") is State.FAILED
        terms = replace(lineage.terms, learner=other)
        assert state(replace(lineage, terms=terms), "countersigned") is State.FAILED
        few = lineage.countersignatures[:2]
        assert state(replace(lineage, countersignatures=few), "countersigned") is State.FAILED
        twice = lineage.countersignatures[:1] * 3
        assert state(replace(lineage, countersignatures=twice), "countersigned") is State.FAILED
        site, manifest = lineage.manifests[0]
        swapped = ((site, replace(manifest, train=other)), *lineage.manifests[1:])
        assert state(replace(lineage, manifests=swapped), "manifests") is State.FAILED
        assert state(replace(lineage, rounds=()), "chain") is State.FAILED
        world.close()


def test_bytes_that_are_no_lineage_are_refused_with_what_was_expected() -> None:
    for data in (b"", b"\x80", b"not ours", b"\x81\x01"):
        with pytest.raises(LineageUnreadable, match="expected"):
            Lineage.parse(data)
