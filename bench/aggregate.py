"""How long it takes to make one model of a round's updates: 4.7 million parameters from five sites, by each rule.

From the updates' bytes as they were unsealed to the next model and its digest: parsing, bounds, base, rule, SHA-256.
The peer is numpy's own weighted mean of the same changes as float64, which checks nothing and differs between
processors. A masked round is measured for one site, and for a member that opens the sum of four after one dropped out.
Processor time of one thread, as nothing here waits.
"""

import time
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from statistics import median

import numpy as np

from bench.results import Result
from commonward.ledger.rounds.words import Rule
from commonward.records.aggregation import Expected, Parameters, aggregate_received, expected_shapes, finish
from commonward.records.envelope import public_of
from commonward.records.masking import Attempt, mask, reveal, unmask
from commonward.records.masking_keys import Secrets, deal, open_dealt
from commonward.records.model import Model
from commonward.records.updates import Kind, Update, delta_tensors

GOAL = 1.0
TENSORS, ELEMENTS = 150, 31_334  # 4.7 million, in as many tensors as EfficientNet-lite0 has
SITES = ("east", "mid", "north", "south", "west")
STUDY = b"s" * 16
RULES = tuple(rule for rule in Rule if rule not in (Rule.SUM, Rule.NEWTON))


def seconds(job: Callable[[], object]) -> float:
    """Processor time of `job`: the median of five runs."""
    taken = []
    for _ in range(5):
        started = time.process_time()
        job()
        taken.append(time.process_time() - started)
    return median(taken)


def secret(site: str) -> bytes:
    return sha256(site.encode()).digest()


def digested(rule: Rule, parameters: Parameters, base: Model, expected: Expected, received: dict[str, bytes]) -> bytes:
    """The next model's digest, from the bytes of a round."""
    return aggregate_received(rule, parameters, base, expected, received).model.digest


def masked_round(base: Model, updates: list[Update], conditions: str) -> Iterator[Result]:
    """One site's masking, and a member's opening of four sites' sum."""
    secrets = {site: Secrets.derive(secret(site)) for site in SITES}
    keys = {site: public_of(secret(site)) for site in SITES}
    deals = {site: deal(STUDY, site, secrets[site], keys) for site in SITES}
    attempt = Attempt(STUDY, 1, 1, updates[0].base, deals)
    yield Result(
        name="one site masks its update",
        value=seconds(lambda: mask(attempt, updates[0], secrets["east"])),
        unit="s",
        more_is_better=False,
        conditions=f"{conditions}, four pairs and its own mask",
    )
    kept = SITES[:4]
    masked = [mask(attempt, each, secrets[each.site]) for each in updates[:4]]
    held = {site: {dealer: open_dealt(deals[dealer], site, secret(site)) for dealer in SITES} for site in kept}
    reveals = [reveal(attempt, kept, site, held[site]) for site in kept]
    shapes = expected_shapes(Rule.FEDAVG, Parameters(), base)

    def opened() -> bytes:
        total, _ = unmask(attempt, Kind.DELTA, shapes, masked, reveals)
        return finish(Rule.FEDAVG, Parameters(), base, total).digest

    yield Result(
        name="a member opens the masked sum of four, one dropped out",
        value=seconds(opened),
        unit="s",
        more_is_better=False,
        conditions=f"{conditions}, FEDAVG, to the model's digest",
    )


def run(scale: float = 1.0) -> Iterator[Result]:
    rng = np.random.default_rng(1)
    elements = max(int(ELEMENTS * scale), 1)
    names = [f"layer-{at:03}" for at in range(TENSORS)]
    base = Model.from_floats({name: rng.normal(0, 1, elements) for name in names})
    rows = {site: 100 + 50 * at for at, site in enumerate(SITES)}
    digest = base.digest
    changes = {site: {name: rng.normal(0, 0.01, elements) for name in names} for site in SITES}
    updates = [Update(STUDY, 1, 1, s, digest, Kind.DELTA, rows[s], delta_tensors(changes[s])) for s in SITES]
    received = {each.site: each.to_bytes() for each in updates}
    expected = Expected(STUDY, 1, 1, digest, rows)
    weights = list(rows.values())
    conditions = f"{TENSORS * elements:,} parameters in {TENSORS} tensors, {len(SITES)} sites"

    def plain() -> None:
        for name in names:
            np.average(np.stack([changes[site][name] for site in SITES]), axis=0, weights=weights)

    floor = seconds(plain)
    for rule in RULES:
        value = seconds(partial(digested, rule, Parameters(f=1), base, expected, received))
        yield Result(
            name=f"aggregate by {rule.name}",
            value=value,
            unit="s",
            goal=GOAL,
            more_is_better=False,
            reference="numpy's weighted mean in float64",
            reference_value=floor,
            conditions=conditions,
        )
    yield from masked_round(base, updates, conditions)
