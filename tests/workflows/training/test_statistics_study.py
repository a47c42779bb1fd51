"""A study that counts: the sites hold the exact sum, everybody else gets tables from which no small cell comes out."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from commonward.ledger.ids import MemberId
from commonward.ledger.rounds import Mode, Rule
from commonward.records.model import DType, Model, Tensor
from commonward.records.privacy import charge
from commonward.records.released import released
from commonward.records.rule_parameters import Parameters
from commonward.records.statistics import Numeric, Statistics, described, parts
from commonward.records.table import Column, Table, Type
from commonward.records.updates import Kind, sum_tensors
from commonward.workflows.study_papers import Noise, WrongPapers, settings_bytes
from commonward.workflows.training.loop import Training
from commonward.workflows.training.papers import MODEL, Asked, Given
from commonward.workflows.training.ports import Setting, Task, Trained
from commonward.workflows.training.releases import RELEASE
from commonward.workflows.training.site import NotServed
from tests.consortium import Consortium
from tests.workflows.training.study_world import SITES, Holding, Line, Study, points

EDGES = tuple(Decimal(each) for each in ("-2", "-0.5", "0", "0.5", "2"))
COUNTED = Statistics((Numeric("x", EDGES), Numeric("y", (Decimal(-3), Decimal(0), Decimal(5)))))


@dataclass
class Counts(Line):
    """`ports.Learner`: counts what the study declares."""

    table: Table = field(default_factory=lambda: Table((Column("x", Type.DECIMAL),), ()))

    def load(self, train: Table, test: Table) -> None:
        self.table = train

    def train(self, base: Model, task: Task) -> Trained:
        wanted = described(task.settings["statistics"])
        return Trained(Kind.SUM, 1, sum_tensors(parts(wanted, self.table)))


async def counted(c: Consortium, sites: tuple[str, ...] = SITES) -> Study:
    """Begun, with learners that count."""
    world = await Study.begun(
        c, sites=sites, mode=Mode.MASKED, rule=Rule.SUM, rounds=1, test_share=0,
        parameters=Parameters(sums=COUNTED.shapes), settings={"statistics": COUNTED.to_text()},
    )  # fmt: skip
    world.learners.update({each: Counts() for each in sites})
    return world


def viewer(c: Consortium, name: str = "shield") -> Training:
    """The insurer, which may view what comes out and is no site; or another."""
    house = c.houses[name]
    return Training(house.office, Holding(house, {}), lambda learner, approved: Line())


def pooled() -> Model:
    every = Table(
        (Column("x", Type.DECIMAL), Column("y", Type.DECIMAL)), tuple(p for site in SITES for p in points(site))
    )
    each = [parts(COUNTED, every.take(range(10 * at, 10 * at + 10))) for at in range(len(SITES))]
    return Model.of(Tensor.of(name, DType.I64, np.sum([one[name] for one in each], axis=0)) for name in each[0])


async def test_sites_add_up_exactly_and_a_viewer_gets_tables_and_never_the_sum() -> None:
    async with Consortium() as c:
        world, insurer = await counted(c), viewer(c)
        await world.works(world.over)
        assert await world.trainings["north"].model(world.id) == pooled(), "at the sites: to the last bit"
        await c.houses["shield"].office.studying.papers(world.id)
        own = await world.trainings["north"].releases.shown(world.id)
        assert own is not None and (own.said, own.of) == (0, 0)
        assert own.tables == json.loads(json.dumps(released(COUNTED, pooled(), len(SITES))))
        seen = await insurer.releases.shown(world.id)
        assert seen is not None and seen.tables == own.tables and (seen.said, seen.of) == (4, 4)
        assert await insurer.model(world.id) is None
        wanted = Asked(world.id, name=world.standing.model, site=(world.standing.state or b"").hex())
        for site in SITES:
            with pytest.raises(NotServed, match="not for shield"):
                await world.trainings[site].handlers[MODEL](MemberId("shield"), wanted.to_bytes())
            given = await world.trainings[site].handlers[MODEL](MemberId("north"), wanted.to_bytes())
            assert Given.parse(given).parts, "the sites have it from each other"
        insurer.close()


async def test_a_proposer_that_is_no_site_closes_the_study_and_has_the_tables_alone() -> None:
    sites = ("clinic", "health", "south")
    async with Consortium() as c:
        world = await counted(c, sites)
        world.holdings["north"] = Holding(c.houses["north"], {})
        world.learners["north"] = Counts()
        proposer = world.wakes("north")
        await world.works(world.over)
        seen, own = await proposer.releases.shown(world.id), await world.trainings["south"].releases.shown(world.id)
        assert seen is not None and own is not None and seen.tables == own.tables and (seen.said, seen.of) == (3, 3)
        assert await proposer.model(world.id) is None


async def test_one_site_that_tells_a_viewer_other_tables_is_outvoted_and_half_of_them_are_not_believed() -> None:
    async with Consortium() as c:
        world, insurer = await counted(c), viewer(c)
        await world.works(world.over)
        await c.houses["shield"].office.studying.papers(world.id)
        true = await world.trainings["north"].releases.shown(world.id)
        assert true is not None

        async def lies(asker: MemberId, body: bytes) -> bytes:
            return Given.piece(b'{"rows": 1000000}', 0).to_bytes()

        c.houses["south"].office.desk.handlers[RELEASE] = lies
        seen = await insurer.releases.shown(world.id)
        assert seen is not None and seen.tables == true.tables and (seen.said, seen.of) == (3, 4)
        c.houses["north"].office.desk.handlers[RELEASE] = lies
        later = viewer(c)
        assert await later.releases.shown(world.id) is None, "two say this, two say that"
        world.leaves_alone("clinic")
        assert await later.releases.shown(world.id) is None
        assert await insurer.releases.shown(world.id) == seen, "it keeps what it was told"
        insurer.close()
        later.close()


async def test_tables_are_for_those_whom_the_study_names() -> None:
    async with Consortium() as c:
        world = await counted(c)
        await world.works(world.over)
        with pytest.raises(NotServed, match="not for stranger"):
            await world.trainings["north"].handlers[RELEASE](MemberId("stranger"), Asked(world.id).to_bytes())


async def test_a_proposer_cannot_have_statistics_summed_twice_or_noise_spread_thinner_than_it_is_charged() -> None:
    async with Consortium() as c:
        world = await counted(c)
        papers, terms = await c.south.office.studying.papers(world.id), world.standing.terms
        papers.check(terms)

        def bent(change: Mapping[str, Any], **protocol: Any) -> None:
            made = replace(papers, protocol=replace(papers.protocol, **protocol))
            made.check(replace(terms, protocol=made.commitments[0], **change))

        with pytest.raises(WrongPapers, match="one round of the rule SUM"):
            bent({"rounds": 2})
        with pytest.raises(WrongPapers, match="over every row"):
            bent({}, test_share=500)
        with pytest.raises(WrongPapers, match="or other sums"):
            bent({}, parameters=Parameters(sums={**COUNTED.shapes, "secret": (1,)}).to_bytes())
        with pytest.raises(WrongPapers, match="threshold"):
            bent(
                {}, settings=settings_bytes({"statistics": COUNTED.to_text().replace('"threshold":5', '"threshold":1')})
            )
        noise = Noise(2_000_000, 1_000_000_000, 1)
        told: dict[str, Setting] = {"statistics": COUNTED.to_text(), "noise": 2_000_000, "steps": 1}
        charged = {"charge": charge(2_000_000, 1_000_000_000, 1), "delta": 5}
        with pytest.raises(WrongPapers, match="noise on counts alone"):
            bent(charged, settings=settings_bytes(told), noise=noise)
        counts = Statistics(COUNTED.columns, sums=False)
        told = {**told, "statistics": counts.to_text()}
        sums = Parameters(sums=counts.shapes).to_bytes()
        bent(charged, settings=settings_bytes(told), noise=noise, parameters=sums)
        with pytest.raises(WrongPapers, match="2 rows a patient"):
            bent({**charged, "row_cap": 2}, settings=settings_bytes(told), noise=noise, parameters=sums)


async def test_false_sums_are_told_as_such_and_not_as_tables() -> None:
    async with Consortium() as c:
        world = await counted(c)

        class Miscounts(Counts):
            def train(self, base: Model, task: Task) -> Trained:
                true = super().train(base, task)
                sums = {each.name: each.integers.copy() for each in true.tensors}
                sums["cells/x"][0] += 1000
                return Trained(Kind.SUM, 1, sum_tensors(sums))

        world.learners["south"] = Miscounts()
        await world.works(world.over)
        seen = await world.trainings["north"].releases.shown(world.id)
        assert seen is not None and "add up to the rows" in seen.tables["refused"]


async def test_noise_on_counts_is_charged_to_every_site_and_shown_with_the_counts() -> None:
    async with Consortium() as c:
        noisy = Statistics(COUNTED.columns, sums=False)
        world = await Study.begun(
            c, mode=Mode.MASKED, rule=Rule.SUM, rounds=1, test_share=0, parameters=Parameters(sums=noisy.shapes),
            settings={"statistics": noisy.to_text(), "noise": 2_000_000, "steps": 1},
            noise=Noise(2_000_000, 1_000_000_000, 1), charge=charge(2_000_000, 1_000_000_000, 1), delta=5,
        )  # fmt: skip

        class Noisy(Counts):
            def train(self, base: Model, task: Task) -> Trained:
                true = super().train(base, task)
                assert task.settings["noise"] == 2_000_000, "what is charged is what the learner is told"
                sums = {each.name: each.integers - 100 for each in true.tensors}  # as unlucky noise might
                return Trained(Kind.SUM, 1, sum_tensors(sums))

        world.learners.update({each: Noisy() for each in SITES})
        await world.works(world.over)
        seen = await world.trainings["north"].releases.shown(world.id)
        assert seen is not None and float(seen.tables["noise"]) == pytest.approx(2 * 3**0.5 * 2, rel=1e-3)
        assert seen.tables["rows"] == 0, "below none stands for none"
        rounds = c.north.office.studying.rounds
        assert all(rounds.spent(MemberId(site))[0] > 0 for site in SITES)
