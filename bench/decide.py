"""How many consent decisions a second, whatever else is in the state.

A decision is `records.decide` on the facts of one Synthea resource. Three ways of asking: one ask over a history
(rules are sorted out once, then each record is decided); the same with rules that depend on the record's date, so that
nothing repeats; and single asks, each of which also looks its consent up among all others of the ledger's state.
Processor time, as nothing here waits. The floor of the first two is a loop that calls an empty function of the same
shape; of the last, one that looks up.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from statistics import median

from bench.ingest import samples
from bench.results import Result
from commonward.adapters.fhir import pieces
from commonward.ledger.ids import MemberKind
from commonward.records.decide import Ask, Decision, Facts, Given, Reason, compile_rules, decide
from commonward.records.jurisdiction import JurisdictionTable, default_jurisdiction
from commonward.records.record import Period, Record, Source
from commonward.records.rules import Effect, Rule, Scope, everything_but
from commonward.records.sensitivity import SensitivityTable, default_sensitivity
from commonward.records.stored import parse

GOAL = 100_000
TREAT = frozenset({"TREAT"})
NOW = 1_790_000_000_000
ASK = Ask("south", MemberKind.HOSPITAL, "north", "TREAT", "clinician", NOW)
NOTHING = Decision(False, None, "", Reason.NOTHING_PERMITS, ())


def histories(table: SensitivityTable) -> list[Facts]:
    found = []
    for file in samples():
        for piece in pieces(file, "bench"):
            stored = parse(piece.raw).stored
            found.append(table.facts(Record.from_stored(stored, Source("bench", "", piece.kind))))
    return found


def consents(count: int, table: SensitivityTable, dated: bool = False) -> list[Given]:
    """Consents of one patient: one that permits this asker all but mental health, the others to other hospitals."""
    made = []
    for n in range(count):
        who = frozenset({"south" if n == count // 2 else f"hospital-{n}"})
        rules = everything_but(
            frozenset({"mental-health"}), members=who, purposes=TREAT, sensitive=table.sensitive, custodians=None
        )
        if dated:
            since = Scope(members=who, purposes=TREAT, period=Period(NOW - 3_650 * 86_400_000, None))
            rules = (*rules, Rule(9, Effect.PERMIT, since))
        made.append(Given(n.to_bytes(16, "big"), rules))
    return made


def rate(job: Callable[[], int]) -> float:
    """Calls a second of processor time: the median of seven runs of `job`, which returns how many it made."""
    rates = []
    for _ in range(7):
        started = time.process_time()
        count = job()
        rates.append(count / (time.process_time() - started))
    return median(rates)


def a_history(facts: Sequence[Facts], givens: Sequence[Given], jurisdiction: JurisdictionTable, times: int) -> int:
    """Each record of the history, `times` times, each time as a fresh ask."""
    for _ in range(times):
        decider = compile_rules(ASK, givens, jurisdiction)
        for each in facts:
            decider.decide(each)
    return len(facts) * times


def empty(_: Facts) -> Decision:
    return NOTHING


def empty_calls(facts: Sequence[Facts], times: int) -> int:
    for _ in range(times):
        for each in facts:
            empty(each)
    return len(facts) * times


def single_asks(
    facts: Sequence[Facts], state: dict[bytes, Given], keys: Sequence[bytes], jurisdiction: JurisdictionTable
) -> int:
    for each, key in zip(facts, keys, strict=False):
        decide(ASK, each, (state[key],), jurisdiction)
    return min(len(facts), len(keys))


def look_ups(facts: Sequence[Facts], state: dict[bytes, Given], keys: Sequence[bytes]) -> int:
    for each, key in zip(facts, keys, strict=False):
        if state[key] is None or each is None:
            raise AssertionError
    return min(len(facts), len(keys))


def run(scale: float = 1.0) -> Iterator[Result]:
    table, jurisdiction = default_sensitivity(), default_jurisdiction()
    facts = histories(table)
    times = max(int(20 * scale), 1)
    floor = rate(partial(empty_calls, facts, times))
    records = f"history of {len(facts)} Synthea resources"
    for dated in (False, True):
        for count in (1, 10, 100, 1000):
            givens = consents(count, table, dated)
            permitted = sum(compile_rules(ASK, givens, jurisdiction).decide(each).permit for each in facts)
            assert permitted > 0, "the consent should permit most"
            yield Result(
                name=f"decide, one ask over a history{', rules by date' if dated else ''}, {count} consents",
                value=rate(partial(a_history, facts, givens, jurisdiction, times)),
                unit="decisions/s",
                goal=GOAL,
                reference="an empty function",
                reference_value=floor,
                conditions=f"{records}, the patient has {count} consents of {len(givens[0].rules)} rules",
            )
    source = random.Random(7)
    many = facts * 10
    given = consents(1, table)[0]
    for others in (1_000, 100_000, 1_000_000):
        others = max(int(others * scale), 1000)
        names = [source.randbytes(16) for _ in range(others)]
        state = dict.fromkeys(names, given)
        keys = [source.choice(names) for _ in many]
        yield Result(
            name=f"decide, single asks, each its own consent among {others:,}",
            value=rate(partial(single_asks, many, state, keys, jurisdiction)),
            unit="decisions/s",
            goal=GOAL,
            reference="a look-up in a dictionary",
            reference_value=rate(partial(look_ups, many, state, keys)),
            conditions=f"{len(given.rules)} rules each, compiled for every decision",
        )
